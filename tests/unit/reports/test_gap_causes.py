"""The first screen states which finding has the largest share of the gap, and whether networks use markers."""

import pandas as pd
import pytest

from reports.page import render
from reports.report_data import report_data
from reports.sections.opening import opening
from reports.summaries.gap_causes import finding_shares
from tests.synthetic import Invented, tables


def test_the_shares_of_the_findings_add_up_to_the_mean_gap():
    made = tables(Invented(runs=3))
    board = report_data.read(made)
    shares = finding_shares(board)
    assert sum(shares.values()) == pytest.approx(1)
    gaps = made["gaps"]
    ranked = {r.id for r in board.ranked}
    hospitals = {h.key for h in board.hospitals}
    rows = gaps[gaps["run_id"].isin(ranked) & gaps["dataset"].isin(hospitals) & gaps["value"].notna()]
    of_findings = rows[rows["finding"].isin(board.findings)]
    share_of_hospital = of_findings.groupby(["run_id", "dataset"])["value"].transform(lambda gap: gap / len(gap))
    expected = share_of_hospital.groupby(of_findings["finding"]).sum()
    expected = expected / expected.sum()
    pd.testing.assert_series_equal(pd.Series(shares).sort_index(), expected.sort_index(), check_names=False)


def test_the_first_screen_names_the_finding_with_the_largest_share():
    board = report_data.read(tables(Invented(runs=3)))
    finding, share = next(iter(finding_shares(board).items()))
    text = str(opening(board).html)
    assert "<b>Why?</b>" in text
    assert f"{finding} has the largest share of the mean gap: {100 * share:.0f} %" in text


def test_a_gap_that_is_not_clear_has_no_shares():
    made = tables(Invented(runs=2))
    made["mean_gaps"]["low"] = made["mean_gaps"]["all_low"] = -1.0
    assert finding_shares(report_data.read(made)) == {}
    assert "largest share" not in render(made)
