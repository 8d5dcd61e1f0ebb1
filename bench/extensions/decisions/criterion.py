"""Net benefit as a criterion: recipes can be ranked by it, and the ranking has a column of it."""

from collections.abc import Mapping

from bench.extensions.decisions.benefits_of_runs import (
    BETTER,
    METRIC,
    NO_BENEFIT,
    Benefit,
    Key,
    benefit_verdict,
    lookup,
)
from reports.report_data.headline_rows import EXTERNAL, MACRO
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.rankings import Rows
from reports.report_data.report_data import ReportData
from reports.schemas.criterion import Criterion
from reports.sections.ranking_columns import RankingColumn
from reports.tables import Tables

__all__ = ["METRIC", "NOTE", "TITLE", "scores"]
TITLE = "Net benefit"
NOTE = "external mean, at the stated thresholds"
HELP = (
    "Net benefit: found cases per image minus false alarms, each weighted by t / (1 − t), at external hospitals; mean over findings, "
    "with the same probabilities. The threshold t of a finding is its share of internal validation images. Treating no image as positive "
    "has net benefit 0. No better than all or none: the {unit} is not clearly better than treating all images, or none, as positive. "
    "The interval of a net benefit combines those of two shares of images."
)


def scores(tables: Tables, rankings: Mapping[Criterion, Rows]) -> dict[Key, Benefit]:
    """Return the macro net benefit of each run and recipe at each hospital; the mean has the bounds of its ranking."""
    table = tables[METRIC]
    return lookup(table[table["finding"] == MACRO], rankings.get(Criterion(METRIC, EXTERNAL, MACRO), {}))


def column(data: ReportData) -> RankingColumn:
    """Return the column of the ranking: the mean over external hospitals, with a verdict unless the network is better."""

    def benefit(run: Run) -> Benefit:
        score = data.further[METRIC].get((run.id, EXTERNAL, MACRO), NO_BENEFIT)
        assert isinstance(score, Benefit)
        return score

    def unless_better(run: Run) -> str:
        words = benefit_verdict(benefit(run))
        return "" if words == BETTER else words

    return RankingColumn(
        "benefit",
        TITLE,
        "external",
        lambda run: benefit(run).value.value,
        lambda run: benefit(run).value.text,
        lambda run: benefit(run).value,
        lambda run: benefit(run).value.span,
        unless_better,
        first=False,
        help=HELP.format(unit=data.unit),
    )
