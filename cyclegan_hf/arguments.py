"""Parse command lines into subcommands; tyro reads their types and docstrings."""

import contextlib
import difflib
import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro
from tyro.extras import subcommand_cli_from_dict

from cyclegan_hf.errors import nearest


Verb = Callable[..., int]


def bind_verb(
    arguments: Sequence[str], verbs: Mapping[str, Verb], *, prog: str, description: str, version: str
) -> Callable[[], int]:
    """Parse a command line. The subcommand runs when the result is called, or tyro would catch its `ValueError`.

    Args:
        arguments: The words after the program's name.
        verbs: Typed functions by name. Each docstring is the verb's `--help`, its first line the verb's entry in the
            list of verbs.
        prog: Name of the program.
        description: What it is for.
        version: What `--version` prints.

    Returns:
        A function of no arguments that returns the exit code.

    Raises:
        ValueError: Words that no verb understands.
    """
    if list(arguments[:1]) in (["--version"], ["-V"]):
        return lambda: print(f"{prog} {version}") or 0  # noqa: T201
    first = arguments[0] if arguments else "--help"
    if not first.startswith("-") and first not in verbs:
        raise ValueError(f"unknown command `{first}`{nearest(first, verbs)} (see {prog} --help)")

    def parse(words: Sequence[str]) -> Callable[[], int]:
        return subcommand_cli_from_dict(
            {name: _deferred(verb, name in words[:1]) for name, verb in verbs.items()},
            prog=prog,
            description=description,
            args=words,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return parse(arguments)
    except SystemExit as stop:
        if not stop.code:  # --help
            return lambda: 0
        command = f"{prog} {first}" if first in verbs else prog
        unknown = unknown_flag(arguments, lambda: parse([*arguments[: first in verbs], "--help"]), command)
        raise ValueError(unknown or without_box(complaint.getvalue())) from None


def unknown_flag(arguments: Sequence[str], show_help: Callable[[], object], command: str) -> str | None:
    """Return a complaint about the first flag that a command does not have; `None` where it has all of them.

    Args:
        arguments: The words of the command line.
        show_help: Prints the command's help, and exits.
        command: Its name.
    """
    text = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text):
        show_help()
    flags = {"--help", "--version", *re.findall(r"--[A-Za-z][\w.-]*", text.getvalue())}
    for word in arguments:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag != "--" and flag not in flags:
            close = difflib.get_close_matches(flag, sorted(flags), n=1, cutoff=0.75)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            return f"unknown option `{word.partition('=')[0]}`{hint} (see {command} --help)"
    return None


def _deferred(verb: Verb, chosen: bool) -> Callable[..., Callable[[], int]]:
    @functools.wraps(verb)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], int]:
        return functools.partial(verb, *args, **kwargs)

    if not chosen:  # the list of verbs would print whole docstrings
        bind.__doc__ = (verb.__doc__ or "").partition("\n")[0]
    return bind


def torch_device(name: str | None) -> Any:
    """Return the device that `--device` names; by default the accelerator, otherwise the CPU.

    Raises:
        ValueError: it is unknown, not there, or not in this build of torch.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"`--device {name}` cannot be used: {error}") from error
    return torch.device(name)


def without_box(complaint: str) -> str:
    """Format tyro's boxed error message as one line."""
    complaint = re.sub(r"\x1b\[[0-9;]*m", "", complaint)
    rows = [row.strip("╭╮╰╯│─ ") for row in complaint.splitlines() if not row.startswith("╭")]
    text = " ".join(filter(None, rows))
    text, _, pointer = re.sub(r" Argument helptext:.*(?= For full)", "", text).partition(" For full helptext, ")
    return f"{text} ({re.sub('^(run|see):?', 'see', pointer)})" if pointer else text
