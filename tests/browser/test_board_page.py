"""The page of a shared board in a real browser: silent, self-contained, readable, and the filter of statuses."""

from dataclasses import replace
from typing import Any

import pytest

from reports import extensions
from reports.report_data.headline_rows import Estimate
from tests.browser.visit import CONTRAST, Visit

if "bench.extensions.board" not in extensions.packages():  # nor if an extension that the board needs is missing
    pytest.skip("there is no board", allow_module_level=True)
board_page = pytest.importorskip("bench.extensions.board.board_page")
pytestmark = pytest.mark.browser


def row(group: int, name: str, status: str, value: float, moved: str = "") -> Any:
    auroc, gap = Estimate(value, value - 0.02, value + 0.02), Estimate(0.03, 0.01, 0.05)
    return board_page.BoardRow(
        group, f"Network {name}", f"Laboratory {name}", f"lab-{name.lower()}", status, auroc, gap, 3, moved
    )


ROWS = [
    row(1, "A", "re-run", 0.82),
    row(1, "B", "bundle verified", 0.81, "scoring version 20 to 21 moved its AUROC by −.013"),
    row(2, "C", "bundle verified", 0.74),
    replace(row(board_page.EXPOSED, "E", "bundle verified", 0.85), seen="nih, brax"),
    row(board_page.UNRANKED, "D", "self-reported", 0.9),
]
WHY = "every number was computed again"
MADE = [board_page.Decision("2026-11-25T01:02:03Z", "accepted", "lab-a", "ab" * 32, "A Maintainer", WHY, "0" * 64)]
PAGES = {
    "board": board_page.render_board(
        board_page.BoardPage(
            "A board", "About it.", False, {"closed": ROWS, "open": []}, {"closed": "One data set.", "open": "Any data."},
            {"re-run": "trained again", "bundle verified": "computed again", "self-reported": "stated"}, MADE, ("lab-x",), ("nih", "brax"),
        )
    ),
    "submission": board_page.render_submission(
        board_page.SubmissionPage(
            "A board", False, "lab-a", "Laboratory A", ROWS[:1], {"Licence": "CC-BY-4.0", "Bundle": "ab" * 32},
            [("ok", "bundle", "form, checksums, run ids and hashes are right")],
            [("Network A", "NIH", Estimate(0.8, 0.78, 0.82), "no"), ("Network A", "BRAX", Estimate(0.7, 0.6, 0.8), "unknown")], MADE, ["bundle.zip"], True,
        )
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("board pages")
    for name, html in PAGES.items():
        (made / f"{name}.html").write_text(html, encoding="utf-8")
    return made


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_the_page_is_silent_loads_nothing_and_fits(browser, folder, name, width, scheme):
    with Visit(browser, folder / f"{name}.html", width, color_scheme=scheme) as visit:
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith(("file:", "data:"))] == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate(CONTRAST) == []


def test_the_status_filters_rows_and_leaves_the_groups(browser, folder):
    with Visit(browser, folder / "board.html") as visit:
        shown = "[...document.querySelectorAll('tr[data-status]')].filter(r => r.getClientRects().length).map(r => r.innerText.split('\\n')[0].split('\\t')[0])"
        heads = "[...document.querySelectorAll('tr.grp')].filter(r => r.getClientRects().length).length"
        assert len(visit.page.evaluate(shown)) == 5
        visit.page.select_option("#status", "bundle verified|re-run")
        assert visit.page.evaluate(shown) == ["Network A", "Network B", "Network C", "Network E"]
        assert "4 of 5 rows" in visit.page.inner_text("#count")
        visit.page.select_option("#status", "self-reported")
        assert visit.page.evaluate(shown) == ["Network D"]
        assert visit.page.evaluate(heads) == 1
        visit.page.select_option("#status", "")
        assert visit.page.inner_text("#count") == ""
        assert visit.said == []


def test_text_of_submissions_is_escaped_and_the_headline_follows_the_rows():
    page = board_page.BoardPage(
        "A <b>board</b>", "", False, {"closed": [], "open": ROWS[2:3]}, {"closed": "", "open": ""}, {}, (), (), ()
    )
    html = board_page.render_board(page)
    assert "A &lt;b&gt;board" in html
    assert "<b>board</b>" not in html
    assert "No submission yet" in html
    assert "two rows" not in PAGES["board"]
    assert "Closed division: Laboratory A has the highest AUROC; 1 other row tied with it" in PAGES["board"]
    assert "Group 1 · 2 rows: the others are tied with the first" in PAGES["board"]
    assert "Not ranked · the model had seen an external hospital, or may have seen one" in PAGES["board"]
    assert "had seen, or may have seen: nih, brax" in PAGES["board"]
    assert '<td class="l" data-l="seen before">unknown</td>' in PAGES["submission"]
