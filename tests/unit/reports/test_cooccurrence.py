"""Co-occurrence of findings: odds ratios compared with scipy, and the sentence about them."""

import html
import math

import numpy as np
import pytest
from scipy.stats.contingency import odds_ratio

from reports.page import render
from reports.report_data.report_data import read
from reports.summaries.cooccurrence import Odds, answer, come_together
from reports.tables import Tables
from tests.synthetic import Invented, tables

STRONG, CHANCE = Odds(90, 30, 30, 200), Odds(40, 60, 60, 90)


def test_the_ratio_and_its_interval_equal_those_of_scipy():
    odds = Odds(31, 12, 17, 60)
    same = odds_ratio(np.array([[31, 12], [17, 60]]), kind="sample")
    ends = same.confidence_interval(0.95)
    assert math.exp(odds.log) == pytest.approx(same.statistic)
    assert math.exp(odds.log - 1.959964 * odds.error) == pytest.approx(ends.low)
    assert odds.clear


def test_with_few_images_in_a_cell_there_is_no_ratio():
    odds = Odds(0, 50, 60, 100)
    assert not odds.has_value
    assert (odds.text, odds.span, odds.step) == ("", "", 0)


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        ([], "The co-occurrence of findings cannot be compared between hospitals"),
        (
            [("A and B", Odds(0, 9, 9, 9), "H", STRONG)],
            "The co-occurrence of findings cannot be compared between hospitals",
        ),
        (
            [("A and B", STRONG, "H", STRONG)],
            "The data do not show a change in co-occurrence of findings between X and external hospitals",
        ),
        ([("A and B", STRONG, "H", CHANCE)], "A and B co-occur differently at H than at X: odds ratio 1.0 and 20"),
        ([("A and B", CHANCE, "H", STRONG)], "A and B co-occur differently at H than at X: odds ratio 20 and 1.0"),
        (
            [("A and B", STRONG, "H", CHANCE), ("A and C", Odds(60, 30, 30, 200), "H", CHANCE)],
            "A and B co-occur differently at H than at X: odds ratio 1.0 and 20; at some hospital, also A and C",
        ),
    ],
)
def test_the_sentence_names_only_significant_differences(compared, said):
    assert answer("X", compared) == said


def test_with_many_comparisons_a_small_difference_is_not_named():
    near = Odds(60, 50, 50, 120)
    one = [("A and B", STRONG, "H", near)]
    far = Odds(30, 60, 60, 160)
    weak = ("A and B", far, "H", Odds(65, 60, 60, 160))
    assert "differently at H" in answer("X", one)
    assert "differently at H" in answer("X", [weak])
    assert "do not show" in answer("X", [weak, *[(f"C and {k}", far, "H", far) for k in range(60)]])


@pytest.mark.slow
def test_no_finding_is_left_out_and_the_table_is_on_the_page():
    made = tables(Invented(runs=2))
    found = come_together(read(made))
    assert not any("No Finding" in pair for pair, _ in (*found["rows"], *found["more"]))
    page = render(made)
    assert html.escape(found["title"]) in page
    assert "odds ratio of two findings" in page


def test_without_counts_or_with_few_patients_there_is_no_figure_and_no_invalid_number():
    made = tables(Invented(runs=2))
    none = Tables(made.meta, made.frames | {"cooccurrence": made["cooccurrence"].iloc[:0]})
    assert come_together(read(none)) == {}
    few = come_together(read(tables(Invented(runs=2, patients=0.05))))
    assert few == {}
    alone = come_together(read(tables(Invented(runs=2, hospitals=("chexpert",)))))
    assert alone["title"] == "The co-occurrence of findings cannot be compared between hospitals"
