"""No table is wider than its box, and no fold makes the page scroll sideways, alone or together with all others."""

import pandas as pd
import pytest

from reports.page import render
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests.browser.test_accessibility import every_section
from tests.browser.visit import Visit, wait_until
from tests.synthetic import HOSPITALS, Invented, page_of
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

CUT_TABLES = """() => [...document.querySelectorAll('main table')].filter(table => table.checkVisibility() && !table.closest('details:not([open])'))
  .map(table => [table.closest('section').id, table.parentElement.scrollWidth, table.parentElement.clientWidth]).filter(([, wide, room]) => wide > room)"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    study = every_section()
    frames = {
        "descriptors": described("pixel spacing of the detector", sources=tuple(HOSPITALS))[
            list(SCHEMAS["descriptors"])
        ],
        "nuisances": varying(str(study["ranks"]["run_id"].iloc[0])),
    }
    splits, cohorts, parts = study["splits"], study["cohorts"], []
    gold = [splits.assign(split=split).iloc[:1] for split in ("expert_test", "expert_valid")]
    for run in study["ranks"]["run_id"].unique():
        for dataset in (*study["cohorts"]["dataset"][1:], "external"):
            for part in ("gap", "case_mix", "labels", "remainder"):
                measured = part != "labels"
                numbers = dict.fromkeys(("value", "low", "high"), 0.123 if measured else float("nan"))
                reason = "" if measured else "measured for 10 of 45 pairs of finding and hospital"
                place = {"run_id": run, "dataset": dataset, "metric": "auroc", "finding": "macro", "part": part}
                parts.append({**place, **numbers, "reason": reason})
    frames |= {
        "splits": pd.concat([*gold, splits]),
        "cohorts": cohorts.assign(label_source="phantom", found=cohorts["found"] * 10),
        "decomposition": pd.DataFrame(parts, columns=list(SCHEMAS["decomposition"])),
    }
    datasets = {key: {**entry, "approximate": ["Edema"]} for key, entry in study.meta["datasets"].items()}
    file = tmp_path_factory.mktemp("page") / "folds.html"
    file.write_text(render(Tables(study.meta | {"datasets": datasets}, study.frames | frames)), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "width", [360, 768, 1280, *(pytest.param(width, marks=pytest.mark.thorough) for width in (390, 1024))]
)
def test_no_fold_is_wider_than_the_window(browser, page, width):
    with Visit(browser, page, width) as visit:
        assert visit.page.evaluate("document.querySelectorAll('#descriptors .scroll').length") >= 4
        assert visit.page.evaluate(WIDE_FOLDS) == []
        visit.page.evaluate("document.querySelectorAll('main details').forEach(fold => { fold.open = true; })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []


@pytest.mark.parametrize("width", [1280, 1440])
def test_tables_that_are_not_folded_show_all_columns(browser, page, width):
    with Visit(browser, page, width) as visit:
        for section, num_tables in (("findings", 3), ("cohorts", 1), ("components", 1)):
            assert visit.page.locator(f"#{section} .scroll > table:visible").count() == num_tables
        assert visit.page.evaluate(CUT_TABLES) == []
        assert visit.page.locator("#rank thead .c-worst").is_visible()
        assert visit.page.locator(".rankbox.over").count() == 0


def test_a_ranking_with_more_columns_fades_until_it_is_scrolled_to_its_end(browser, page):
    with Visit(browser, page, 1280) as visit:
        visit.page.locator("#choose summary").click()
        for key in ("internal", "ece", "gmacs", "params", "speed", "best", "memory"):
            visit.page.locator(f"#choose input[value={key}]").check()
        assert visit.page.locator(".rankbox.over").count() == 1
        visit.page.locator(".rankbox").evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        wait_until(visit.page, "!document.querySelector('.rankbox.over')")
        assert visit.said == []


def test_the_slope_above_a_calibration_curve_is_inside_the_figure_of_a_phone(browser, page):
    outside = """() => [...document.querySelectorAll('#calibration .minis text')].filter(text => text.checkVisibility()).filter(text => {
      const own = text.getBoundingClientRect(), around = text.ownerSVGElement.getBoundingClientRect();
      return own.right > around.right + 6 || own.left < around.left - 3;
    }).map(text => text.textContent)"""
    for width in (360, 1280):
        with Visit(browser, page, width) as visit:
            assert visit.page.locator("#calibration .minis text:visible").filter(has_text="slope").count()
            assert visit.page.evaluate(outside) == []


@pytest.mark.parametrize(("runs", "width"), [(4, 1280), (4, 1440), (1, 1280)])
def test_the_first_columns_of_the_ranking_fit_a_laptop_without_a_scroll_bar(browser, tmp_path, runs, width):
    file = tmp_path / "page.html"
    file.write_text(page_of(Invented(runs=runs)), encoding="utf-8")
    with Visit(browser, file, width) as visit:
        assert visit.page.locator("#rank thead .c-worst").is_visible()
        assert visit.page.locator(".rankbox").evaluate("box => box.scrollWidth - box.clientWidth") == 0
