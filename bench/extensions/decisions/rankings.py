"""The hook `rankings`: recipes can be ranked by net benefit."""

from collections.abc import Sequence

from bench.extensions.decisions import criterion
from reports.formatting import is_number
from reports.report_data.report_data import ReportData
from reports.sections.ranking_columns import RankingColumn

SCORE = criterion


def columns(data: ReportData) -> Sequence[RankingColumn]:
    """Return the column of the net benefit."""
    column = criterion.column(data)
    return [column] if any(is_number(column.value(recipe)) for recipe in data.ranked) else []
