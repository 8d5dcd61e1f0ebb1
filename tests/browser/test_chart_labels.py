"""Labels of charts: no label is on a mark or on another label, and one that covers a line has a background."""

import pytest

from tests.browser.visit import Visit
from tests.synthetic import Invented, page_of

LABELS = """() => [...document.querySelectorAll('.plot')].flatMap(chart => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom]; };
  const meets = (a, b) => a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3];
  const labels = [...chart.querySelectorAll('.annotation')].map(e => ({ name: e.textContent, box: box(e.querySelector('.annotation-text')),
    plain: !(e.querySelector('.bg')?.style.fillOpacity > 0) }));
  const marks = [...chart.querySelectorAll('.points path.point')].map(box).filter(b => b[1] - b[0] > 3);
  const bars = [...chart.querySelectorAll('.errorbars path')].map(box);
  return labels.flatMap((label, i) => [
    ...marks.filter(b => meets(label.box, b)).map(() => `${chart.id}: ${label.name} on a mark`),
    ...labels.slice(0, i).filter(other => meets(label.box, other.box)).map(other => `${chart.id}: ${label.name} on ${other.name}`),
    ...(label.plain ? bars.filter(b => meets(label.box, b)).map(() => `${chart.id}: ${label.name} on a line`) : []),
  ]);
})"""


@pytest.mark.parametrize("width", [1440, 360])
def test_labels_of_a_chart_do_not_cover_its_marks(browser, width, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(page_of(Invented(runs=4, phantom=True)), encoding="utf-8")
    with Visit(browser, page, width) as visit:
        visit.draw()
        assert visit.page.locator(".annotation").count() >= 3
        assert visit.page.evaluate(LABELS) == []
