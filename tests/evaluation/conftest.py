"""The browser is the page's tests'."""

from tests.space.conftest import browser as browser
