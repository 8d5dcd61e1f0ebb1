"""Empty and odd states in a real browser, narrow and wide, light and dark: nothing is said on the console, nothing sticks out, all can be read."""

import csv
import io

import pytest

from reports.page import render
from tests.browser.visit import CONTRAST, Visit, record_copies, wait_until
from tests.synthetic import Invented, page_of, tables
from tests.unit.reports.test_derived_and_published import with_derived
from tests.unit.reports.test_page import STATES

pytestmark = pytest.mark.browser
TOO_WIDE = """width => [...document.querySelectorAll('main *, footer *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > width + 1 && !e.closest('.scroll, .rankbox, .vh, .mast nav, svg, noscript, .rank thead');
}).map(e => e.outerHTML.slice(0, 120)).slice(0, 5)"""


def page_file(folder, name):
    """Write the page of a state into a folder; return the file."""
    file = folder / "page.html"
    file.write_text(page_of(STATES[name]), encoding="utf-8")
    return file


# test_page.py reads the pages of all states without a browser
IN_FULL = {"many", "one", "phantom", "failed", "all failed", "few patients", "more rows than at once"}


@pytest.mark.parametrize(
    "name", [name if name in IN_FULL else pytest.param(name, marks=pytest.mark.thorough) for name in STATES]
)
def test_every_state_is_silent_fits_and_can_be_read(browser, tmp_path, name):
    """Width and contrast of all elements of pages of odd studies; starts the browser."""
    with Visit(browser, page_file(tmp_path, name), 360, color_scheme="dark") as visit:
        wait_until(visit.page, "!document.querySelector('#rank[data-unfinished]')")
        for width, scheme in ((360, "dark"), (1440, "light")):
            visit.show(width, scheme)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            assert visit.page.evaluate(TOO_WIDE, width) == []
            assert visit.page.evaluate(CONTRAST) == []
        assert visit.said == []


def test_what_is_made_of_runs_is_copied_after_them_and_what_has_no_rank_is_said_to_be_left_out(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(render(with_derived(tables(Invented(runs=6, failed=2)))), encoding="utf-8")
    with Visit(browser, file) as visit:
        record_copies(visit.page)
        for kind in ("csv", "md", "tex"):
            visit.page.click("summary:text-is('Copy')")
            visit.page.click(f'[data-copy="{kind}"]')
        made = visit.page.locator("#rank tbody.apart tr.row").count()
        left = visit.page.locator("#rank tbody.failed tr.row").count()
        rows = list(csv.DictReader(io.StringIO(visit.page.evaluate("copied[0]"))))
        assert [row["group"] for row in rows[6:]] == ["TTA"] * made
        assert [row["rank"] for row in rows[6:]] == [""] * made
        assert all(row["External AUROC (mean of 5)"] for row in rows)
        assert visit.page.locator("#toast").text_content() == (
            f"LaTeX copied: 6 ranked runs, {made} {'derived run' if made == 1 else 'derived runs'}; {left} runs without a rank not copied"
        )
        assert visit.said == []


def test_one_run_stands_without_groups_search_or_pins_and_no_click_breaks_it(browser, tmp_path):
    with Visit(browser, page_file(tmp_path, "one")) as visit:
        assert visit.page.locator("#rank tr.grp, #tools, .pin, #compare").count() == 0
        visit.page.click('[data-sort="gap"]')
        visit.page.click('[data-sort="rank"]')
        assert visit.page.locator("#rank tr.row:visible").count() == 1
        assert visit.page.locator("#hospitals .mk").count() == 0
        assert visit.said == []
