"""Runs side by side: what a script needs to put up to four pinned runs next to each other."""

from statistics import NormalDist
from typing import Any

from markupsafe import Markup

from reports.formatting import known, plural
from reports.html.section import Section, data_block, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, Board
from reports.tables import rows_of

MOST_SHOWN = 64  # differences that can stand side by side: of three runs against the first, in every place


def compare(board: Board) -> Section:
    """Write the empty section and its numbers; nothing where there are no two runs to compare."""
    if len(board.ranked) < 2:
        return Section("compare", "", Markup(""))
    return Section("compare", "", write("compare.html.j2", data=Markup(data_block(_data(board)))))  # noqa: S704


def _data(board: Board) -> dict[str, Any]:
    """Return the measures, the runs with an estimate of each, and the differences of each pair that was compared."""
    places = [
        (EXTERNAL, "auroc"),
        (board.internal.key, "auroc"),
        (EXTERNAL, "gap"),
        *((h.key, "auroc") for h in board.hospitals),
    ]
    measures = [
        {"said": "External", "note": "AUROC, mean"},
        {"said": "Internal", "note": "AUROC, every finding"},
        {"said": "Gap", "note": "internal − external"},
        *({"said": h.title, "note": "AUROC"} for h in board.hospitals),
    ]
    table = board.tables["pairs"]
    where = {place: k for k, place in enumerate(places)}
    pairs: dict[str, list[list[float] | None]] = {}
    columns = ("first", "second", "dataset", "metric", "value", "low", "high")
    for first, second, dataset, metric, *bounds in rows_of(table, *columns):
        k = where.get((str(dataset), str(metric)))
        if k is not None and all(map(known, bounds)):
            cells = pairs.setdefault(f"{first} {second}", [None] * len(places))
            cells[k] = [round(float(v), 4) for v in bounds]
    compared = table["first"].nunique() + 1 if len(table) else 0
    return {
        "measures": measures,
        "runs": {r.id: _cells(board, r) for r in board.ranked},
        "pairs": pairs,
        "z": [round(NormalDist().inv_cdf(1 - 0.025 / k), 3) for k in range(1, MOST_SHOWN + 1)],
        "left": f"Paired differences are kept for the first {plural(compared, 'run')} of the ranking; others stand side by side without."
        if compared
        else "No paired differences are kept with these tables.",
    }  # fmt: skip


def _cells(board: Board, run: Run) -> list[list[float] | None]:
    """Return value, low and high of each measure; the value alone where it has no interval."""
    found = (run.external, run.internal, run.gap, *(run.hospitals[h.key] for h in board.hospitals))
    return [_cell(estimate) for estimate in found]


def _cell(estimate: Estimate) -> list[float] | None:
    if not estimate.known:
        return None
    bounds = (estimate.low, estimate.high) if estimate.has_interval else ()
    return [_short(v) for v in (estimate.value, *bounds)]


def _short(value: Any) -> float:
    """Return a number with five places: what is shown has three, and should not be rounded twice."""
    return round(float(value), 5)
