"""How training went: loss and home AUROC by epoch, and which epoch was kept."""

from typing import Any

from reports import charts, sentences
from reports.board import Board
from reports.section import Section, write
from reports.text import known

DRAWN = 40  # lines; more could not be told apart


def learning(board: Board) -> Section:
    """Write the learning curves."""
    history = board.tables["history"]
    by_run = {str(run_id): part.sort_values("epoch") for run_id, part in history.groupby("run_id")}
    runs = [r for r in board.scored if r.id in by_run]  # in order of the ranking
    last = {r.id: int(by_run[r.id]["epoch"].max()) for r in runs}
    at_end = sum(known(r.facts["best_epoch"]) and int(r.facts["best_epoch"]) == last[r.id] for r in runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        part = by_run[run.id]
        best = part[part["epoch"] == run.facts["best_epoch"]]
        rows.append(
            {
                "run": run,
                "best": int(run.facts["best_epoch"]) if known(run.facts["best_epoch"]) else None,
                "last": last[run.id],
                "auroc": float(best["val_auroc"].iloc[0]) if len(best) else None,
                "train_loss": float(best["train_loss"].iloc[0]) if len(best) else None,
                "val_loss": float(best["val_loss"].iloc[0]) if len(best) else None,
                "seconds": run.facts["seconds"],
            }
        )
    context = {
        "board": board,
        "title": sentences.learning(len(runs), at_end, max(last.values(), default=0)),
        "rows": rows,
        "drawn": min(len(runs), DRAWN),
    }
    drawn: list[dict[str, Any]] = []
    for key, element, top, share in (
        ("val_auroc", "c-auroc", "↑ AUROC at home, validation", True),
        ("train_loss", "c-loss", "↑ training loss", False),
    ):
        if runs and history[key].notna().any():
            drawn.append(charts.learning(runs[:DRAWN], by_run, key, element, top, share))
    context["elements"] = [(c["id"], c["top"]) for c in drawn]
    return Section("training", "Training", write("learning.html.j2", **context), tuple(drawn))
