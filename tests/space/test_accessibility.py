"""Whether everybody can use the pages: by axe-core's rules, which npm brings, and by the size of what is touched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.space.static_page import put, translated
from tests.space.test_page import png, upload
from tests.space.test_tabs import TABS, open_tab
from tests.testing_utils import make_picture


SMALL_TARGETS = """() => [
    ...document.querySelectorAll("button, a[href], input:not([type=file]), [role=slider], summary"),
]
    .filter((each) => each.offsetParent && !each.disabled && !each.closest("p, td, .prose"))
    .map((each) => (each.matches("input") && each.closest("label")) || each)
    .map((each) => [each, each.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0 && (box.width < 24 || box.height < 24))
    .map(([each, box]) => `${each.id || each.ariaLabel || each.className}: ${box.width} x ${box.height}`)"""


def violations(page: Any, node_modules: Path) -> list[str]:
    """What axe-core calls serious or critical, with the first place of each."""
    page.evaluate((node_modules / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)")
    return [
        f"{each['id']}: {each['help']} at {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tab_shuts_anybody_out(visit: Callable[..., Any], node_modules: Path, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.locator("#result img").nth(1).wait_for()
    upload(page, png(make_picture("A", 1, 64)))
    page.locator("#info", has_text="64 × 64").wait_for()
    page.get_by_role("button", name="Options").click()
    for name in TABS:
        open_tab(page, name)
        page.wait_for_timeout(500)  # colours fade in
        assert violations(page, node_modules) == [], name
        assert page.evaluate(SMALL_TARGETS) == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_without_a_server_shuts_nobody_out(
    open_site: Callable[..., Any], node_modules: Path, scheme: str
) -> None:
    page = open_site(color_scheme=scheme, bypass_csp=True)
    assert violations(page, node_modules) == []
    put(page, png(make_picture("A", 1, 64)))
    translated(page)
    page.get_by_text("Options").click()
    assert violations(page, node_modules) == []
    assert page.evaluate(SMALL_TARGETS) == []
