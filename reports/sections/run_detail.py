"""Write the details of a run: scores, thresholds, confusion matrices, curves, subgroups and command.

The drawer (a panel at the side of the page) and the run's own page in a site show the same text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports import extensions, failed_parts, hooks
from reports.drawing.run_figures import Call, Curves, figures
from reports.formatting import DASH, listing, plural
from reports.html.section import write
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData, config_lines
from reports.sections import run_cells
from reports.sections.findings import approximate_labels
from reports.sections.symptoms import inverted_cells, symptom_anchor
from reports.sentences import data as data_sentences
from reports.sentences import members
from reports.sentences.verdicts import verdict
from reports.summaries.citation import publications
from reports.summaries.data_exposure import exposure
from reports.tables import rows_of

PART = "details of runs"
METRICS = (  # (metric, calibrators by preference, name on the page)
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
}
POINTS = {
    "f1_max": "best F1",
    "youden": "best Youden index",
    "sens_90": "sensitivity .90",
    "f1_grid": "best F1 among fixed thresholds",
}
NONE = "no interval"
NO_INTERVAL = (
    "No interval: no patient, or only one, has an influence on the number, or it is unknown for at least one finding. "
    "Precision needs at least one positive prediction; NPV needs at least one negative prediction; MCE needs images of both "
    "classes, and of two patients, in its bin."
)


@dataclass(frozen=True, slots=True)
class RunDetails:
    """Lookup tables for the details of all runs, built once.

    measures: (name of a macro metric on the page, (run id, dataset, "macro") -> value). groups: run id -> its rows of the
    table `subgroups`.
    """

    data: ReportData
    point: str  # threshold rule of the confusion matrices; "" if there are no matrices
    # (name of the metric, estimates by run, hospital and finding) of each metric in the details other than AUROC and gap
    measures: Sequence[tuple[str, Mapping[tuple[str, str, str], Estimate]]]
    called: Mapping[tuple[str, str, str], Call]  # confusion matrices: counts by run, hospital and finding
    thresholds: Mapping[tuple[str, str, str], float]  # threshold of the probability, by run, threshold rule and finding
    groups: Mapping[str, pd.DataFrame]  # run id -> rows of the table `subgroups`: macro AUROC and its spread
    curves: Curves
    of_extensions: Sequence[hooks.Details]
    inverted: frozenset[tuple[str, str, str]]  # run, hospital and finding of each AUROC that seems inverted

    @classmethod
    def of(cls, data: ReportData, in_full: Iterable[Run]) -> "RunDetails":
        """Build the lookup tables; only the runs `in_full` get confusion matrices, curves and subgroups."""
        full_runs = list(in_full)
        ids = {run.id for run in full_runs}
        choice = data.headline
        looked_up = [(word, choice.lookup(name, calibrators, finding=MACRO)) for name, calibrators, word in METRICS]
        point = shown_rule(data)
        if point:
            calibrators = ("none", "platt")
            looked_up += [
                (word, choice.lookup(name, calibrators, point, finding=MACRO)) for name, word in AT_THRESHOLD.items()
            ]
        subgroups = data.tables["subgroups"]
        subgroups = subgroups[subgroups["run_id"].isin(ids) & (subgroups["finding"] == MACRO)]
        subgroups = subgroups[subgroups["metric"].isin(["auroc", "auroc_spread"])]
        confusion = data.tables["confusion"]
        confusion = confusion[confusion["run_id"].isin(ids)]
        confusion = confusion[(confusion["dataset"] != data.hospitals.internal.key) | (confusion["split"] == "test")]
        return cls(
            data,
            point,
            looked_up,
            called_images(confusion, point),
            _thresholds(confusion),
            {str(run_id): rows for run_id, rows in subgroups.groupby("run_id")},
            Curves.of(data, full_runs),
            failed_parts.of_extensions(
                PART, extensions.modules(hooks.RunDetails), lambda each: each.details(data, ids)
            ),
            inverted_cells(data),
        )

    def body(self, run: Run, drawn: bool) -> Markup:
        """Return the HTML of a run's details: with the figures if `drawn`; else a script adds the figures later."""
        data = self.data.of_run(run)
        further = failed_parts.of_extensions(PART, self.of_extensions, lambda part: part.html(data, run, drawn))
        entry = {
            "run": run,
            "verdict": verdict(run.gap),
            "over": members.over(data.members(run)),
            "called": _confusion(data, run, self.called),
            "thresholds": _rules(data, run, self.thresholds),
            "table": _table(data, run, self.inverted, "" if drawn else symptom_anchor(run.id)),
            "more": (more := _more(data, run, self.measures)),
            "no_interval": NO_INTERVAL if any(NONE in cells for _, cells in more) else "",
            "groups": _groups(data, self.groups.get(run.id)),
            "facts": _submission(data, run) + _facts(run, data.meta.get("links") or {}),
            "exposure": _exposure(data, run),
            "config": config_lines(run.facts),
            "gaps": _gaps(data, run),
            "further": Markup("").join(further),
            "not_learned": data_sentences.not_learned({run.id: data.meta.get("unlearnt", {}).get(run.id, ())}, 1),
            "figures": self.figures(run) if drawn else "",
        }
        return write(
            "run_detail.html.j2",
            drawn=drawn,
            data=data,
            e=entry,
            point=POINTS.get(self.point, self.point),
        )

    def figures(self, run: Run) -> Markup:
        """Return the curves of a run; empty if there are none."""
        data = self.data.of_run(run)
        further = failed_parts.of_extensions(PART, self.of_extensions, lambda part: part.figures(data, run))
        called: dict[str, dict[str, Call]] = {}
        for (run_id, hospital, finding), counts in self.called.items():
            if run_id == run.id:
                called.setdefault(finding, {})[hospital] = counts
        chosen = {f: (self.thresholds.get((run.id, self.point, f), math.nan), called.get(f, {})) for f in data.findings}
        drawn = figures(data, run, self.curves, chosen)
        rule = POINTS.get(self.point, self.point)
        return write("run_figures.html.j2", data=self.data, f=drawn, rule=rule, further=further)


def shown_rule(data: ReportData) -> str:
    """Return the threshold rule of sensitivities and confusion matrices: the one that the grid states, if there are results; "" for none."""
    rules = {*data.headline.operating_points, *data.tables["confusion"]["operating_point"].unique()}
    points = sorted(str(rule) for rule in rules if rule)
    preferred = (data.meta["settings"]["threshold"], *POINTS)
    return next((p for p in preferred if p in points), points[0] if points else "")


def called_images(table: pd.DataFrame, point: str) -> dict[tuple[str, str, str], Call]:
    """Return the confusion matrices of a threshold rule: (run id, dataset, finding) -> counts."""
    rows = table[table["operating_point"] == point]
    columns = ("true_positive", "false_negative", "false_positive", "true_negative")
    return {
        (str(run), str(dataset), str(finding)): (int(tp), int(fn), int(fp), int(tn))
        for run, dataset, finding, tp, fn, fp, tn in rows_of(rows, "run_id", "dataset", "finding", *columns)
    }


def _thresholds(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return (run, threshold rule, finding) -> threshold as a probability; the table has thresholds of logits.

    All hospitals have the same thresholds.
    """
    rows = table.drop_duplicates(["run_id", "operating_point", "finding"])
    return {
        (str(run), str(rule), str(finding)): 1 / (1 + math.exp(-min(max(float(threshold), -700.0), 700.0)))
        for run, rule, finding, threshold in rows_of(rows, "run_id", "operating_point", "finding", "threshold")
    }


def _rules(data: ReportData, run: Run, thresholds: Mapping[tuple[str, str, str], float]) -> dict[str, Any]:
    """Return a table with the thresholds of a run, by finding (rows) and threshold rule (columns).

    The result is {} if the run has no thresholds.
    """
    rules = [rule for rule in POINTS if any((run.id, rule, f) in thresholds for f in data.findings)]
    rows = [(f, [thresholds.get((run.id, rule, f)) for rule in rules]) for f in data.findings]
    rows = [(finding, cells) for finding, cells in rows if any(c is not None for c in cells)]
    return {"words": [POINTS[rule] for rule in rules], "rows": rows} if rows else {}


def _groups(data: ReportData, table: pd.DataFrame | None) -> list[tuple[str, bool, Markup]]:
    """Return table rows (name, whether it is a spread, cells): macro AUROC of each group, and spread of each attribute.

    There is a cell for each hospital. `table`: the rows of one run in the table `subgroups`.
    """
    if table is None:
        return []
    columns = ("subgroup", "dataset", "split", "value", "low", "high", "n")
    cells = {
        (str(group), str(dataset)): Estimate(float(value), float(low), float(high), count(n))
        for group, dataset, split, value, low, high, n in rows_of(table, *columns)
        if dataset != data.hospitals.internal.key or split == "test"
    }
    group_names = [g for g in dict.fromkeys(group for group, _ in cells) if " " not in g and g != "all"]
    rows = []
    for group in sorted(group_names, key=lambda g: (group_names.index(_first_of(group_names, g)), "=" not in g)):
        estimates = [cells.get((group, h.key), MISSING) for h in data.hospitals.all]
        if any(e.has_value for e in estimates):
            attribute, _, value = group.partition("=")
            words = f"{attribute}: {value}" if value else f"{attribute}: highest minus lowest AUROC of the groups"
            cells_of_group = [run_cells.number(e, counted=bool(value)) if e.has_value else DASH for e in estimates]
            rows.append((words, not value, run_cells.row(cells_of_group)))
    return rows


def _first_of(group_names: Sequence[str], group: str) -> str:
    """Return the first name in `group_names` with the same attribute as `group`; the attribute of "sex=F" is sex."""
    attribute = group.partition("=")[0]
    return next(g for g in group_names if g.partition("=")[0] == attribute)


def _table(data: ReportData, run: Run, inverted: frozenset[tuple[str, str, str]], symptom: str) -> list[dict[str, Any]]:
    """Return one row per finding, macro last: AUROC at each hospital (or why it is missing), and the mean external gap.

    inverted: see `RunDetails`. `symptom` is the HTML id of the run's first symptom (a sign of a technical fault), "" for no links.
    """
    if not run.external.has_value and not run.internal.has_value:
        return []
    rows = []
    not_learned = data.meta.get("unlearnt", {}).get(run.id, ())
    keys = [h.key for h in data.hospitals.all]
    for finding in (*data.meta.get("learns", {}).get(run.id, data.findings), MACRO):
        macro = finding == MACRO
        cells = [
            run_cells.auroc(
                data.cells.get((run.id, key, finding), MISSING),
                macro,
                "not learned" if finding in not_learned else data.why_missing(key, finding),
                symptom if (run.id, key, finding) in inverted else None,
            )
            for key in keys
        ]
        cells.append(run_cells.gap(data.gaps.get((run.id, EXTERNAL, finding), MISSING)))
        rows.append(
            {
                "finding": data.members(run).macro_name if macro else finding,
                "macro": macro,
                "approximate": approximate_labels(data, finding),
                "cells": run_cells.row(cells),
            }
        )
    return rows


def _gaps(data: ReportData, run: Run) -> Markup:
    """Return the cells with the macro gap at each external hospital and the number of its findings that the hospital scores."""
    cells = []
    for hospital in data.hospitals.external:
        gap = run.hospital_gaps[hospital.key]
        num = gap.num_findings
        words = data.members(run).scored(num) if hospital in data.hospitals.averaged else plural(num, "finding")
        cells.append(run_cells.gap(gap, words))
    return run_cells.row(cells) if cells else Markup("")


def _more(
    data: ReportData, run: Run, looked_up: Sequence[tuple[str, Mapping[tuple[str, str, str], Estimate]]]
) -> list[tuple[str, Markup]]:
    """Return (name, cells of all hospitals) for each macro metric in `looked_up` of which the run has a value."""
    rows = [
        (word, [estimates.get((run.id, h.key, MACRO), MISSING) for h in data.hospitals.all])
        for word, estimates in looked_up
    ]
    return [
        (
            word,
            run_cells.row(
                [run_cells.number(e) + (f"<i>{NONE}</i>" if e.has_value and not e.has_interval else "") for e in cells]
            ),
        )
        for word, cells in rows
        if any(e.has_value for e in cells)
    ]


def _confusion(
    data: ReportData, run: Run, called: Mapping[tuple[str, str, str], Call]
) -> list[tuple[str, tuple[Markup, Markup]]]:
    """Return the confusion matrix of each finding: one row for images with the finding, one for images without it.

    Each hospital has two cells in a row: the number of positive calls and the number of negative calls.
    """
    rows = [(f, [called.get((run.id, h.key, f)) for h in data.hospitals.all]) for f in data.findings]
    return [
        (
            finding,
            (
                run_cells.row([c for cell in cells for c in run_cells.call(cell and cell[:2])]),
                run_cells.row([c for cell in cells for c in run_cells.call(cell and cell[2:])]),
            ),
        )
        for finding, cells in rows
        if any(cells)
    ]


def submission(data: ReportData, run: Run) -> tuple[list[str], list[str]]:
    """Return two lists: the signers and the files of the verified bundles with this run; both are empty if the run was trained here."""
    bundles = data.meta.get("bundles") or {}
    own = [bundle for member in run.members for bundle in bundles.get(member.id, ())]
    signers = dict.fromkeys(str(bundle["signed_by"]) for bundle in own if bundle["signed_by"])
    return list(signers), list(dict.fromkeys(str(bundle["file"]) for bundle in own))


def _submission(data: ReportData, run: Run) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Return the submitter and the status of a run, in the form of `_facts`; [] for a run that was trained here."""
    signers, files = submission(data, run)
    if not files:
        return [("Status", "trained elsewhere; data exposure is self-reported", [])] if run.is_imported else []
    no_links: list[tuple[str, str, str]] = []
    submitter = ", ".join(signers) or f"not known: {listing(files)} without a verified signature"
    status = "verified: scores follow from the logits; that the logits come from the stated network is not verified"
    return [("Submitter", submitter, no_links), ("Bundle", listing(files), no_links), ("Status", status, no_links)]


def _facts(run: Run, links: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """Return the facts of a run as (name, value, publications); a publication is (kind, source, web address).

    links: the entry `links` of `meta`: configuration key -> registry entry -> {kind of publication: source}.
    """
    words = (
        ("architecture", "Architecture"),
        ("family", "Family"),
        ("optimizer", "Optimizer"),
        ("loss", "Loss"),
        ("uncertainty", "Uncertain labels"),
        ("preprocessing", "Preprocessing"),
        ("augmentation", "Augmentation"),
        ("seed", "Seed"),
        ("epochs", "Epochs"),
        ("best_epoch", "Selected epoch"),
        ("gradient_evaluations", "Gradient evaluations"),
        ("device", "Device"),
        ("date", "Date"),
        ("versions", "Versions"),
        ("commit", "Commit"),
        ("weights_sha256", "Trained weights, SHA-256"),
    )

    origin = "Mean of" if run.is_derived or run.kind == "recipe" else "Combined from"
    if run.is_imported:
        origin = "Model file"
    origin_fact = [(origin, _fact_text(run.facts["of"]), publications(run, links, ""))] if run.kind != "run" else []
    left_out = {"architecture", "family", "seed", "epochs", "best_epoch"} if run.is_derived else set()
    if run.kind == "recipe":
        left_out |= {"seed", "best_epoch"}
    if run.is_imported:
        left_out |= {"optimizer", "loss", "uncertainty", "preprocessing", "augmentation"}
    facts = [
        (word, _fact_text(run.facts.get(key)), publications(run, links, key))
        for key, word in words
        if key not in left_out
    ]
    return origin_fact + [fact for fact in facts if fact[1]]


def _exposure(data: ReportData, run: Run) -> list[tuple[str, str]]:
    """Return the data exposure and the intended use of a run as (name, value)."""
    exposure_of_run = exposure(data, run)
    pairs = [
        ("Trained on", exposure_of_run.trained_on),
        ("Model file" if exposure_of_run.elsewhere else "Started from", exposure_of_run.start),
        ("Pretraining corpus", exposure_of_run.corpus),
        (
            "License of the weights" if exposure_of_run.elsewhere else "License of the starting weights",
            exposure_of_run.licence,
        ),
        (
            "Overlap with test images" if exposure_of_run.elsewhere else "Pretraining images that are also test images",
            exposure_of_run.corpus_overlap,
        ),
        ("Intended use", exposure_of_run.use),
    ]
    return [(word, value) for word, value in pairs if value]


def _fact_text(value: object) -> str:
    """Return a fact as text: integers without decimals, null as ""."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
