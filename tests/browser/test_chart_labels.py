"""Names in charts: no name is on a mark or on another name."""

import pytest

from tests.browser.visit import Visit
from tests.synthetic import Invented, page_of

COVERED = """() => [...document.querySelectorAll('.ch:has(.mk[data-run])')].filter(e => e.checkVisibility()).flatMap(chart => {
  const box = e => e.getBoundingClientRect(), meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const names = [...chart.querySelectorAll('.lb')], others = [...chart.querySelectorAll('.mk'), ...names];
  return names.flatMap(name => others.filter(other => other !== name && meet(box(name), box(other))).map(other => `${name.textContent} on ${other.textContent}`));
})"""


@pytest.mark.parametrize("width", [1440, 360])
def test_names_in_a_chart_do_not_cover_its_marks(browser, width, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(page_of(Invented(runs=4, phantom=True)), encoding="utf-8")
    with Visit(browser, page, width) as visit:
        assert visit.page.locator(".ch:has(.mk[data-run]) .lb:visible").count() >= 3
        assert visit.page.evaluate(COVERED) == []
