"""A choice of the run in Calibration changes figure, title and label; the first choice restores the page."""

import pytest

from reports.page import render
from reports.report_data.report_data import read
from tests.browser.visit import Visit
from tests.synthetic import Invented, tables

pytestmark = pytest.mark.browser


def test_the_chosen_run_is_shown_with_its_title(browser, tmp_path):
    study = tables(Invented(runs=4))
    file = tmp_path / "page.html"
    file.write_text(render(study), encoding="utf-8")
    runs = read(study).ranked_runs
    with Visit(browser, file) as visit:
        panels, title, shown = (visit.page.locator(f"#calibration-{name}") for name in ("panels", "title", "shown"))
        before = panels.inner_html(), title.inner_text(), shown.inner_text()
        assert runs[0].label in before[2]
        for run in runs[1:]:
            visit.page.locator("#calibration-run").select_option(run.id)
            assert panels.get_attribute("data-run") == run.id
            assert panels.inner_html() != before[0]
            worse = visit.page.evaluate(
                "id => document.querySelector(`#calibration-others [data-run='${id}']`).previousElementSibling.textContent",
                run.id,
            )
            assert title.text_content() == worse
            assert worse.startswith(("Calibration ", "No clear change", "The mean change in calibration"))
            assert shown.inner_text().startswith(run.label)
            assert "<" not in panels.inner_text() + worse
        visit.page.locator("#calibration-run").select_option(runs[0].id)
        assert (panels.inner_html(), title.inner_text(), shown.inner_text()) == before
