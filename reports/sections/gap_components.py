"""Section on gap components at each hospital: prevalence, case mix, labels and the remainder.

A gap is the internal minus the external score. A component is the amount of the gap that one cause explains; the
remainder is the amount that no cause explains.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import interval, is_number, sentence_case, split_name
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sentences import gaps as gap_sentences
from reports.tables import records_of

METRICS = {"auroc": "AUROC", "auprc": "AUPRC"}
USED = {"auroc": ("case_mix", "labels", "remainder"), "auprc": ("prevalence", "case_mix", "remainder")}
PARTS = {"prevalence": "prevalence", "case_mix": "case mix", "labels": "labels", "remainder": "remainder"}
# name of the component `labels` if its two sets of labels (of reports and of radiologists) are from different patients
OTHER_PATIENTS = "label source (other internal patients)"
READERS = {
    "report": "reports",
    "radiologist": "radiologists",
    "stated": "dataset labels",
    "phantom": "the program that draws the images",
}
WORST = "worst"
WIDTH, HEIGHT = 300.0, 26.0
SHOWN = 40  # number of recipes in the table below the figure
COLUMNS = ("run_id", "dataset", "metric", "part", "value", "low", "high", "paired", "reason", "least", "most")

# (recipe, hospital, metric, component) -> row of the table `decomposition`
Cells = Mapping[tuple[str, str, str, str], Mapping[Any, Any]]


def gap_components(data: ReportData) -> Section:
    """Write the section: components of the first recipe, and a table of the first SHOWN recipes.

    The section is empty if no component but the remainder was measured.
    """
    table = data.tables["decomposition"]
    macro = table.loc[table["finding"] == MACRO, list(COLUMNS)]
    external = macro[(macro["dataset"] == EXTERNAL) & (macro["metric"] == "auroc") & (macro["part"] == "gap")]
    measured = set(external["run_id"].tolist())
    recipes = [r for r in data.ranked if r.id in measured][:SHOWN]
    macro = macro[macro["run_id"].isin([r.id for r in recipes])]
    cells: Cells = {
        (str(r["run_id"]), str(r["dataset"]), str(r["metric"]), str(r["part"])): r for r in records_of(macro)
    }
    figures = [_figure(data, cells, recipes[0], metric) for metric in METRICS] if recipes else []
    figures = [figure for figure in figures if figure["measured"]]
    if not figures:
        return Section("components", "", Markup(""))
    first = recipes[0]
    components = {_component_name(cells, first, p): estimate(cells, first, EXTERNAL, "auroc", p) for p in USED["auroc"]}
    columns = [(metric, component) for metric in METRICS for component in ("gap", *USED[metric])]
    context = {
        "title": gap_sentences.unexplained(estimate(cells, first, EXTERNAL, "auroc", "gap"), components),
        "answer": gap_sentences.gap_components(first.label, components),
        "shown": first,
        "unit": data.unit,
        "figures": figures,
        "all": [
            {"run": recipe, "cells": [estimate(cells, recipe, EXTERNAL, *column) for column in columns]}
            for recipe in recipes
        ],
        "against": _against(data, data.ranked_runs[:SHOWN]),
        "heads": [(h, _label_source(data, h.key)) for h in data.hospitals.averaged],
    }
    return Section("components", "Components", write("gap_components.html.j2", data=data, **context))


def estimate(cells: Cells, run: Run, dataset: str, metric: str, component: str) -> Estimate:
    """Return a component, or with the name "gap" the whole gap; MISSING if the component was not measured.

    If no other component was measured, the remainder is the gap, and has the interval of the gap.
    """
    if component == "remainder" and not any(
        is_number(cells.get((run.id, dataset, metric, name), {}).get("value"))
        for name in USED[metric]
        if name != "remainder"
    ):
        component = "gap"
    return Estimate.of(cells.get((run.id, dataset, metric, component)))


def _component_name(cells: Cells, run: Run, component: str) -> str:
    """Return the name of a component.

    The component `labels` compares two sets of labels. If, for at least one finding, the two sets are from different
    patients, the component has the name OTHER_PATIENTS.
    """
    paired = cells.get((run.id, EXTERNAL, "auroc", component), {}).get("paired")
    return OTHER_PATIENTS if component == "labels" and paired is not None and paired < 1 else PARTS[component]


def _figure(data: ReportData, cells: Cells, run: Run, metric: str) -> dict[str, Any]:
    """Return the figure of a metric: a bar for each hospital and for the external mean, on one axis."""
    hospitals = data.hospitals.averaged
    places_ = [(hospital.key, hospital.title) for hospital in hospitals]
    if len(hospitals) > 1:
        places_.append((EXTERNAL, "External mean"))
    rows: list[dict[str, Any]] = []
    ends = [0.0]
    for key, title in places_:
        gap = _whole_gap(cells, run, key, metric, len(hospitals))
        components = {component: estimate(cells, run, key, metric, component) for component in USED[metric]}
        values = [e.value for e in components.values() if e.has_value]
        ends += [sum(v for v in values if v > 0), sum(v for v in values if v < 0)]
        ends += [v for v in (gap.value, *gap.bounds) if is_number(v)]
        rows.append(
            {
                "title": title,
                "mean": key == EXTERNAL,
                "gap": gap,
                "parts": components,
                "counts": [_count(cells, run, key, metric, component) for component in USED[metric]],
                "why": _notes(cells, run, key, metric),
            }
        )
    margin = 0.03 * (max(ends) - min(ends)) + 0.004
    scale = svg.Scale(min(ends) - margin, max(ends) + margin, 6, WIDTH - 6)
    grid = svg.ticks(scale.low, scale.high, 6)
    for row in rows:
        row["figure"] = _bar(row["gap"], row["parts"], scale, grid) if row["gap"].has_value else ""
    return {
        "name": METRICS[metric],
        "measured": any(e.has_value for row in rows for name, e in row["parts"].items() if name != "remainder"),
        "words": [PARTS[p] for p in USED[metric]],
        "legend": [(PARTS[p], svg.svg(12, 12, svg.rect(1, 1, 10, 10, f"pt-{p}"), "", "ky")) for p in USED[metric]],
        "rows": rows,
        "axis": svg.tick_axis(scale, grid),
    }


def _whole_gap(cells: Cells, run: Run, dataset: str, metric: str, num_hospitals: int) -> Estimate:
    """Return the gap of a recipe with simultaneous bounds.

    For AUROC, the bounds are those that the other sections show. For other metrics, they are Bonferroni bounds over
    hospitals.
    """
    gap = estimate(cells, run, dataset, metric, "gap")
    shown = run.gap if dataset == EXTERNAL else run.hospital_gaps.get(dataset, MISSING)
    if metric == "auroc" and shown.is_compared:
        return gap.simultaneous(*shown.bounds)
    return gap.corrected(1 if dataset == EXTERNAL else num_hospitals)


def _bar(gap: Estimate, components: Mapping[str, Estimate], scale: svg.Scale, grid: list[float]) -> Markup:
    """Draw the components as bars in one row, and below them the gap with its interval.

    Negative components are left of 0, positive components right of 0.
    """
    body = svg.grid_lines(scale, grid, HEIGHT)
    ends = {1: 0.0, -1: 0.0}
    for component, estimate in components.items():
        if estimate.has_value and estimate.value:
            side = 1 if estimate.value > 0 else -1
            start, end = sorted((ends[side], ends[side] + estimate.value))
            body += svg.rect(scale(start), 3, scale(end) - scale(start), 10, f"pt-{component}")
            ends[side] += estimate.value
    body += svg.marked(gap, scale, 20, 3.2)
    description = ", ".join(
        f"{PARTS[component]} {estimate.text}" for component, estimate in components.items() if estimate.has_value
    )
    return svg.svg(WIDTH, HEIGHT, body, f"gap {gap.with_interval}: {description}", "st")


def _notes(cells: Cells, run: Run, key: str, metric: str) -> str:
    """Return one sentence for each component with a note: why it was not measured completely, or how it was measured."""
    notes = []
    for component in USED[metric]:
        row = cells.get((run.id, key, metric, component), {})
        reason = str(row.get("reason") or "")
        smallest = row.get("least", math.nan)
        largest = row.get("most", math.nan)
        if reason:
            between = ""
            if is_number(smallest) and is_number(largest) and not reason.startswith("not measured"):
                between = f"; with other label mappings, the component would lie in {interval(smallest, largest)}"
            notes.append(f"{sentence_case(PARTS[component])}: {reason}{between}")
    return ". ".join(notes)


def _count(cells: Cells, run: Run, key: str, metric: str, component: str) -> str:
    """Return for how many findings a component was measured, if not for all; else ""."""
    reason = str(cells.get((run.id, key, metric, component), {}).get("reason") or "")
    return reason if reason.startswith("measured for ") else ""


def _against(data: ReportData, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row per run and internal split (test, or labeled by experts).

    A row has the macro gap at each external hospital, their mean, and the largest of them.
    """
    table = data.tables["references"]
    macro = table[table["finding"] == MACRO]
    row_of_split: dict[tuple[str, str, str], Mapping[Any, Any]] = {
        (str(r["run_id"]), str(r["split"]), str(r["dataset"])): r
        for r in records_of(macro[macro["run_id"].isin([run.id for run in runs])])
    }
    splits = list(dict.fromkeys((str(s), str(r)) for s, r in zip(macro["split"], macro["reference"], strict=True)))
    rows: list[dict[str, Any]] = []
    for run in runs:
        for split, reference in splits:
            gaps = {
                key: Estimate.of(row_of_split.get((run.id, split, key)))
                for key in (*(h.key for h in data.hospitals.averaged), EXTERNAL, WORST)
            }
            if gaps[EXTERNAL].has_value:
                worst = data.hospitals[str(row_of_split[run.id, split, WORST]["hospital"])].short
                label_source = READERS.get(reference, reference)
                rows.append({"run": run, "split": split_name(split), "by": label_source, "gaps": gaps, "worst": worst})
    return rows


def _label_source(data: ReportData, key: str) -> str:
    """Return the label source of an external hospital; "" if the table does not record it."""
    table = data.tables["references"]
    references = table.loc[table["dataset"] == key, "external_reference"]
    return READERS.get(str(references.iloc[0]), str(references.iloc[0])) if len(references) else ""
