# Two commands for a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# PYTHON=python3.13 picks another interpreter; ARGS="-m slow -k resume" goes to pytest.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test style quality docs clean

help:
	@echo "make install   the environment in .venv, with the tested versions"
	@echo "make demo      the page on the bundled weights"
	@echo "make test      all tests but the slow ones"
	@echo "make style     format, and mend what can be mended"
	@echo "make quality   formatting, lint, spelling and types, changing nothing"
	@echo "make docs      the documentation site, in build/docs"
	@echo "make clean     remove the environment and the caches"

install: .venv/.installed

# The stamp is written last: an installation that broke off is taken up again.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {v[0]}.{v[1]}")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv  # another Python over the old one would mix the two
	$(BIN)/python -m pip install --quiet "pip>=25.1"  # the first that knows --group
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[all]" --group dev --group docs
	@touch $@

demo: install
	$(BIN)/python space/app.py

test: install
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 $(ARGS)

style: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quality: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# A broken link is an error. No --quiet: it would hide the warnings from --strict.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
