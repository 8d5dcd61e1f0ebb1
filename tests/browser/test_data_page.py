"""The page about cohorts in a real browser: silent, self-contained, readable at 360 and 1440 px in both themes."""

import pytest

from tests.browser.visit import CONTRAST, Visit

pages = pytest.importorskip("tests.extensions.cohort_page.test_cohort_page")
pytestmark = pytest.mark.browser
ON_COLOUR = ("text.n4", "text.n5", "text.n6", "text.n7")  # numbers on a cell of the heat map, not on paper


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data pages")
    for name, page in pages.PAGES.items():
        (made / f"{name}.html").write_text(pages.render(page), encoding="utf-8")
    return made


@pytest.mark.parametrize("name", ["tables", "images", "patients shown", "nothing used"])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_the_page_is_silent_loads_nothing_and_fits(browser, folder, name, width, scheme):
    with Visit(browser, folder / f"{name}.html", width, color_scheme=scheme) as visit:
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith(("file:", "data:"))] == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        low = visit.page.evaluate(CONTRAST)
        assert [text for text in low if not text.startswith(ON_COLOUR)] == []


def test_the_theme_can_be_changed(browser, folder):
    with Visit(browser, folder / "tables.html", color_scheme="dark") as visit:
        visit.page.click("#theme")
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "light"
