"""The tools of the ranking, by mouse and by keyboard: sort, filter, columns, groups, pins, side by side, and the address."""

import re

import pytest

from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.page import render
from tests.browser.visit import Visit, record_copies
from tests.synthetic import Invented, page_of, tables

pytestmark = pytest.mark.browser

ROWS = "#rank tbody[data-group] tr.row:visible"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "many.html"
    file.write_text(page_of(Invented(failed=1)), encoding="utf-8")
    return file


def names(page):
    return [" ".join(t.split()) for t in page.locator(f"{ROWS} .c-run").all_inner_texts()]


def test_a_column_head_sorts_by_keyboard_and_keeps_the_focus(visit):
    head = visit.page.locator('[data-sort="gap"]')
    head.focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.dataset.sort") == "gap"
    assert visit.page.locator("#rank th[aria-sort]").count() == 1
    assert visit.page.locator("#rank th[aria-sort=ascending] [data-sort=gap]").count() == 1
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#rank th[aria-sort=descending] [data-sort=gap]").count() == 1
    assert "Sorted by gap; tie groups are shown when sorted by rank." in visit.page.locator("#status").inner_text()


@pytest.mark.parametrize(("column", "name"), [("gmacs", "GMACs"), ("external", "external"), ("run", "run")])
def test_the_status_line_writes_an_abbreviation_as_the_column_does(visit, column, name):
    visit.page.locator(f'[data-sort="{column}"]').dispatch_event("click")  # some columns are not shown at first
    assert f"Sorted by {name};" in visit.page.locator("#status").inner_text()


def test_sorting_by_name_orders_the_names(visit):
    visit.page.click('[data-sort="run"]')
    first = [name.split()[0].lower() for name in names(visit.page)]
    assert first == sorted(first)


def test_two_values_of_one_factor_show_both_and_two_factors_what_has_both(visit):
    page = visit.page
    page.click("[data-factor=optimizer] summary")
    page.check("[data-factor=optimizer] label:has-text('sam') input")
    only_sam = len(names(page))
    page.check("[data-factor=optimizer] label:has-text('lion') input")
    both = names(page)
    assert len(both) > only_sam > 0
    assert all("sam" in name or "lion" in name for name in both)
    page.keyboard.press("Escape")
    assert page.locator("[data-factor=optimizer][open]").count() == 0
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.click("[data-factor=family] summary")
    page.check("[data-factor=family] label:has-text('classic') input")
    assert set(names(page)) < set(both)
    assert page.locator("#status").get_attribute("role") == "status"
    assert "do not change" in page.locator("#status").inner_text()
    page.click("#reset")
    assert page.locator("#status").inner_text() == "24 of 24 runs."


def test_ranks_stay_what_they_were_when_rows_are_hidden(visit):
    before = dict(zip(names(visit.page), visit.page.locator(f"{ROWS} .t").all_inner_texts(), strict=True))
    visit.page.fill("#q", "sam")
    after = dict(zip(names(visit.page), visit.page.locator(f"{ROWS} .t").all_inner_texts(), strict=True))
    assert after.items() <= before.items()
    assert 0 < len(after) < len(before)


def test_a_column_can_be_hidden_and_another_shown_and_copies_follow(visit):
    page = visit.page
    assert page.locator("td.c-best").first.is_hidden()
    page.click("#choose summary")
    page.uncheck("#choose input[value=worst]")
    page.check("#choose input[value=best]")
    assert page.locator("td.c-best").first.is_visible()
    assert page.locator("td.c-worst").first.is_hidden()
    record_copies(page)
    page.click("summary:text-is('Copy')")
    page.click('[data-copy="csv"]')
    head = page.evaluate("copied")[0].splitlines()[0].split(",")
    assert "P(best) (of draws)" in head
    assert not any("Worst" in name for name in head)


def test_copies_of_a_synthetic_study_say_that_it_is_synthetic(browser, tmp_path):
    copies = {}
    for phantom in (True, False):
        file = tmp_path / f"{phantom}.html"
        file.write_text(page_of(Invented(runs=3, phantom=phantom)), encoding="utf-8")
        with Visit(browser, file) as visit:
            record_copies(visit.page)
            for kind in ("csv", "md", "tex"):
                visit.page.click("summary:text-is('Copy')")
                visit.page.click(f'[data-copy="{kind}"]')
            copies[phantom] = visit.page.evaluate("copied")
    csv, markdown, tex = copies[True]
    head, *rows = csv.splitlines()
    assert head.endswith(",images")
    assert all(row.endswith(",synthetic") for row in rows)
    assert markdown.endswith(f"|\n\n{SYNTHETIC_NOTICE}")
    assert f"{{\\footnotesize {SYNTHETIC_NOTICE}}} \\\\\n\\end{{tabular}}" in tex
    for text in copies[True]:
        assert "MIMIC-CXR" not in text
    for text in copies[False]:
        assert "synthetic" not in text.lower()


def test_pinned_runs_get_letters_everywhere_and_stand_side_by_side(visit):
    page = visit.page
    buttons = page.locator("#rank .pin")
    for k in (0, 3, 7):
        buttons.nth(k).click()
    assert [page.locator("#rank .pin").nth(k).inner_text() for k in (0, 3, 7)] == ["A", "B", "C"]
    assert buttons.nth(3).get_attribute("aria-pressed") == "true"
    assert buttons.nth(3).get_attribute("aria-label").startswith("Pin ")
    assert page.locator("#hospitals .ch.wide .mk-letter").all_text_contents() == ["A", "B", "C"]
    page.click("#gocmp")
    assert page.locator("#cmpbody thead th").count() == 4
    first, other = page.locator("#cmpbody tbody tr").first.locator("td").all()[:2]
    values = [float(cell.locator(".v").inner_text()) for cell in (first, other)]
    difference = float(other.locator(".s").nth(1).inner_text().split()[0].replace("−", "-"))
    assert difference == pytest.approx(values[1] - values[0], abs=0.0011)
    assert page.evaluate("document.activeElement.id") == "h-compare"
    assert "Optimizer" in page.locator("#cmpbody").inner_text()


def test_a_fifth_pin_is_refused_in_words(visit):
    for k in range(5):
        visit.page.locator("#rank .pin").nth(k).click()
    assert visit.page.locator("#rank .pin[aria-pressed=true]").count() == 4
    assert "unpin one first" in visit.page.locator("#toast").inner_text()


def test_the_address_keeps_sort_filters_columns_pins_section_and_the_open_run(browser, page, visit):
    shown = visit.page
    shown.click('[data-sort="gap"]')
    shown.click("[data-factor=optimizer] summary")
    shown.check("[data-factor=optimizer] label:has-text('sam') input")
    shown.click("#choose summary")
    shown.uncheck("#choose input[value=worst]")
    shown.keyboard.press("Escape")
    shown.locator(f"{ROWS} .pin").nth(1).click()
    shown.locator(f"{ROWS} .c-run a").nth(1).click()
    shown.wait_for_selector("#drawer[open]")
    shown.wait_for_url(re.compile(r"&run="))
    address, order = shown.url, names(shown)
    fragment = address.partition("#")[2]
    assert re.search(
        r"sort=gap&optimizer=sam&columns=external,gap&pin=[0-9a-f]{12}&run=",
        fragment,
    )
    with Visit(browser, page) as again:
        again.page.goto("about:blank")
        again.page.goto(address)
        again.page.wait_for_selector("#drawer[open]")
        again.page.keyboard.press("Escape")
        assert names(again.page) == order
        assert again.page.locator("td.c-worst").first.is_hidden()
        assert again.page.locator("#rank .pin[aria-pressed=true]").count() == 1
        assert "run=" not in again.page.url


def test_values_that_the_address_does_not_know_are_dropped(browser, page):
    with Visit(browser, page) as visit:
        visit.page.goto("about:blank")
        visit.page.goto(
            page.as_uri()
            + "#sort=constructor&optimizer=<b>&pin=<img>,x&at=nowhere&run=abc&columns=internal,<i>&q="
            + "a" * 300
        )
        assert visit.page.locator("#rank th[aria-sort]").inner_text().startswith("Rank")
        assert visit.page.locator("#rank .pin[aria-pressed=true]").count() == 0
        assert visit.page.locator("#drawer").is_hidden()
        assert len(visit.page.input_value("#q")) == 80
        for bad in ("#%", "#run-%E0%A4%A", "#__proto__=1", "#run=constructor"):
            visit.page.goto(page.as_uri() + bad)
        assert visit.said == []


def test_many_groups_start_closed_after_the_tenth_and_a_search_looks_inside(browser, tmp_path):
    made = tables(Invented(runs=36))
    made["ranks"]["group"] = [1 + k // 3 for k in range(len(made["ranks"]))]
    file = tmp_path / "page.html"
    file.write_text(render(made), encoding="utf-8")
    with Visit(browser, file) as visit:
        page = visit.page
        assert page.locator(ROWS).count() == 30
        page.locator("[data-fold]").first.click()
        assert page.locator(ROWS).count() == 33
        page.locator("[data-fold]").first.click()
        inside = page.locator("tbody.closed .c-run a").last.text_content()
        page.fill("#q", inside)
        assert inside in " ".join(names(page))
        assert page.locator("tbody[data-group='12'] tr.row:visible").count() > 0
    with Visit(browser, file, java_script_enabled=False) as visit:
        assert visit.page.locator(ROWS).count() == 36


def test_a_point_has_its_numbers_and_a_click_opens_its_recipe(visit):
    visit.page.locator("#hospitals .key .mk").first.click()  # the legend has the same marks, which open nothing
    spot = visit.page.locator("#hospitals .ch.wide .mk[data-run]").first
    assert "external ." in spot.text_content()
    spot.click()
    visit.page.wait_for_selector("#drawer[open] table")
    assert spot.get_attribute("data-run").removeprefix("run-") in visit.page.url
    assert visit.said == []
