"""A study of more runs than its page puts in place at once: everything works on all of them, at once and for readers without scripts."""

import csv
import io

import pytest

from reports.page import render
from reports.sections.ranking import FIRST
from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, ranked_ids, tables

pytestmark = pytest.mark.browser
RUNS = 130
NAMES = "rows => rows.map(row => row.dataset.id)"
FINISHED = "!document.querySelector('#rank[data-unfinished]')"


@pytest.fixture(scope="module")
def made():
    return tables(Invented(runs=RUNS, failed=1))


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "many.html"
    path.write_text(render(made), encoding="utf-8")
    return path


def by(made, dataset="external", column="value"):
    gaps = made["gaps"].query(f"dataset == '{dataset}' and finding == 'macro'").set_index("run_id")
    return gaps[column]


def listener(script):
    """Return a script that runs when the page's own scripts have run, before anything is put in place in an idle moment.

    On a slow machine there are idle moments before the page is loaded: they wait for it.
    """
    return f"""{{
      const idle = requestIdleCallback.bind(window);
      const loaded = new Promise(done => addEventListener('DOMContentLoaded', () => {{ {script}; done(); }}));
      window.requestIdleCallback = (...given) => loaded.then(() => idle(...given));
    }}"""


def opened(browser, file, script="", **options):
    visit = Visit(browser, "about:blank", **options)
    visit.page.add_init_script(listener(script))
    visit.page.goto(file.as_uri())
    return visit


def test_readers_without_scripts_and_with_them_get_every_run_in_the_same_order(browser, made, file):
    with Visit(browser, file, java_script_enabled=False) as visit:
        plain = visit.page.locator(".rank tbody[data-group] tr.row:visible").evaluate_all(NAMES)
        assert visit.page.locator("#rank tbody[data-group] tr.row").count() == FIRST
        assert visit.page.locator(".rank tbody.failed:visible").count() == 1
        last = visit.page.locator(".rank tr.row:visible").last
        assert "the loss was not finite" in last.inner_text()
        visit.page.locator("#cost .more > summary").click()
        assert visit.page.locator("#cost .more details.data[open] td").first.is_visible()
    assert plain == ranked_ids(made)
    with Visit(browser, file) as visit:
        wait_until(visit.page, FINISHED)
        assert visit.page.locator("#rank tbody[data-group] tr.row").evaluate_all(NAMES) == plain
        assert visit.page.locator("tbody.failed:visible").count() == 1
        assert visit.said == []


def test_details_are_drawn_when_a_run_opens_and_dropped_when_it_closes(browser, file):
    elements = "document.querySelectorAll('*').length"
    with Visit(browser, file) as visit:
        wait_until(visit.page, FINISHED)
        before = visit.page.evaluate(elements)
        for k in (0, 1):
            visit.page.locator("#rank .c-run a").nth(k).click()
            visit.page.wait_for_selector("#drawer .rd table")
            assert visit.page.evaluate(elements) > before + 50
            visit.page.click("#drawer [data-close]")
            wait_until(visit.page, f"{elements} === {before}")
        visit.page.evaluate("document.querySelector('#runs details').open = true")
        entry = visit.page.locator("details.run").first
        entry.locator("summary").first.click()
        entry.locator(".rd table").first.wait_for()
        entry.locator("summary").first.click()
        wait_until(visit.page, f"!document.querySelector('details.run .rd') && {elements} <= {before} + 5")
        assert visit.said == []


@pytest.mark.parametrize("width", [360, 1440])
def test_a_click_before_all_rows_are_written_sorts_all_of_them(browser, made, file, width):
    script = (
        "document.querySelector('[data-sort=gap]').click();"
        "window.first = [...document.querySelectorAll('#rank tbody[data-group] tr.row')].map(r => r.dataset.id)"
    )
    expected = list(by(made).sort_values().index)
    with opened(browser, file, script, width=width) as visit:
        assert visit.page.evaluate("first") == expected[: len(visit.page.evaluate("first"))]
        assert len(visit.page.evaluate("first")) >= 50
        wait_until(visit.page, FINISHED)
        assert visit.page.locator("#rank tbody[data-group] tr.row").evaluate_all(NAMES) == expected
        visit.page.evaluate("document.querySelector('[data-sort=rank]').click()")
        wait_until(visit.page, FINISHED)
        assert visit.page.locator("#rank tbody[data-group] tr.row").evaluate_all(NAMES) == ranked_ids(made)
        assert visit.said == []


def test_a_search_and_a_copy_hold_runs_whose_rows_are_not_written_yet_and_say_how_many(browser, made, file):
    script = (
        "window.copied = []; navigator.clipboard.writeText = async text => { copied.push(text); };"
        "document.querySelector('[data-copy=csv]').click();"
        "const q = document.querySelector('#q'); q.value = 'densenet focal';"
        "q.dispatchEvent(new Event('input', { bubbles: true }));"
        "document.querySelector('[data-copy=csv]').click();"
    )
    with opened(browser, file, script) as visit:
        whole, part = (list(csv.DictReader(io.StringIO(text))) for text in visit.page.evaluate("copied"))
        assert len(whole) == RUNS
        runs = made["runs"]
        wanted = runs[
            (runs["name"] == "DenseNet-121") & runs["what"].str.startswith("focal") & (runs["state"] == "done")
        ]
        assert len(part) == len(wanted) > 0
        assert visit.page.locator("#rank tbody[data-group] tr.row:visible").count() == len(wanted)
        said = visit.page.locator("#toast").text_content()
        assert said == f"CSV copied: {len(part)} of {RUNS} ranked runs; 1 run without a rank not copied"
        assert visit.said == []


def test_the_address_pins_a_run_whose_row_is_written_later(browser, made, file):
    last = ranked_ids(made)[-1]
    with Visit(browser, f"{file.as_uri()}#pin={last}") as visit:
        wait_until(visit.page, FINISHED)
        button = visit.page.locator(f'#rank [data-pin="{last}"]')
        assert button.inner_text() == "A"
        assert button.get_attribute("aria-pressed") == "true"
        assert visit.page.locator("#traynames").inner_text() != ""


def test_a_link_to_a_section_arrives_there_while_rows_are_still_to_come(browser, file):
    for width in (360, 1440):
        script = "document.documentElement.style.scrollBehavior = 'auto'; document.querySelector('nav a[href=\"#group-cost\"]').click();"
        with opened(browser, file, script, width=width) as visit:
            wait_until(visit.page, FINISHED)
            wait_until(visit.page, "Math.abs(document.querySelector('#group-cost').getBoundingClientRect().top) < 200")
            assert "at=group-cost" in visit.page.url


def test_long_tables_are_written_when_they_are_opened(browser, file):
    with Visit(browser, file) as visit:
        folded = visit.page.locator("#cost .more details.data").first
        assert folded.locator("td").count() == 0
        visit.page.evaluate("document.querySelector('#cost .more > summary').click()")  # no pointer: rows still come in
        wait_until(
            visit.page, f"document.querySelectorAll('#cost .more details.data[open] tbody tr').length === {RUNS}"
        )
        assert folded.locator("tbody tr").count() == RUNS
        assert folded.locator("noscript").count() == 0
        assert visit.said == []


def test_print_holds_every_row(browser, file, tmp_path):
    with opened(browser, file, "document.querySelector('[data-sort=gap]').click();") as visit:
        visit.page.pdf(path=tmp_path / "printed.pdf", prefer_css_page_size=True)
        assert visit.page.locator("#rank tbody[data-group] tr.row").count() == RUNS


@pytest.mark.parametrize("width", [800, 1366, 1440])
def test_with_every_column_the_table_scrolls_and_the_page_does_not(browser, file, width):
    with Visit(browser, file, width) as visit:
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert visit.page.evaluate(fits)
        visit.page.evaluate("document.querySelectorAll('#choose input:not(:checked)').forEach(box => box.click())")
        assert visit.page.evaluate(fits)
        assert visit.page.evaluate("getComputedStyle(document.querySelector('.rankbox')).overflowX") == "auto"


def test_who_loads_the_page_again_finds_all_rows_there_and_stays_at_the_same_one(browser, file):
    script = "window.rows = document.querySelectorAll('#rank tbody[data-group] tr.row').length"
    with opened(browser, file, script) as visit:
        assert visit.page.evaluate("rows") == FIRST
        wait_until(visit.page, FINISHED)
        visit.page.evaluate(
            "document.querySelector('tbody.failed tr.row').scrollIntoView({ behavior: 'instant', block: 'center' })"
        )
        wait_until(visit.page, "scrollY > 1000")
        visit.page.reload()
        assert visit.page.evaluate("rows") == RUNS
        wait_until(
            visit.page,
            "Math.abs(document.querySelector('tbody.failed tr.row').getBoundingClientRect().top - innerHeight / 2) < 200",
        )
