"""How training went: loss and home AUROC by epoch, and which epoch was kept."""

import json
from collections.abc import Collection, Mapping
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
        "kept": kept({chosen_by(r.facts) for r in runs}),
        "rows": rows,
        "drawn": min(len(runs), DRAWN),
        "audit": _audit(board),
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


def _audit(board: Board) -> list[dict[str, Any]]:
    """Return, per run whose test AUROC was noted, what each rule of choosing the epoch would have shown."""
    table = board.tables["epochs"]
    labels = {run.id: run.label for run in board.runs}
    rows = []
    for run_id, part in table.groupby("run_id", sort=False):
        by = {str(row["rule"]): row for row in part.to_dict("records")}
        honest = next(rule for rule in by if rule.startswith("best_"))
        rows.append(
            {
                "run": labels.get(str(run_id), str(run_id)),
                "cells": [(int(by[rule]["epoch"]), by[rule]["test_auroc"]) for rule in (honest, "last", "oracle")],
                "over": by["oracle"]["over_honest"],
            }
        )
    return rows


def chosen_by(facts: Mapping[str, Any]) -> str:
    """Return what chose a run's epoch: val, expert_valid, or last for the last one."""
    try:
        config = json.loads(facts["config"])
        return "last" if config.get("selection") == "last" else str(config["schedule"]["select_on"])
    except (TypeError, ValueError, KeyError):
        return "val"


_KEPT = {
    "val": "the best at home, on the validation split",
    "expert_valid": "the best at home, on the split that radiologists labelled, where its score is therefore optimistic",
    "last": "the last",
}


def kept(by: Collection[str]) -> str:
    """Return which epoch the dots mark, by what chose it: val, expert_valid, last."""
    words = [word for key, word in _KEPT.items() if key in (by or {"val"})]
    return f"The dot is the epoch that was kept: {'; or, as the run says, '.join(words)}."
