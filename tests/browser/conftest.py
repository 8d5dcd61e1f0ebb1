"""One browser for all tests of this folder that a process runs in a row."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.visit import FLAGS, ONE_PROCESS, Visit, chromium

HERE = Path(__file__).parent
_to_close = ExitStack()
_running = []  # the browser, while there is one


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if not path:
        pytest.skip("no Chromium on this machine")
    if _running and not _running[0].is_connected():  # it crashed
        _close()
    if not _running:
        driver = _to_close.enter_context(playwright.sync_playwright())
        _running.append(driver.chromium.launch(executable_path=path, args=[*FLAGS, ONE_PROCESS]))
        _to_close.callback(_running[0].close)
    return _running[0]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem):
    """End the browser before a test of another folder: playwright's event loop would be in the way of others."""
    if nextitem is None or HERE not in nextitem.path.parents:
        _close()


def _close():
    _running.clear()
    _to_close.close()


@pytest.fixture
def visit(browser, page):
    """The fixture `page` of the test's module in the browser; the console must stay empty."""
    with Visit(browser, page) as visit:
        yield visit
        assert visit.said == []
