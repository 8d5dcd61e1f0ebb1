"""Every run in full: its configuration, the command that makes it again, and one number for each finding and hospital."""

from typing import Any

from reports import data_sentences, sentences
from reports.board import AWAY, MACRO, Board, config_lines
from reports.entries import Run
from reports.headline import MISSING, Choice, Estimate
from reports.section import Section, write

METRICS = (  # metric, calibrator, word
    ("auprc", ("none", "platt"), "AUPRC"),
    ("brier", ("platt", "none"), "Brier"),
    ("ece", ("platt",), "ECE, Platt"),
    ("ece", ("none",), "ECE, as given"),
)
AT_THRESHOLD = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "npv": "NPV",
    "f1": "F1",
}
SHOWN = 40  # runs whose confusion matrices are in the file
POINTS = {"f1_max": "best F1", "youden": "Youden", "sens_90": "sensitivity .90"}


def runs(board: Board) -> Section:
    """Write one folded entry for each run; a script opens it in a drawer instead."""
    choice = Choice.of(board.tables, board.home.key)
    looked_up = [(word, choice.lookup(metric, calibrators)) for metric, calibrators, word in METRICS]
    points = sorted(set(choice.rows["operating_point"].astype(str)) - {""})
    point = next((p for p in POINTS if p in points), points[0] if points else "")
    if point:
        looked_up += [(said, choice.lookup(name, ("none", "platt"), point)) for name, said in AT_THRESHOLD.items()]
    called = _called(board, point)
    entries = [
        {
            "run": r,
            "called": _confusion(board, r, called),
            "table": _table(board, r),
            "more": _more(board, r, looked_up),
            "facts": _facts(r),
            "config": config_lines(r.facts),
            "gaps": _gaps(board, r),
            "unlearnt": data_sentences.unlearnt({r.id: board.unlearnt.get(r.id, ())}, 1),
        }
        for r in board.entries
    ]
    context = {"board": board, "entries": entries, "point": POINTS.get(point, point),
               "not_compared": data_sentences.not_compared(board.not_compared)}  # fmt: skip
    return Section("runs", "Runs", write("runs.html.j2", **context))


def _table(board: Board, run: Run) -> list[dict[str, Any]]:
    """Return a row for each finding, macro last: cells hold an estimate or the reason why there is none."""
    if not run.away.known and not run.home.known:
        return []
    rows = []
    unlearnt = board.unlearnt.get(run.id, ())
    for finding in (*board.meta.get("learns", {}).get(run.id, board.findings), MACRO):
        cells = []
        for hospital in board.everyone:
            estimate = board.cells.get((run.id, hospital.key, finding), MISSING)
            cells.append(
                {
                    "estimate": estimate,
                    "reason": "not learnt" if finding in unlearnt else board.why_missing(hospital.key, finding),
                    "inverted": estimate.has_interval and estimate.high < 0.5,
                }
            )
        gap = board.gaps.get((run.id, AWAY, finding), MISSING)
        rows.append({"finding": "Macro mean" if finding == MACRO else finding, "macro": finding == MACRO, "cells": cells,
                     "gap": gap, "zero": sentences.zero(gap)})  # fmt: skip
    return rows


def _gaps(board: Board, run: Run) -> list[dict[str, Any]]:
    """Return one macro gap for each hospital away, with where 0 lies and over how many findings it is taken."""
    return [
        {"estimate": e, "zero": sentences.zero(e), "common": e.num_findings}
        for e in (run.lost[h.key] for h in board.hospitals)
    ]


def _more(
    board: Board, run: Run, looked_up: list[tuple[str, dict[tuple[str, str, str], Estimate]]]
) -> list[tuple[str, list[Estimate]]]:
    """Return further macro metrics by hospital, those that exist."""
    rows = [(word, [found.get((run.id, h.key, MACRO), MISSING) for h in board.everyone]) for word, found in looked_up]
    return [(word, cells) for word, cells in rows if any(e.known for e in cells)]


def _called(board: Board, point: str) -> dict[tuple[str, str, str], tuple[int, int, int, int]]:
    """Return the images called by truth of (run, hospital, finding) at one threshold, of the first runs."""
    table, shown = board.tables["confusion"], {r.id for r in board.ranked[:SHOWN]}
    rows = table[(table["operating_point"] == point) & table["run_id"].isin(shown)]
    rows = rows[(rows["dataset"] != board.home.key) | (rows["split"] == "test")]
    columns = ("true_positive", "false_negative", "false_positive", "true_negative")
    return {
        (str(run), str(dataset), str(finding)): (int(tp), int(fn), int(fp), int(tn))
        for run, dataset, finding, tp, fn, fp, tn in zip(
            *(rows[c] for c in ("run_id", "dataset", "finding", *columns)), strict=True
        )
    }


def _confusion(
    board: Board, run: Run, called: dict[tuple[str, str, str], tuple[int, int, int, int]]
) -> list[tuple[str, list[tuple[int, int, int, int] | None]]]:
    """Return a confusion matrix for each finding and hospital, findings that have one anywhere."""
    rows = [(f, [called.get((run.id, h.key, f)) for h in board.everyone]) for f in board.findings]
    return [(finding, cells) for finding, cells in rows if any(cells)]


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return what the run is, as pairs of words."""
    words = (("architecture", "Architecture"), ("family", "Family"), ("weights", "Starting weights"), ("optimizer", "Optimizer"), ("loss", "Loss"),
             ("uncertainty", "Uncertain labels"), ("preprocessing", "Preprocessing"), ("augmentation", "Augmentation"), ("seed", "Seed"),
             ("epochs", "Epochs"), ("best_epoch", "Epoch kept"),
             ("gradient_evaluations", "Gradient evaluations"), ("device", "Device"), ("versions", "Versions"), ("commit", "Commit"),
             ("weights_sha256", "Trained weights, SHA-256"))  # fmt: skip
    own = [("Mean of" if run.is_derived else "Made of", _shown(run.facts["of"]))] if run.kind != "run" else []
    left = {"architecture", "family", "seed", "epochs", "best_epoch"} if run.is_derived else set()
    shown = [(word, _shown(run.facts.get(key))) for key, word in words if key not in left]
    return own + [(word, said) for word, said in shown if said]


def _shown(value: object) -> str:
    """Return a fact as text; a number that is whole is written so, null is ""."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
