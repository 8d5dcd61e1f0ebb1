"""Section that compares runs: it contains the numbers, and a script builds the table of the runs that a reader pins."""

from typing import Any

from markupsafe import Markup

from reports.formatting import is_number, plural
from reports.html.section import Section, data_block, write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sentences.verdicts import HIGHER, LOWER, UNCLEAR
from reports.tables import rows_of


def compare(board: ReportData) -> Section:
    """Write the section: the scores of all recipes as data, and an element that the script fills with a table.

    With fewer than two recipes, the section is empty.
    """
    if len(board.ranked) < 2:
        return Section("compare", "", Markup(""))
    return Section("compare", "", write("compare.html.j2", unit=board.unit, data=Markup(data_block(_data(board)))))  # noqa: S704


def _data(board: ReportData) -> dict[str, Any]:
    """Return the metrics, the estimates of each run, and the paired differences.

    A difference has its value, its own interval, and the interval that is adjusted for all pairs in the ranking.
    """
    measure_keys = [
        (EXTERNAL, "auroc"),
        (board.internal.key, "auroc"),
        (EXTERNAL, "gap"),
        *((h.key, "auroc") for h in board.hospitals),
    ]
    measures = [
        {"title": "External", "note": "AUROC, mean"},
        {"title": "Internal", "note": "AUROC, every finding"},
        {"title": "Gap", "note": "internal − external, shared findings"},
        *({"title": h.title, "note": "AUROC"} for h in board.hospitals),
    ]
    table = board.tables["pairs"]
    index_of_measure = {measure_key: k for k, measure_key in enumerate(measure_keys)}
    pairs: dict[str, list[list[float] | None]] = {}
    columns = ("first", "second", "dataset", "metric", "value", "low", "high", "all_low", "all_high")
    for first, second, dataset, metric, *numbers in rows_of(table, *columns):
        k = index_of_measure.get((str(dataset), str(metric)))
        if k is not None and all(map(is_number, numbers)):
            cells = pairs.setdefault(f"{first} {second}", [None] * len(measure_keys))
            cells[k] = [float(v) for v in numbers]
    compared = table["first"].nunique() + 1 if len(table) else 0
    return {
        "measures": measures,
        "runs": {r.id: _cells(board, r) for r in board.ranked},
        "pairs": pairs,
        "verdicts": {"above": f"{HIGHER} than A", "below": f"{LOWER} than A", "unclear": UNCLEAR},
        "left": f"Paired differences are stored for the first {plural(compared, board.unit)} of the ranking; the others have none here."
        if compared
        else "No paired differences are stored in these tables.",
    }


def _cells(board: ReportData, run: Run) -> list[list[str] | None]:
    """Return the text of each metric and of its interval ("" if there is none), None if there is no value.

    Numbers are formatted here and not in the script, so that they have the same digits as in the other sections.
    """
    estimates = (run.external, run.internal, run.gap, *(run.hospitals[h.key] for h in board.hospitals))
    return [[estimate.text, estimate.span] if estimate.has_value else None for estimate in estimates]
