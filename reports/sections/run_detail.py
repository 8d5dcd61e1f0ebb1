"""One run in full: its numbers by finding and hospital, thresholds, calls, curves, subgroups, and how to make it again.

The same text stands in the drawer of the page and on the run's own page of a site.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing.run_figures import Curves, figures
from reports.formatting import DASH
from reports.html.section import write
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData, config_lines
from reports.sections import run_cells as runcells
from reports.sections.symptoms import symptom_anchor
from reports.sentences import data as data_sentences
from reports.summaries.data_exposure import exposure
from reports.summaries.gallery_cases import MOST, pictures_of
from reports.tables import rows_of

METRICS = (  # metric, calibrator, word
    ("auprc", ("none", "platt"), "AUPRC"),
    ("brier", ("platt", "none"), "Brier"),
    ("ece", ("platt",), "ECE, Platt"),
    ("ece", ("none",), "ECE, uncalibrated"),
)
AT_THRESHOLD = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "npv": "NPV",
    "f1": "F1",
}
POINTS = {"f1_max": "best F1", "youden": "Youden", "sens_90": "sensitivity .90", "f1_grid": "best F1 of a grid"}
Call = tuple[int, int, int, int]  # with the finding: called, not called; without it: called, not called


@dataclass(frozen=True, slots=True)
class Details:
    """What is looked up once for all runs that are shown in full."""

    board: ReportData
    point: str  # the threshold whose calls are shown, "" for none
    measures: Sequence[tuple[str, Mapping[tuple[str, str, str], Estimate]]]
    called: Mapping[tuple[str, str, str], Call]  # by run, hospital and finding
    thresholds: Mapping[tuple[str, str, str], float]  # probability, by run, rule and finding
    groups: Mapping[str, pd.DataFrame]
    curves: Curves
    pictures: Mapping[str, Sequence[Mapping[str, Any]]]  # cases, by run
    symptoms: frozenset[str]  # runs that the page about symptoms speaks of

    @classmethod
    def of(cls, board: ReportData, in_full: Iterable[Run]) -> "Details":
        """Gather; `in_full` are the runs whose calls, curves and subgroups are shown, too."""
        drawn = list(in_full)
        ids = {run.id for run in drawn}
        choice = board.headline
        looked_up = [(word, choice.lookup(name, given, finding=MACRO)) for name, given, word in METRICS]
        rules = {*choice.operating_points, *board.tables["confusion"]["operating_point"].unique()}
        points = sorted(str(rule) for rule in rules if rule)
        wanted = (str(board.meta.get("threshold") or ""), *POINTS)
        point = next((p for p in wanted if p in points), points[0] if points else "")
        if point:
            both = ("none", "platt")
            looked_up += [(said, choice.lookup(n, both, point, finding=MACRO)) for n, said in AT_THRESHOLD.items()]
        subgroups = board.tables["subgroups"]
        chosen = subgroups[subgroups["run_id"].isin(ids) & (subgroups["finding"] == MACRO)]
        chosen = chosen[chosen["metric"].isin(["auroc", "auroc_spread"])]
        confusion = board.tables["confusion"]
        confusion = confusion[confusion["run_id"].isin(ids)]
        confusion = confusion[(confusion["dataset"] != board.internal.key) | (confusion["split"] == "test")]
        return cls(
            board, point, looked_up, _called(confusion, point), _thresholds(confusion),
            {str(r): part for r, part in chosen.groupby("run_id")}, Curves.of(board, drawn),
            _pictures(board), frozenset(map(str, board.tables["diagnostics"]["run_id"])),
        )  # fmt: skip

    def body(self, run: Run, drawn: bool) -> Markup:
        """Return a run in full; without its figures where a script puts them in."""
        board = self.board
        symptom = symptom_anchor(run.id) if run.id in self.symptoms and not drawn else ""
        entry = {
            "run": run,
            "called": _confusion(board, run, self.called),
            "thresholds": _rules(board, run, self.thresholds),
            "table": _table(board, run, symptom),
            "more": _more(board, run, self.measures),
            "groups": _groups(board, self.groups.get(run.id)),
            "facts": _facts(run),
            "exposure": _exposure(board, run),
            "config": config_lines(run.facts),
            "gaps": _gaps(board, run),
            "not_learned": data_sentences.not_learned({run.id: board.not_learned.get(run.id, ())}, 1),
            "figures": self.figures(run) if drawn else "",
            "pictures": self.pictures.get(run.id, ()),
        }
        said = data_sentences.not_compared(board.not_compared)
        return write(
            "run_detail.html.j2",
            drawn=drawn,
            board=board,
            e=entry,
            point=POINTS.get(self.point, self.point),
            not_compared=said,
        )

    def figures(self, run: Run) -> Markup:
        """Return the curves of a run; nothing where its tables hold none."""
        return write("run_figures.html.j2", f=figures(self.board, run, self.curves))


def _pictures(board: ReportData) -> dict[str, list[Mapping[str, Any]]]:
    """Return the first pictures of each run, in the order of the gallery."""
    out: dict[str, list[Mapping[str, Any]]] = {}
    for card in pictures_of(board, board.tables["gallery"]):
        mine = out.setdefault(card["run_id"], [])
        if len(mine) < MOST:
            mine.append(card)
    return out


def _called(table: pd.DataFrame, point: str) -> dict[tuple[str, str, str], Call]:
    rows = table[table["operating_point"] == point]
    columns = ("true_positive", "false_negative", "false_positive", "true_negative")
    return {
        (str(run), str(dataset), str(finding)): (int(tp), int(fn), int(fp), int(tn))
        for run, dataset, finding, tp, fn, fp, tn in rows_of(rows, "run_id", "dataset", "finding", *columns)
    }


def _thresholds(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return each threshold as a probability; the same everywhere, so whichever hospital is met first says it."""
    rows = table.drop_duplicates(["run_id", "operating_point", "finding"])
    return {
        (str(run), str(rule), str(finding)): 1 / (1 + math.exp(-min(max(float(at), -700.0), 700.0)))
        for run, rule, finding, at in rows_of(rows, "run_id", "operating_point", "finding", "threshold")
    }


def _rules(board: ReportData, run: Run, thresholds: Mapping[tuple[str, str, str], float]) -> dict[str, Any]:
    """Return the words of the rules that chose thresholds, and the thresholds of each finding; {} without any."""
    rules = [rule for rule in POINTS if any((run.id, rule, f) in thresholds for f in board.findings)]
    rows = [(f, [thresholds.get((run.id, rule, f)) for rule in rules]) for f in board.findings]
    rows = [(finding, cells) for finding, cells in rows if any(c is not None for c in cells)]
    return {"words": [POINTS[rule] for rule in rules], "rows": rows} if rows else {}


def _groups(board: ReportData, table: pd.DataFrame | None) -> list[tuple[str, bool, Markup]]:
    """Return, by subgroup of one attribute, its macro AUROC in each hospital; then the attribute's largest less least."""
    if table is None:
        return []
    columns = ("subgroup", "dataset", "split", "value", "low", "high", "n")
    cells = {
        (str(group), str(dataset)): Estimate(float(value), float(low), float(high), count(n))
        for group, dataset, split, value, low, high, n in rows_of(table, *columns)
        if dataset != board.internal.key or split == "test"
    }
    named = [g for g in dict.fromkeys(group for group, _ in cells) if " " not in g and g != "all"]
    rows = []
    for group in sorted(named, key=lambda g: (named.index(_first_of(named, g)), "=" not in g)):
        found = [cells.get((group, h.key), MISSING) for h in board.all_hospitals]
        if any(e.has_value for e in found):
            attribute, _, value = group.partition("=")
            said = f"{attribute}: {value}" if value else f"{attribute}: largest minus smallest"
            shown = [runcells.number(e, counted=bool(value)) if e.has_value else DASH for e in found]
            rows.append((said, not value, runcells.row(shown)))
    return rows


def _first_of(named: Sequence[str], group: str) -> str:
    """Return the first subgroup of the same attribute."""
    attribute = group.partition("=")[0]
    return next(g for g in named if g.partition("=")[0] == attribute)


def _table(board: ReportData, run: Run, symptom: str) -> list[dict[str, Any]]:
    """Return a row for each finding, macro last: its AUROC in each hospital, or why there is none, and its gap.

    symptom: the place on the page where inverted scores are looked at, "" for none.
    """
    if not run.external.has_value and not run.internal.has_value:
        return []
    rows = []
    not_learned = board.not_learned.get(run.id, ())
    keys = [h.key for h in board.all_hospitals]
    for finding in (*board.meta.get("learns", {}).get(run.id, board.findings), MACRO):
        macro = finding == MACRO
        cells = [
            runcells.auroc(
                board.cells.get((run.id, key, finding), MISSING),
                macro,
                "not learned" if finding in not_learned else board.why_missing(key, finding),
                symptom,
            )
            for key in keys
        ]
        cells.append(runcells.gap(board.gaps.get((run.id, EXTERNAL, finding), MISSING)))
        rows.append({"finding": "Macro mean" if macro else finding, "macro": macro, "cells": runcells.row(cells)})
    return rows


def _gaps(board: ReportData, run: Run) -> Markup:
    """Return one macro gap for each external hospital, with where 0 lies and over how many findings it is taken."""
    lost = [run.hospital_gaps[h.key] for h in board.hospitals]
    return runcells.row([runcells.gap(e, str(e.num_findings or "none")) for e in lost]) if lost else Markup("")


def _more(
    board: ReportData, run: Run, looked_up: Sequence[tuple[str, Mapping[tuple[str, str, str], Estimate]]]
) -> list[tuple[str, Markup]]:
    """Return further macro metrics by hospital, those that exist."""
    rows = [
        (word, [found.get((run.id, h.key, MACRO), MISSING) for h in board.all_hospitals]) for word, found in looked_up
    ]
    return [
        (word, runcells.row([runcells.number(e) for e in cells]))
        for word, cells in rows
        if any(e.has_value for e in cells)
    ]


def _confusion(
    board: ReportData, run: Run, called: Mapping[tuple[str, str, str], Call]
) -> list[tuple[str, tuple[Markup, Markup]]]:
    """Return a confusion matrix for each finding and hospital, findings that have one anywhere: with it, without it."""
    rows = [(f, [called.get((run.id, h.key, f)) for h in board.all_hospitals]) for f in board.findings]
    return [
        (
            finding,
            (
                runcells.row([c for cell in cells for c in runcells.call(cell and cell[:2])]),
                runcells.row([c for cell in cells for c in runcells.call(cell and cell[2:])]),
            ),
        )
        for finding, cells in rows
        if any(cells)
    ]


def _facts(run: Run) -> list[tuple[str, str]]:
    """Return what the run is, as pairs of words."""
    words = (("architecture", "Architecture"), ("family", "Family"), ("optimizer", "Optimizer"), ("loss", "Loss"),
             ("uncertainty", "Uncertain labels"), ("preprocessing", "Preprocessing"), ("augmentation", "Augmentation"), ("seed", "Seed"),
             ("epochs", "Epochs"), ("best_epoch", "Selected epoch"),
             ("gradient_evaluations", "Gradient evaluations"), ("device", "Device"), ("versions", "Versions"), ("commit", "Commit"),
             ("weights_sha256", "Trained weights, SHA-256"))  # fmt: skip
    made = "Model file" if run.is_imported else "Mean of" if run.is_derived else "Combined from"
    own = [(made, _shown(run.facts["of"]))] if run.kind != "run" else []
    left = {"architecture", "family", "seed", "epochs", "best_epoch"} if run.is_derived else set()
    if run.is_imported:
        left |= {"optimizer", "loss", "uncertainty", "preprocessing", "augmentation"}
    shown = [(word, _shown(run.facts.get(key))) for key, word in words if key not in left]
    return own + [(word, said) for word, said in shown if said]


def _exposure(board: ReportData, run: Run) -> list[tuple[str, str]]:
    """Return what the run had seen and may be used for, as pairs of words."""
    own = exposure(board, run)
    pairs = [
        ("Trained on", own.trained_on),
        ("Model file" if own.elsewhere else "Started from", own.start),
        ("Pretraining corpus", own.corpus),
        ("License of the weights" if own.elsewhere else "License of the starting weights", own.licence),
        ("Overlap with test images" if own.elsewhere else "Overlap of the corpus with test images", own.corpus_overlap),
        ("Intended use", own.use),
    ]
    return [(word, said) for word, said in pairs if said]


def _shown(value: object) -> str:
    """Return a fact as text; a number that is whole is written so, null is ""."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
