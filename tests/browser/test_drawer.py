"""The drawer and the history of the browser: Back closes the drawer, and its link opens it again."""

import re

import pytest

from tests.browser.visit import Visit, record_copies, wait_until
from tests.synthetic import Invented, page_of

pytestmark = pytest.mark.browser
IS_SHUT = "!document.querySelector('#drawer').open && !location.hash.includes('run')"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page_of(Invented(runs=6)), encoding="utf-8")
    return file


def opened(visit, k=0):
    visit.page.locator("#rank .c-run a").nth(k).click()
    visit.page.wait_for_url(re.compile("run="))
    return visit.page.locator("#rank .c-run a").nth(k).get_attribute("data-run")


def test_back_closes_the_drawer_and_forward_opens_it_again(visit):
    visit.page.click('[data-sort="gap"]')
    length, before = visit.page.evaluate("history.length"), visit.page.url
    opened(visit)
    assert visit.page.evaluate("history.length") == length + 1
    visit.page.evaluate("history.back()")
    wait_until(visit.page, IS_SHUT)
    assert visit.page.url == before
    assert visit.page.locator("#rank th[aria-sort] [data-sort=gap]").count() == 1
    visit.page.evaluate("history.forward()")
    visit.page.wait_for_selector("#drawer[open] table")


@pytest.mark.parametrize("close", ["button", "escape"])
def test_closing_the_drawer_leaves_no_entry_in_the_history(visit, close):
    visit.page.click('[data-sort="gap"]')
    before = visit.page.url
    for k in range(3):
        opened(visit, k)
        if close == "button":
            visit.page.click("#drawer [data-close]")
        else:
            visit.page.keyboard.press("Escape")
        wait_until(visit.page, IS_SHUT)
        assert visit.page.url == before
    # about:blank, the page, and the forward entry of the closed drawer
    assert visit.page.evaluate("history.length") == 3


def test_another_run_in_the_open_drawer_adds_no_entry(visit):
    opened(visit)
    length = visit.page.evaluate("history.length")
    visit.page.evaluate("view.open(document.querySelectorAll('#rank .c-run a')[2].dataset.run)")
    wait_until(visit.page, "document.querySelectorAll('#drawer-body .rd').length === 1")
    assert visit.page.evaluate("history.length") == length
    visit.page.go_back()
    wait_until(visit.page, IS_SHUT)
    assert visit.page.locator("details.run .rd").count() == 6


def test_the_copied_link_opens_the_run_in_a_new_window(browser, visit):
    record_copies(visit.page)
    address, run = visit.page.url, opened(visit)
    visit.page.click("#drawer [data-link]")
    wait_until(visit.page, "window.copied.length")
    link = visit.page.evaluate("copied[0]")
    assert link == f"{address}#{run}"
    assert visit.page.locator("#drawer #toast").inner_text() == "Link copied"
    with Visit(browser, link) as again:
        again.page.wait_for_selector("#drawer[open] table")
        name = again.page.locator("#drawer-name").inner_text()
        assert name.startswith(again.page.locator(f"#rank [data-run='{run}']").inner_text())
        again.page.keyboard.press("Escape")
        wait_until(again.page, IS_SHUT)
        assert again.page.evaluate("history.length") == 2
        assert again.said == []


def test_a_link_from_the_drawer_to_another_part_of_the_page_closes_it_and_back_returns(visit):
    opened(visit)
    visit.page.evaluate(
        "document.querySelector('#drawer-body .rd').insertAdjacentHTML('afterbegin', '<a href=\"#method\">Method</a>')"
    )
    visit.page.click("#drawer a[href='#method']")
    wait_until(visit.page, IS_SHUT)
    wait_until(visit.page, "document.querySelector('#method').getBoundingClientRect().top < innerHeight")
    visit.page.go_back()
    visit.page.wait_for_selector("#drawer[open] table")


@pytest.mark.parametrize("width", [360, 1280])
def test_no_score_of_the_drawer_is_beside_the_window(browser, page, width):
    """On a phone, the numbers of a finding stand below its name, each with its hospital."""
    with Visit(browser, page, width) as visit:
        opened(visit)
        visit.page.click("#drawer .rest > summary")
        cells = visit.page.locator("#drawer .cells :is(td, th):visible")
        right = cells.evaluate_all("all => all.map(cell => cell.getBoundingClientRect().right)")
        assert len(right) > 30
        assert max(right) <= width
        named = visit.page.locator("#drawer .brief td").first.evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )
        assert ("CheXpert" in named) == (width == 360)
