"""Section with the comparison table: a script builds this table of the runs that a reader pins (selects in the ranking).

The section contains the numbers for the script.
"""

import json
from typing import Any

from markupsafe import Markup

from reports.formatting import is_number, plural
from reports.html.compression import packed
from reports.html.section import Section, data_block, write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sentences.verdicts import HIGHER, LOWER, UNCLEAR
from reports.tables import rows_of


def compare(board: ReportData) -> Section:
    """Write the section: the scores of all ranked recipes as data, and an element that the script fills with a table.

    With fewer than two ranked recipes, the section is empty.
    """
    if len(board.ranked) < 2:
        return Section("compare", "", Markup(""))
    pairs = _pairs(board)
    data = Markup(data_block(_data(board)))  # noqa: S704
    return Section("compare", "", write("compare.html.j2", unit=board.unit, data=data, pairs=packed(json.dumps(pairs))))


def _measures(board: ReportData) -> list[tuple[tuple[str, str], dict[str, str]]]:
    """Return the rows of the table: (hospital, metric) of each row, and the row's title and note."""
    return [
        ((EXTERNAL, "auroc"), {"title": "External", "note": "AUROC, mean"}),
        ((board.internal.key, "auroc"), {"title": "Internal", "note": "AUROC, every finding"}),
        ((EXTERNAL, "gap"), {"title": "Gap", "note": "internal − external, shared findings"}),
        *(((h.key, "auroc"), {"title": h.title, "note": "AUROC"}) for h in board.hospitals),
    ]


def _data(board: ReportData) -> dict[str, Any]:
    """Return the data for the script.

    `measures`: titles and notes of the metrics. `runs`: for each run, its estimates as text. `verdicts`: the words for
    a difference from run A, the first pinned run. `left`: the sentence on pairs without a stored difference.
    """
    table = board.tables["pairs"]
    compared = table["first"].nunique() + 1 if len(table) else 0
    return {
        "measures": [texts for _, texts in _measures(board)],
        "runs": {r.id: _cells(board, r) for r in board.ranked},
        "verdicts": {"above": f"{HIGHER} than A", "below": f"{LOWER} than A", "unclear": UNCLEAR},
        "left": f"Paired differences are stored for the first {plural(compared, board.unit)} of the ranking; the others have none here."
        if compared
        else "No paired differences are stored in these tables.",
    }


def _pairs(board: ReportData) -> dict[str, list[list[float] | None]]:
    """Return the paired differences: "first second" (two ids) -> a list with one item per metric of `_measures`.

    An item is [value, low, high, all_low, all_high], or None if no difference is stored. low and high are the bounds of
    the difference's own interval. all_low and all_high are the bounds of the simultaneous interval for all pairs in the
    ranking. Numbers have eight decimals here; the page shows three.
    """
    index_of_measure = {key: k for k, (key, _) in enumerate(_measures(board))}
    pairs: dict[str, list[list[float] | None]] = {}
    columns = ("first", "second", "dataset", "metric", "value", "low", "high", "all_low", "all_high")
    for first, second, dataset, metric, *numbers in rows_of(board.tables["pairs"], *columns):
        k = index_of_measure.get((str(dataset), str(metric)))
        if k is not None and all(map(is_number, numbers)):
            cells = pairs.setdefault(f"{first} {second}", [None] * len(index_of_measure))
            cells[k] = [round(float(v), 8) for v in numbers]
    return pairs


def _cells(board: ReportData, run: Run) -> list[list[str] | None]:
    """Return one item per metric of `_measures`: [value, interval] as text, or None if the metric has no value.

    The text of an unknown interval is "". Python formats the numbers, not the script, so that all sections show the
    same digits.
    """
    estimates = (run.external, run.internal, run.gap, *(run.hospitals[h.key] for h in board.hospitals))
    return [[estimate.text, estimate.span] if estimate.has_value else None for estimate in estimates]
