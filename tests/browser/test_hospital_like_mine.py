"""The panel "A hospital like mine", and the details of a run on one screen."""

import re

import pytest

from reports.page import render
from reports.report_data.headline_rows import MISSING
from reports.report_data.report_data import MACRO, read
from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, tables

pytestmark = pytest.mark.browser
FINDING = "Edema"


@pytest.fixture(scope="module")
def made():
    return tables(Invented(runs=6))


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(made), encoding="utf-8")
    return file


def row(visit, k=0):
    cells = visit.page.locator("#mine-rows tr").nth(k).locator("td").all_inner_texts()
    return [float(number) for cell in cells for number in re.findall(r"\.\d{3}|1\.000", cell)]


def expected(values):
    return [sum(values) / len(values), min(values), max(values)]


def test_ticked_hospitals_a_finding_and_a_prevalence_give_a_ranking_and_an_address(browser, made, page):
    data = read(made)
    best = {}
    for run in data.ranked:
        scored = [data.cells.get((run.id, h.key, FINDING), MISSING) for h in data.hospitals.external]
        values = [estimate.value for estimate in scored if estimate.has_value]
        best[run.label] = expected(values)
    with Visit(browser, page) as visit:
        visit.page.click("#mine summary")
        visit.page.select_option("#mine-finding", FINDING)
        visit.page.fill("#mine-prevalence", "30")
        wait_until(visit.page, "document.querySelectorAll('#mine-rows tr').length")
        first = max(best, key=lambda name: best[name][0])
        assert visit.page.locator("#mine-rows th").first.inner_text() == f"1. {first}"
        value, low, high, se, sp, ppv, npv = row(visit)
        assert [value, low, high] == pytest.approx(best[first], abs=0.00051)
        assert ppv == pytest.approx(0.3 * se / (0.3 * se + 0.7 * (1 - sp)), abs=0.003)
        assert npv == pytest.approx(0.7 * sp / (0.7 * sp + 0.3 * (1 - se)), abs=0.003)
        key = visit.page.locator("#mine input[type=checkbox]").first.get_attribute("value")
        visit.page.uncheck(f"#mine input[value={key}]")
        wait_until(visit.page, "location.hash.includes('Edema%3A30')")
        changed, address = row(visit), visit.page.url
        assert changed != [value, low, high, se, sp, ppv, npv]
        assert visit.said == []
    with Visit(browser, address) as again:
        wait_until(again.page, "document.querySelectorAll('#mine-rows tr').length")
        assert row(again) == changed
        assert not again.page.is_checked(f"#mine input[value={key}]")


def test_the_mean_over_the_hospitals_of_the_ranking_is_that_of_the_ranking_and_has_no_other_prediction(
    browser, made, page
):
    first = read(made).ranked[0]
    with Visit(browser, page) as visit:
        visit.page.click("#mine summary")
        wait_until(visit.page, "document.querySelectorAll('#mine-rows tr').length")
        assert visit.page.locator("#mine-rows th").first.inner_text() == f"1. {first.label}"
        assert row(visit)[0] == pytest.approx(float(first.external.text), abs=1e-9)
        assert not re.search("predict(ion|ed)|expected|95 %", visit.page.locator("#mine").inner_text(), re.IGNORECASE)


def test_the_prediction_for_a_new_hospital_is_that_of_the_page_and_rests_on_all_its_hospitals(browser, tmp_path):
    pytest.importorskip("bench.extensions.next_hospital")
    section = pytest.importorskip("tests.extensions.next_hospital.test_section_on_new_hospitals")
    predicted = section.study([0.731, 0.70, 0.69], findings=(FINDING,))
    rows = predicted["next_hospital"]
    of_finding = (rows["metric"] == "auroc") & (rows["finding"] == FINDING)
    rows.loc[of_finding, ["value", "new_low", "new_high"]] = [0.655, 0.51, 0.777]
    file = tmp_path / "page.html"
    file.write_text(render(predicted), encoding="utf-8")
    with Visit(browser, file) as visit:
        visit.page.click("#mine summary")
        wait_until(visit.page, "document.querySelectorAll('#mine-rows tr').length")
        shown = visit.page.locator("#mine-rows td:nth-child(3)").all_inner_texts()
        assert shown == visit.page.locator("#rank tbody td.c-next").all_inner_texts()
        visit.page.locator("#mine input[type=checkbox]").first.uncheck()
        visit.page.select_option("#mine-finding", FINDING)
        wait_until(visit.page, "location.hash.includes('Edema')")
        assert visit.page.locator("#mine-rows td").nth(1).inner_text().split("\n") == [".655", "[.510, .777]"]
        visit.page.select_option("#mine-finding", "Pneumonia")
        wait_until(visit.page, "location.hash.includes('Pneumonia')")
        assert visit.page.locator("#mine-rows td").nth(1).inner_text().strip() == "–"
        hospitals = visit.page.locator("#mine label:has(input[type=checkbox])").all_inner_texts()
        assert (
            f"rests on {', '.join(map(str.strip, hospitals[:-1]))} and {hospitals[-1].strip()}"
            in visit.page.locator("#mine").inner_text()
        )
        visit.page.click("#mine a[href='#next-hospital']")
        assert visit.page.locator("#next-hospital h4").is_visible()
        assert visit.said == []


def test_one_hospital_has_no_range_and_none_has_words(browser, page):
    with Visit(browser, page) as visit:
        visit.page.click("#mine summary")
        boxes = visit.page.locator("#mine input[type=checkbox]")
        for k in range(1, boxes.count()):
            boxes.nth(k).uncheck()
        wait_until(visit.page, "document.querySelectorAll('#mine-rows tr').length")
        assert len(row(visit)) == 1  # the mean over findings has no sensitivity
        boxes.nth(0).uncheck()
        assert visit.page.locator("#mine-used").inner_text() == "No ticked hospital scores this finding."
        assert visit.said == []


def test_without_scripts_the_panel_is_absent(browser, page):
    with Visit(browser, page, java_script_enabled=False) as visit:
        assert not visit.page.locator("#mine").is_visible()


def test_the_details_of_a_run_fit_one_screen_until_all_are_asked_for(browser, made, page):
    assert len(read(made).findings) > 8
    with Visit(browser, page, 1280, 900) as visit:
        visit.page.locator("#rank .c-run a").first.click()
        visit.page.wait_for_selector("#drawer .brief")
        drawer = visit.page.locator("#drawer")
        assert len(drawer.inner_text().split()) <= 900
        assert drawer.evaluate("e => e.scrollHeight") <= 1000
        assert drawer.locator(".scroll:visible").evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)")
        assert drawer.locator("i.n:visible").count() == 0
        drawer.locator(".rest > summary").click()
        assert drawer.locator("i.n:visible").count() > 10
        assert drawer.get_by_text(re.compile("Reproduce")).is_visible()
        data = read(made)
        assert data.cells[data.ranked[0].id, data.hospitals.external[0].key, MACRO].text in drawer.inner_text()
