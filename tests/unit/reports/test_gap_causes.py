"""The first screen states which finding has the largest share of the gap, and whether networks use markers as shortcuts."""

import pytest

from bench.scoring.gaps.hospital_means import weights
from reports.report_data import report_data
from reports.report_data.headline_rows import MACRO
from reports.report_data.report_data import ReportData
from reports.sections.findings import findings
from reports.sections.opening import opening
from reports.sections.transplants import transplants
from reports.sentences.main_findings import findings_title, largest_share
from reports.summaries.gap_causes import finding_shares, gap_contributions
from reports.tables import Tables
from tests.synthetic import Invented, tables
from tests.unit.reports.test_transplants import asked


def uneven() -> Tables:
    """Invented tables in which one hospital labels two findings less, and one run was not tested at another hospital."""
    made = tables(Invented(runs=3))
    gaps = made["gaps"]
    board = report_data.read(made)
    first, second = (h.key for h in board.hospitals.external[:2])
    less = gaps["finding"].isin(board.findings[:2]) & (gaps["dataset"] == first)
    absent = (gaps["dataset"] == second) & (gaps["run_id"] == board.ranked[-1].id)
    gaps = gaps[~less & ~absent].copy()
    at_hospitals = gaps[gaps["finding"].isin(board.findings) & (gaps["dataset"] != "external")]
    for run, rows in at_hospitals.groupby("run_id"):
        cells = rows.pivot_table("value", "dataset", "finding")
        macros = (weights(cells.notna().to_numpy()) * cells.fillna(0.0).to_numpy()).sum((1, 2))
        for hospital, value in zip(cells.index, macros, strict=True):
            own = (gaps["run_id"] == run) & (gaps["dataset"] == hospital) & (gaps["finding"] == MACRO)
            gaps.loc[own, "value"] = value
    return Tables(made.meta, {**made.frames, "gaps": gaps})


def with_mean_gap(made: Tables, low: float, high: float) -> ReportData:
    """Read the tables with other bounds of the mean gaps."""
    bounds = {"value": (low + high) / 2, "low": low, "high": high, "all_low": low, "all_high": high}
    return report_data.read(Tables(made.meta, {**made.frames, "mean_gaps": made["mean_gaps"].assign(**bounds)}))


def test_the_contributions_of_the_findings_add_up_to_the_mean_gap():
    made = uneven()
    board = report_data.read(made)
    gaps, hospitals = made["gaps"], [h.key for h in board.hospitals.external]
    macro = gaps[(gaps["finding"] == MACRO) & gaps["dataset"].isin(hospitals) & gaps["value"].notna()]
    of_ranked = macro[macro["run_id"].isin([run.id for run in board.ranked])]
    assert of_ranked.groupby("run_id")["dataset"].count().nunique() == 2, "one run has fewer hospitals"
    mean_gap = of_ranked.groupby("run_id")["value"].mean().mean()
    assert sum(gap_contributions(board).values()) == pytest.approx(mean_gap)
    assert sum(finding_shares(board).values()) == pytest.approx(1)


def test_the_table_of_findings_has_the_shares():
    board = report_data.read(asked(4))
    finding, share = next(iter(finding_shares(board).items()))
    assert f'<span class="s">{100 * share:.0f} %<span class="onlyphone"> of the mean gap</span></span>' in str(
        findings(board).html
    )
    assert finding in str(findings(board).html)


def test_a_marker_that_runs_use_is_a_cause():
    text = str(opening(with_mean_gap(asked(4), 0.02, 0.06)).html)
    assert "<b>Why?</b>" in text
    assert 'href="#transplants">4 of 4 runs use a marker of' in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_tested", "uses", "missing"),
    [
        (1, "1 of 1 tested run uses a marker of", "3 of 4 runs are not tested"),
        (3, "3 of 3 tested runs use a marker of", "1 of 4 runs is not tested"),
    ],
)
def test_runs_whose_transplants_are_not_finished_are_counted(num_tested: int, uses: str, missing: str):
    made = asked(4)
    ranked = [run.id for run in report_data.read(made).ranked_runs]
    done = made["transplants"][made["transplants"]["run_id"].isin(ranked[:num_tested])].reset_index(drop=True)
    board = with_mean_gap(Tables(made.meta, {**made.frames, "transplants": done}), 0.02, 0.06)
    first_screen = str(opening(board).html)
    assert f'href="#transplants">{uses}' in first_screen
    assert f'href="#transplants">{missing}</a>.' in first_screen
    assert f"{uses} {board.hospitals.internal.short}" in str(transplants(board).html)


@pytest.mark.parametrize("bounds", [(-0.06, -0.02), (-0.02, 0.06)])
def test_a_gap_that_is_not_clearly_above_0_has_no_causes(bounds):
    board = with_mean_gap(asked(4), *bounds)
    assert finding_shares(board) == {}
    assert "Why?" not in str(opening(board).html)
    assert "share of all" not in str(findings(board).html)


def test_no_marker_is_no_cause():
    made = asked(4)
    untouched = made["transplants"].assign(low=-0.01, high=0.01)
    board = with_mean_gap(Tables(made.meta, {**made.frames, "transplants": untouched}), 0.02, 0.06)
    assert "#transplants" not in str(opening(board).html)


def test_the_finding_called_no_finding_has_quotation_marks():
    assert largest_share({"No Finding": 0.9, "Edema": 0.1, "Mass": 0.0}).startswith("“No Finding” contributes 90 %")
    assert findings_title(["No Finding"], 1, 9, 2) == "AUROC drops clearly in every run for “No Finding”"
