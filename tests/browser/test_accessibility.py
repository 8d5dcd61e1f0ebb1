"""axe-core over the page with every section, its drawer and its side-by-side view: nothing serious, narrow and wide, light and dark."""

import pytest

from reports.page import render
from reports.sentences.verdicts import UNCLEAR_AFTER_CORRECTION
from reports.tables import Tables
from tests.browser.visit import Visit
from tests.unit.reports.test_transplants import asked

pytestmark = pytest.mark.browser
with_looks = pytest.importorskip("tests.extensions.heat_maps.test_heatmaps").with_looks

SERIOUS = ("serious", "critical")
# each width and each scheme once; the other pairs are for `tox -e thorough`
LOOKS = [
    (360, "dark"),
    (1440, "light"),
    *(pytest.param(*look, marks=pytest.mark.thorough) for look in [(360, "light"), (1440, "dark")]),
]
# axe walks through all elements, also those that nobody sees yet: the folded details of the runs are three quarters of them
ONE_RUN = "document.querySelectorAll('details.run').forEach((run, k) => { if (k) run.remove(); })"


@pytest.fixture(scope="module")
def axe():
    package = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    return package.Axe()


def every_section() -> Tables:
    """Invented tables with transplants, heat maps and a picture: few runs, because axe asks every element."""
    made = asked(4)
    looks = with_looks(made, 2.0)
    return Tables(made.meta, {**made.frames, "attention": looks["attention"], "gallery": looks["gallery"]})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "many.html"
    file.write_text(render(every_section()), encoding="utf-8")
    return file


def serious(axe, page, context=None):
    options = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    found = axe.run(page, context=context, options=options).response["violations"]
    return [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found if v["impact"] in SERIOUS]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing_serious_on_the_page_side_by_side_and_in_the_drawer(browser, page, axe, width, scheme):
    """The rules of axe on what a reader sees."""
    with Visit(browser, page, width, color_scheme=scheme) as visit:
        for k in range(3):
            visit.page.locator("#rank .pin").nth(k).click()
        assert visit.page.locator("#compare").is_visible()
        for section in ("shortcuts", "transplants", "attention", "cases"):
            assert visit.page.locator(f"#{section}").is_visible()
        visit.page.evaluate(ONE_RUN)
        visit.page.evaluate(
            "window.scrollTo(0, 0)"
        )  # elsewhere the menu at the top covers whatever is scrolled below it
        assert serious(axe, visit.page, {"exclude": ["#runs .rd"]}) == []  # the drawer is checked below
        visit.page.locator("#rank .c-run a").first.click()
        visit.page.click("#drawer .rest > summary")
        visit.page.wait_for_selector("#drawer .panels")
        assert serious(axe, visit.page, "#drawer") == []
        assert visit.page.locator("#drawer").evaluate("e => e.scrollWidth <= e.clientWidth")
        longest = f"e => {{ e.textContent = {UNCLEAR_AFTER_CORRECTION!r}; return e.parentElement.scrollWidth <= e.parentElement.clientWidth }}"
        assert visit.page.locator("#drawer .brief td:last-child i:last-child").first.evaluate(longest)
        assert visit.said == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_what_is_folded_away_is_read_without_a_serious_finding_too(browser, page, axe, width, scheme):
    """The rules of axe on what is folded away."""
    with Visit(browser, page, width, color_scheme=scheme) as visit:
        visit.page.evaluate(
            "document.querySelectorAll('details:not(.run):not(.menu)').forEach(d => { d.open = true; })"
        )
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        visit.page.evaluate(ONE_RUN)
        assert serious(axe, visit.page, "details:not(.run):not(.menu)") == []
