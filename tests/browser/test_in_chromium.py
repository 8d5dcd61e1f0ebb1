"""The page in a real browser: silent console, nothing requested, usable at 360 and 1440 px, with and without scripts."""

from itertools import product

import pytest

from tests.browser.visit import CONTRAST, Visit, record_copies
from tests.synthetic import Invented, page_of

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    states = {
        "many": Invented(failed=1),
        "phantom": Invented(runs=4, phantom=True, shortcut="Pleural Effusion"),
        "one": Invented(runs=1),
        "hostile": Invented(runs=3, failed=1, below_half=True, name="<img src=x onerror=alert(1)>\"'=cmd"),
    }  # fmt: skip
    for name, asked in states.items():
        (folder / f"{name}.html").write_text(page_of(asked), encoding="utf-8")
    return folder


# each page narrow or wide; the other pairs are for `tox -e thorough`
@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("many", 360, "light"),
        ("phantom", 1440, "dark"),
        ("one", 1440, "dark"),
        ("hostile", 360, "light"),
        pytest.param("many", 1440, "dark", marks=pytest.mark.thorough),
        pytest.param("phantom", 360, "light", marks=pytest.mark.thorough),
        pytest.param("one", 360, "light", marks=pytest.mark.thorough),
        pytest.param("hostile", 1440, "dark", marks=pytest.mark.thorough),
    ],
)
def test_the_page_opens_without_a_word_on_the_console_and_without_a_request(browser, pages, name, width, scheme):
    """The whole page in a browser: console and network, at each width and scheme."""
    with Visit(browser, pages / f"{name}.html", width, color_scheme=scheme) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("file:")] == []
        assert len(visit.asked) == 1


def test_every_text_has_enough_contrast(browser, pages):
    """Contrast of each text with what is behind it, light and dark."""
    with Visit(browser, pages / "many.html") as visit:
        for width, scheme in product((360, 1440), ("light", "dark")):
            visit.show(width, scheme)
            assert visit.page.evaluate(CONTRAST) == [], (width, scheme)


def test_the_ranking_starts_on_the_first_screen(browser, pages):
    for name in ("many", "phantom"):
        with Visit(browser, pages / f"{name}.html") as visit:
            box = visit.page.locator("#rank tr.row").first.bounding_box()
            assert box["y"] + box["height"] <= 900


def test_without_scripts_text_ranking_and_heat_map_are_there(browser, pages):
    with Visit(browser, pages / "many.html", java_script_enabled=False) as visit:
        assert visit.page.locator("#rank tr.row").count() == 25
        assert visit.page.locator("#hospitals .heat tbody tr").count() == 24
        assert visit.page.locator("#tools").is_hidden()
        visit.page.locator("#runs > .wrap > details > summary").click()
        visit.page.locator("details.run > summary").first.click()
        assert visit.page.locator("details.run[open] table").first.is_visible()


def test_sorting_keeps_groups_named_and_missing_values_last(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        page = visit.page
        page.click('[data-sort="gap"]')
        gaps = [float(g.replace("−", "-")) for g in page.locator("#rank tr.row td.c-gap .v").all_inner_texts()]
        assert gaps == sorted(gaps)
        assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Gap")
        assert page.locator("#rank tr.row .gq").first.is_visible()
        page.click('[data-sort="gap"]')
        assert page.locator("th[aria-sort=descending]").count() == 1
        page.click('[data-sort="rank"]')
        assert page.locator("#rank tr.grp").first.is_visible()


def test_a_search_that_finds_nothing_says_that_ranks_do_not_change(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        visit.page.fill("#q", "no such run")
        assert "No run matches these filters" in visit.page.locator("#none").inner_text()
        visit.page.click("#none-clear")
        assert visit.page.locator("#status").inner_text() == "24 of 24 runs."


def test_the_address_keeps_the_view_and_drops_what_it_does_not_know(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        visit.page.fill("#q", "sam")
        shown = visit.page.locator("#status").inner_text()
        url = visit.page.url
        visit.page.goto("about:blank")
        visit.page.goto(url)
        assert visit.page.locator("#status").inner_text() == shown
        visit.page.goto("about:blank")
        visit.page.goto(
            (pages / "many.html").as_uri() + "#sort=99&loss=<b>x</b>&pin=<img>,zz&columns=&at=nowhere&run=1"
        )
        assert visit.page.locator("#status").inner_text() == "24 of 24 runs."
        assert visit.said == []


def test_a_run_opens_in_a_drawer_and_escape_brings_the_focus_back(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        link = visit.page.locator("#rank .c-run a").nth(2)
        link.click()
        assert visit.page.locator("#drawer table").first.is_visible()
        visit.page.keyboard.press("Escape")
        assert visit.page.locator("#drawer").is_hidden()
        assert visit.page.evaluate("document.activeElement.dataset.run") == link.get_attribute("data-run")
        assert visit.page.locator("details.run .rd").count() == 25


def test_the_drawer_holds_thresholds_calls_curves_reliability_subgroups_and_the_command(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        visit.page.locator("#rank .c-run a").first.click()
        visit.page.click("#drawer .rest > summary")
        visit.page.wait_for_selector("#drawer .panels")
        heads = visit.page.locator("#drawer-body h3").all_inner_texts()
        for head in (
            "AUROC by finding and hospital",
            "Confusion matrices",
            "AUROC of patient groups, mean over findings",
            "Reproduce this run",
        ):
            assert head in heads
        assert "ROC, precision-recall and threshold curves" in heads
        assert visit.page.locator("#drawer .curves svg[aria-label^='ROC curves, Edema']").count() == 1
        assert (
            visit.page.locator(
                "#drawer .curves svg:is([aria-label^='ROC'], [aria-label^='Precision']) .cv-internal"
            ).count()
            == 20
        )
        assert visit.page.locator("#drawer").evaluate("e => e.scrollWidth <= e.clientWidth")
        assert visit.said == []


def test_beyond_forty_runs_the_drawer_unpacks_what_it_shows(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page_of(Invented(runs=44, name="<b>&amp;")), encoding="utf-8")
    with Visit(browser, file) as visit:
        assert visit.page.locator("details.run .rd").count() == 0
        link = visit.page.locator("#rank .c-run a").first
        link.click()
        visit.page.wait_for_selector("#drawer table")
        assert visit.page.locator("#drawer h2").inner_text().startswith("<b>&amp;")
        visit.page.keyboard.press("Escape")
        assert visit.page.locator("details.run .rd").count() == 0, "dropped when closed"
        visit.page.locator("#runs > .wrap > details > summary").click()
        visit.page.locator("details.run > summary").nth(5).click()
        visit.page.wait_for_selector("details.run[open] table")
        assert visit.said == []


def test_copied_csv_has_plain_numbers_and_defuses_formulas(browser, pages):
    with Visit(browser, pages / "hostile.html") as visit:
        record_copies(visit.page)
        for kind in ("csv", "md", "tex"):
            visit.page.click("summary:text-is('Copy')")
            visit.page.click(f'[data-copy="{kind}"]')
        csv, markdown, tex = visit.page.evaluate("copied")
        assert csv.splitlines()[0].startswith(
            "rank,group,run,family and difference,External AUROC (mean of 5),External AUROC (mean of 5) low,"
        )
        assert ",0.8" in csv
        assert "−" not in csv
        assert "\\<img" in markdown
        assert "\\midrule" in tex
        assert "\\&" in tex or "&" in tex
        assert visit.page.evaluate("document.images.length") == 0


def test_a_cell_that_begins_like_a_formula_is_quoted_in_csv(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page_of(Invented(runs=2, name="=cmd|' /C calc'!A0")), encoding="utf-8")
    with Visit(browser, file) as visit:
        record_copies(visit.page)
        visit.page.click("summary:text-is('Copy')")
        visit.page.click('[data-copy="csv"]')
        assert ",'=cmd" in visit.page.evaluate("copied")[0]


def test_the_theme_button_changes_the_page(browser, pages):
    with Visit(browser, pages / "phantom.html", color_scheme="light") as visit:
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        visit.page.click("#theme")
        visit.page.click("#theme")
        assert visit.page.locator("#theme").inner_text() == "Theme: dark"
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
        assert visit.said == []


def test_a_printed_page_keeps_the_banner_and_drops_the_controls(browser, pages):
    with Visit(browser, pages / "phantom.html") as visit:
        visit.page.emulate_media(media="print")
        assert visit.page.locator(".banner").is_visible()
        assert visit.page.locator("#tools").is_hidden()
        assert visit.page.locator("#theme").is_hidden()


def test_copied_latex_and_markdown_escape_what_would_be_markup_and_part_the_groups(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(
        page_of(Invented(runs=6, name="a_b & 50 % {x} ~ ^ \\c $1 #2 | *d* <e>\n`f` &lt;")), encoding="utf-8"
    )
    with Visit(browser, file) as visit:
        record_copies(visit.page)
        for kind in ("tex", "md"):
            visit.page.click("summary:text-is('Copy')")
            visit.page.click(f'[data-copy="{kind}"]')
        tex, markdown = visit.page.evaluate("copied")
    name = r"a\_b \& 50 \% \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}c \$1 \#2 \textbar{} *d* $<$e$>$ `f` \&lt;"
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert all(name in row for row in rows[1:])
    assert len(rows) == 7
    groups = [row.split(" & ")[1] for row in rows[1:]]
    assert tex.count(r"\midrule") == len(set(groups))  # one below the head, one between any two groups
    assert all("[0." in row for row in rows[1:])
    lines = markdown.splitlines()
    assert r"a\_b \& 50 % {x} ~ ^ \\c $1 #2 \| \*d\* \<e\> \`f\` \&lt;" in lines[2]
    assert len(lines) == 8
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1
