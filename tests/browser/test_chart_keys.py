"""Charts by keyboard: one stop, arrows from point to point with the tooltip spoken, Enter opens the run."""

import pytest

from reports.page import render
from tests.browser.visit import Visit
from tests.synthetic import Invented, tables

pytestmark = pytest.mark.browser


def test_arrows_go_from_point_to_point_and_enter_opens_the_run(browser, tmp_path):
    file = tmp_path / "page.html"
    made = tables(Invented(runs=5, name="<b>&amp; net"))
    file.write_text(render(made), encoding="utf-8")
    with Visit(browser, file) as visit:
        page, spoken = visit.page, visit.page.locator("#spoken")
        page.locator("#c-internal").scroll_into_view_if_needed()
        page.wait_for_selector("#c-internal[tabindex='0'] .main-svg")
        assert page.locator("#c-internal [tabindex]").count() == 0
        page.locator("#c-internal").focus()
        said = []
        for _ in range(6):
            page.keyboard.press("ArrowRight")
            said.append(spoken.inner_text())
        assert len(set(said[:5])) == 5
        assert said[5] == said[4]  # the last one stays
        assert said[0].startswith("<b>&amp; net")
        assert page.locator("#c-internal .hoverlayer .hovertext").count() == 1
        page.keyboard.press("ArrowLeft")
        assert spoken.inner_text() == said[3]
        page.keyboard.press("Home")
        assert spoken.inner_text() == said[0]
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        page.wait_for_selector("#drawer table")
        ends = made["gaps"].query("dataset == 'external' and finding == 'macro'").sort_values("internal")
        assert ends["run_id"].iloc[-1] in page.url
        assert visit.said == []
