"""No fold makes the page scroll sideways: every `details` is opened at five widths, alone and together with all others."""

import pytest

from reports.page import render
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests.browser.test_accessibility import every_section
from tests.browser.visit import Visit
from tests.synthetic import HOSPITALS
from tests.unit.reports.test_shortcuts import described, varying

pytestmark = pytest.mark.browser
WIDE_FOLDS = """() => [...document.querySelectorAll('main details:not([open])')].filter(fold => {
  const around = []; // closed folds around this fold
  for (let e = fold.parentElement; e; e = e.parentElement) if (e.tagName === 'DETAILS' && !e.open) { e.open = true; around.push(e); }
  fold.open = true;
  const root = document.documentElement, isWide = root.scrollWidth > root.clientWidth;
  for (const e of [fold, ...around]) e.open = false;
  return isWide;
}).map(fold => fold.querySelector('summary').textContent)"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    study = every_section()
    frames = {
        "descriptors": described("pixel spacing of the detector", sources=tuple(HOSPITALS))[
            list(SCHEMAS["descriptors"])
        ],
        "nuisances": varying(str(study["ranks"]["run_id"].iloc[0])),
    }
    file = tmp_path_factory.mktemp("page") / "folds.html"
    file.write_text(render(Tables(study.meta, study.frames | frames)), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 1280])
def test_no_fold_is_wider_than_the_window(browser, page, width):
    with Visit(browser, page, width) as visit:
        assert visit.page.evaluate("document.querySelectorAll('#descriptors .scroll').length") >= 4
        assert visit.page.evaluate(WIDE_FOLDS) == []
        visit.page.evaluate("document.querySelectorAll('main details').forEach(fold => { fold.open = true; })")
        visit.draw()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []
