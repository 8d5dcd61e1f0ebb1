"""Learning curves: loss and internal AUROC by epoch, and the selected epoch."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from reports.drawing import charts
from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData
from reports.sentences import main_findings as sentences
from reports.tables import records_of, rows_of

DRAWN = 40  # lines; more could not be distinguished
MEASURED = ("val_auroc", "train_loss", "val_loss")


def learning(board: ReportData) -> Section:
    """Write the learning curves."""
    history = board.tables["history"]
    columns = ("run_id", "epoch", *MEASURED)
    epochs = {
        (str(run), int(epoch)): dict(zip(MEASURED, m, strict=True)) for run, epoch, *m in rows_of(history, *columns)
    }
    reached = {str(run): int(epoch) for run, epoch in history.groupby("run_id")["epoch"].max().items()}
    runs = [r for r in board.scored if r.id in reached]  # in order of the ranking
    last = {r.id: reached[r.id] for r in runs}
    lines = history[history["run_id"].isin([r.id for r in runs[:DRAWN]])]
    by_run = {str(run_id): part.sort_values("epoch") for run_id, part in lines.groupby("run_id")}
    at_end = sum(is_number(r.facts["best_epoch"]) and int(r.facts["best_epoch"]) == last[r.id] for r in runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        best = int(run.facts["best_epoch"]) if is_number(run.facts["best_epoch"]) else None
        there = epochs.get((run.id, best)) if best is not None else None
        measured: dict[str, Any] = there or dict.fromkeys(MEASURED)
        rows.append({"run": run, "best": best, "last": last[run.id], "seconds": run.facts["seconds"], **measured})
    context = {
        "board": board,
        "title": sentences.learning_title(len(runs), at_end, max(last.values(), default=0)),
        "kept": kept({chosen_by(r.facts) for r in runs}),
        "rows": rows,
        "drawn": min(len(runs), DRAWN),
        "audit": _audit(board),
    }
    drawn: list[dict[str, Any]] = []
    for key, element, top, share in (
        ("val_auroc", "c-auroc", "↑ internal validation AUROC", True),
        ("train_loss", "c-loss", "↑ training loss", False),
    ):
        if runs and history[key].notna().any():
            drawn.append(charts.learning(runs[:DRAWN], by_run, key, element, top, share))
    context["elements"] = [(c["id"], c["top"]) for c in drawn]
    return Section("training", "", write("learning.html.j2", **context), tuple(drawn))


def _audit(board: ReportData) -> list[dict[str, Any]]:
    """Return, per run, the epoch of each selection rule with its AUROC on the selecting split and, if recorded, on the test split."""
    table = board.tables["epochs"]
    labels = {run.id: run.label for run in board.runs}
    rows = []
    for run_id, part in table.groupby("run_id", sort=False):
        by = {str(row["rule"]): row for row in records_of(part)}
        honest = next(rule for rule in by if rule.startswith("best_"))
        kept, last, oracle = by[honest], by["last"], by.get("oracle")
        rows.append(
            {
                "run": labels.get(str(run_id), str(run_id)),
                "split": honest.removeprefix("best_").replace("_", " "),
                "chosen": [(int(row["epoch"]), row["chosen_auroc"]) for row in (kept, last)],
                "audited": oracle is not None,
                "test": [(int(row["epoch"]), row["test_auroc"]) for row in (kept, last, oracle) if row is not None],
                "over": oracle["over_honest"] if oracle is not None else float("nan"),
                "last_over": float(last["over_honest"]),
            }
        )
    return rows


def chosen_by(facts: Mapping[str, Any]) -> str:
    """Return the split that selected a run's epoch (val, expert_valid), or last."""
    try:
        config = json.loads(facts["config"])
        return "last" if config.get("selection") == "last" else str(config["schedule"]["select_on"])
    except (TypeError, ValueError, KeyError):
        return "val"


_KEPT = {
    "val": "the best epoch on the internal validation split",
    "expert_valid": "the best epoch on the internal split labeled by radiologists, whose score is therefore optimistic",
    "last": "the last epoch",
}


def kept(by: Collection[str]) -> str:
    """Return the sentence on the selected epoch; `by`: results of `chosen_by`."""
    words = [word for key, word in _KEPT.items() if key in (by or {"val"})]
    return f"Dot: the selected epoch, which is {' or, depending on the run, '.join(words)}."
