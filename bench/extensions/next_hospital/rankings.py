"""The hook `rankings`: the column of the ranking with the AUROC to expect at the next hospital."""

from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.sections.ranking_columns import RankingColumn
from reports.tables import rows_of

WHAT = "the AUROC to expect at a hospital like the external ones"
HELP = f"Next hospital: {WHAT}, with the 95 % prediction interval for one such hospital."


def columns(data: ReportData) -> list[RankingColumn]:
    """Return the column of the ranking with the macro AUROC to expect at the next hospital, and its prediction interval."""
    rows = data.tables["next_hospital"]
    rows = rows[(rows["metric"] == AUROC.metric) & (rows["finding"] == MACRO) & (rows["reason"] == "")]
    expected = {
        str(run): Estimate(float(value), float(low), float(high))
        for run, value, low, high in rows_of(rows, "run_id", "value", "new_low", "new_high")
    }

    def expected_of(run: Run) -> Estimate:
        return expected.get(run.id, MISSING)

    return [
        RankingColumn(
            "next",
            "Next hospital",
            "expected",
            lambda run: expected_of(run).value,
            lambda run: expected_of(run).text,
            expected_of,
            lambda run: expected_of(run).span,
            css="",
            help=HELP,
        )
    ]
