"""Workload and predictive values of the page have the same numbers."""

import re

import pytest

from reports.formatting import places
from tests.nonempty import nonempty
from tests.properties.test_one_interval import NUMBER, STUDIES, shown


@pytest.mark.parametrize("goal", ["sensitivity", "specificity"])
def test_the_workload_and_the_predictive_values_of_a_run_have_the_same_sensitivity_and_specificity(goal):
    board, page, _ = shown(STUDIES[0])
    for run in nonempty(board.ranked):
        drawer = page.all("details", id=run.anchor)[0]
        of_words = {box.attributes.get("aria-label"): box for box in drawer.all("div", "scroll")}
        loads = {row.all("th")[0].text: row for row in of_words[f"Workload with {goal} .90"].all("tr")[1:]}
        values = of_words[f"Predictive values with {goal} .90"].all("tr")[1:]
        assert set(loads) == set(board.findings)
        # a finding that no external hospital labels has no external mean, so it has no predictive values
        assert [row.all("th")[0].text for row in values] == [f for f in loads if loads[f].all("td")[-1].text != "–"]
        for row in values:
            external = loads[row.all("th")[0].text].all("td")[-1].text
            for words, name in (("sens.", "data-se"), ("spec.", "data-sp")):
                value, low, high = re.search(rf"{words} ({NUMBER}) ({NUMBER})–({NUMBER})", external).groups()
                assert value == places(float(row.attributes[name]))
                assert low <= value <= high
            chosen, *of_prevalence = [cell.text for cell in row.all("td")]
            assert chosen == of_prevalence[2]  # 10 %, where the slider stands at first
