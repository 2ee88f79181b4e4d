"""The browser of the tests that look at pages: one for a whole test process, where only one driver can run."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing_utils import forked_processes


# Seconds for what takes one or two on an idle machine.
PATIENCE = float(os.environ.get("CYCLEGAN_TEST_PATIENCE", "120"))
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a camera with a test pattern
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running Chromium. `tests/conftest.py` alone imports this: a fixture imported twice is two drivers."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no `chromium` on the PATH; Debian's package of that name will do")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=OPTIONS, timeout=PATIENCE * 1000)
        yield browser
        # A process forked while the browser ran holds its pipe open, and closing would wait for that process.
        assert forked_processes() == []
        browser.close()
