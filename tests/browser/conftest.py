"""One browser for all tests of a module."""

import pytest

from tests.browser.visit import FLAGS, Visit, chromium


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if not path:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def visit(browser, page):
    """The fixture `page` of the test's module in the browser; the console must stay empty."""
    with Visit(browser, page) as visit:
        yield visit
        assert visit.said == []
