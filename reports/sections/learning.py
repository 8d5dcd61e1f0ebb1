"""Section on learning curves: loss and internal AUROC by epoch, and the selected epoch."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from reports.drawing.run_figures import EpochCurve, by_epoch
from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData
from reports.sentences import main_findings as sentences
from reports.tables import rows_of

DRAWN = 40  # maximum number of curves; a reader could not distinguish more
MEASURED = ("val_auroc", "train_loss", "val_loss")


def learning(data: ReportData) -> Section:
    """Write the section: curves of loss and AUROC, and a table of the selected epochs."""
    history = data.tables["history"]
    columns = ("run_id", "epoch", *MEASURED)
    values_of_epoch = {
        (str(run), int(epoch)): dict(zip(MEASURED, values, strict=True))
        for run, epoch, *values in rows_of(history, *columns)
    }
    last_epochs = {str(run): int(epoch) for run, epoch in history.groupby("run_id")["epoch"].max().items()}
    runs = [r for r in data.scored if r.id in last_epochs]  # in the order of the ranking
    last = {r.id: last_epochs[r.id] for r in runs}
    lines = history[history["run_id"].isin([r.id for r in runs[:DRAWN]])]
    by_run = {str(run_id): run_rows.sort_values("epoch") for run_id, run_rows in lines.groupby("run_id")}
    at_end = sum(is_number(r.facts["best_epoch"]) and int(r.facts["best_epoch"]) == last[r.id] for r in runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        best = int(run.facts["best_epoch"]) if is_number(run.facts["best_epoch"]) else None
        best_values = values_of_epoch.get((run.id, best)) if best is not None else None
        measured: dict[str, Any] = best_values or dict.fromkeys(MEASURED)
        rows.append({"run": run, "best": best, "last": last[run.id], "seconds": run.facts["seconds"], **measured})
    context = {
        "data": data,
        "title": sentences.learning_title(len(runs), at_end, max(last.values(), default=0)),
        "kept": selected_epoch({chosen_by(r.facts) for r in runs}),
        "rows": rows,
        "drawn": min(len(runs), DRAWN),
    }
    figures = {
        title: by_epoch(title, [EpochCurve.of(run, by_run[run.id], key) for run in runs[:DRAWN]])
        for title, key in (("Internal validation AUROC", "val_auroc"), ("Training loss", "train_loss"))
    }
    return Section("training", "", write("learning.html.j2", **context, figures=figures))


def chosen_by(facts: Mapping[str, Any]) -> str:
    """Return how the epoch of a run was selected: the split on which it is best, or "last".

    The split is val or expert_valid; a configuration that cannot be read counts as val.
    """
    try:
        config = json.loads(facts["config"])
        return "last" if config.get("selection") == "last" else str(config["schedule"]["select_on"])
    except (TypeError, ValueError, KeyError):
        return "val"


_SELECTED = {
    "val": "the best epoch on the internal validation split",
    "expert_valid": "the best epoch on the internal split labeled by radiologists, whose score is therefore optimistic",
    "last": "the last epoch",
}


def selected_epoch(rules: Collection[str]) -> str:
    """Return the sentence on how epochs are selected; `rules` are results of `chosen_by`."""
    words = [word for key, word in _SELECTED.items() if key in (rules or {"val"})]
    return f"Dot: the selected epoch, which is {' or, depending on the run, '.join(words)}."
