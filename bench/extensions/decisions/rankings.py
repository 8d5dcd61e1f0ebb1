"""The hook `rankings`: recipes can be ranked by net benefit."""

from collections.abc import Sequence

from bench.extensions.decisions import criterion
from reports.report_data.report_data import ReportData
from reports.sections.ranking_columns import RankingColumn

SCORE = criterion


def columns(data: ReportData) -> Sequence[RankingColumn]:
    """Return the column of the net benefit."""
    return [criterion.column(data)] if criterion in data.further_criteria else []
