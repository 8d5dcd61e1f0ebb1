"""Recipes that are equivalent to the first recipe: the decision rule, and the sentence and table below the ranking."""

import re

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from reports.summaries.equivalence import MARGINS, equivalent
from tests.unit.reports.test_gap_groups_robustness import RUNS, page


def test_the_rule_is_that_of_two_one_sided_paired_tests_of_statsmodels() -> None:
    draw, num, margin = np.random.default_rng(0), 20_000, 0.02
    verdicts = []
    for shift in np.linspace(-0.03, 0.03, 25):
        shared = draw.normal(0.8, 0.1, num)
        first, second = shared + shift + draw.normal(0, 0.5, num), shared + draw.normal(0, 0.5, num)
        difference = first - second
        value, half = difference.mean(keepdims=True), 1.959963984540054 * difference.std(ddof=1) / np.sqrt(num)
        p = ttost_paired(first, second, -margin, margin)[0]
        verdicts.append(bool(equivalent(value, value - half, value + half, margin)[0]))
        assert verdicts[-1] == (p < 0.05)
    assert {True, False} == set(verdicts)


def rows(*numbers: tuple[float, float, float]) -> list[tuple[object, ...]]:
    """Return rows of `pairs`: the first run against the others; numbers: value, half width, half width after correction."""
    return [
        (RUNS[0], run, "external", "auroc", value, value - half, value + half, value - wide, value + wide)
        for run, (value, half, wide) in zip(RUNS[1:], numbers, strict=True)
    ]


@pytest.mark.slow
def test_the_page_counts_equivalent_different_and_open_recipes_for_each_margin() -> None:
    assert len(RUNS) == 5
    # 90 % intervals: .002 to .018, .017 to .023, -.007 to .027, .034 to .046
    text = page(pairs=rows((0.01, 0.0095, 0.02), (0.02, 0.0036, 0.01), (0.01, 0.02, 0.04), (0.04, 0.007, 0.03)))
    [sentence] = re.findall(r"<p class=\"small\">By .*?(A tie does not .*?)</p>", text)
    plain = re.sub(r"<[^>]*>", "", sentence).replace("\u00a0", " ")
    assert plain.endswith("within .02 external AUROC, tested for 4 runs: equivalent 1, clearly different 2, neither 1.")
    table = text.split("for other margins</summary>")[1].split("</table>")[0]
    found = [re.findall(r">(\.?\d+)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert found == [[".01", "0", "2", "2"], [".02", "1", "2", "1"], [".03", "3", "1", "0"], [".05", "4", "0", "0"]]
    assert len(MARGINS) == len(found)


@pytest.mark.slow
def test_recipes_without_a_stored_difference_are_counted_and_without_any_there_is_no_sentence() -> None:
    text = page(pairs=rows((0.01, 0.0095, 0.02), *[(np.nan, 0.01, 0.01)] * 3))
    only_tied = "tested for 1 run: equivalent 1, clearly different 0, neither 0. Tested for ties only: 3."
    assert only_tied in text.replace("\u00a0", " ")
    assert "Equivalence to" not in page(pairs=[])
