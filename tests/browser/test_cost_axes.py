"""The axes of the cost chart: a choice changes points, Pareto front, words and address, and the address restores it."""

import numpy as np
import pytest

from bench.scoring.across_runs.frontier import pareto
from reports.page import render
from reports.report_data.report_data import read
from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, tables

pytestmark = pytest.mark.browser
RUNS = 9
FILLED = """[...document.querySelector('#c-cost').data].filter(t => t.customdata)
  .flatMap(t => t.customdata.filter((_, i) => t.marker.color[i] === t.marker.line.color))"""
POINTS = "document.querySelector('#c-cost').data.filter(t => t.customdata).flatMap(t => t.customdata.map((run, i) => [run, t.x[i], t.y[i]]))"


@pytest.fixture(scope="module")
def study():
    return tables(Invented(runs=RUNS))


@pytest.fixture(scope="module")
def page(tmp_path_factory, study):
    file = tmp_path_factory.mktemp("page") / "axes.html"
    file.write_text(render(study), encoding="utf-8")
    return file


def drawn(visit, title):
    visit.page.locator("#c-cost").scroll_into_view_if_needed()
    wait_until(visit.page, f"document.querySelector('#c-cost').layout?.xaxis.title.text.startsWith('{title}')")


def test_a_choice_draws_its_pareto_front_and_the_first_choice_restores_the_page(browser, page, study):
    ranked = read(study).ranked
    with Visit(browser, page) as visit:
        drawn(visit, "GMACs")
        words = visit.page.locator("#cost-title").inner_text()
        visit.page.locator("#cost-x").select_option("params")
        visit.page.locator("#cost-y").select_option("gap")
        drawn(visit, "million parameters")
        wait_until(visit.page, "document.querySelector('#cost-note').textContent.includes('Gap')")
        front = pareto(np.array([-r.gap.value for r in ranked]), np.array([r.quantity("params") for r in ranked]))
        expected = {r.anchor for r, on in zip(ranked, front, strict=True) if on}
        assert 0 < len(expected) < RUNS
        assert set(visit.page.evaluate(FILLED)) == expected
        points = {run: (x, y) for run, x, y in visit.page.evaluate(POINTS)}
        assert points == {
            r.anchor: (pytest.approx(r.quantity("params") / 1e6, 1e-5), pytest.approx(r.gap.value, 1e-5))
            for r in ranked
        }
        assert visit.page.locator("#cost-title").inner_text().startswith(f"{len(expected)} of {RUNS} runs")
        assert "lower is better" in visit.page.locator("#cost .ax-top").inner_text()
        assert "axes=params,gap" in visit.page.url
        visit.page.locator("#cost-x").select_option("macs")
        visit.page.locator("#cost-y").select_option("external")
        drawn(visit, "GMACs")
        assert visit.page.locator("#cost-title").inner_text() == words
        assert "axes=" not in visit.page.url
        assert visit.said == []


def test_the_address_restores_the_axes_and_the_arrow_keys_speak_their_values(browser, page, study):
    with Visit(browser, page.as_uri() + "#axes=images_per_second,nih") as visit:
        drawn(visit, "images per second")
        visit.page.wait_for_selector("#c-cost[tabindex='0']")
        visit.page.locator("#c-cost").focus()
        visit.page.keyboard.press("Home")
        slowest = min(read(study).ranked, key=lambda r: r.quantity("images_per_second"))
        spoken = visit.page.locator("#spoken").inner_text()
        assert spoken.startswith(slowest.label)
        assert "images per second, AUROC, NIH-14" in spoken
        assert visit.said == []


def test_unknown_axes_in_the_address_are_ignored(browser, page):
    with Visit(browser, page.as_uri() + "#axes=nonsense,gap") as visit:
        drawn(visit, "GMACs")
        assert visit.page.locator("#cost-y").input_value() == "gap"
        assert visit.page.locator("#cost-x").input_value() == "macs"
