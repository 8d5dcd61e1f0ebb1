"""Section on the region transplant test: pixels of one hospital are put into images of another hospital.

The pixels come from a donor image, and the changed image is the host. `reports.schemas.tables` defines the kinds of
changes and the measures. The control of a change with a donor is the same change with pixels from the host's own
hospital.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from reports.drawing import scatter, svg
from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.schemas.change_rules import CLAHE, JPEG, JPEG_LOW, MARGIN, MARKER, changed, changes
from reports.schemas.tables import LEAST_RELATED
from reports.sections.shortcuts import spearman
from reports.sentences import changes as change_sentences
from reports.summaries.gap_causes import marker_sentence, tested_runs

WIDTH, HEIGHT = 260.0, 22.0
SHOWN = 40  # number of runs in the table below the figure
# kinds of change with a donor -> words
INTO = {
    "marker": "a marker",
    "corner": "corners",
    "border": "border",
    "intensity": "gray values",
    "resolution": "sharpness and noise",
    JPEG: "JPEG quality",
}
# kinds of change without a donor -> words
ALONE = {
    "erased": "markers erased",
    "toggled": "markers toggled",
    "lungs_masked": "lungs hidden",
    "lungs_only": "only lungs visible",
    JPEG_LOW: "JPEG of quality 25",
    CLAHE: "CLAHE",
}
Cells = Mapping[tuple[str, str, str, str, str, str], Mapping[Any, Any]]  # key: run, kind, donor, host, finding, measure


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the figure: a change to images, and its effects.

    words: the change in words. The comments of the fields describe the effects.
    """

    words: str
    value: float  # mean absolute change of the probability
    control: float  # mean absolute change of the probability by the control; NaN without a control
    effect: Estimate  # value minus control
    flips: Estimate  # share of images whose call changes, minus this share for the control
    area: Estimate  # change of the AUROC, minus the change by the control
    figure: Markup | None = None


def transplants(data: ReportData) -> Section:
    """Write the section on the region transplant test; empty if no run was tested."""
    table = data.tables["transplants"]
    internal = data.hospitals.internal.key
    findings_that_react = {str(run_id): changed(rows, internal) for run_id, rows in table.groupby("run_id")}
    runs = tested_runs(data)
    if not runs:
        return Section("transplants", "", Markup(""))
    cells: Cells = {
        (str(r["run_id"]), str(r["kind"]), str(r["donor"]), str(r["host"]), str(r["finding"]), str(r["measure"])): r
        for r in table[table["subset"] == "all"].to_dict("records")
    }
    first = next((r for r in runs if data.shortcuts[r.id]), runs[0])
    finding = _most_moved(changes(table[table["run_id"] == first.id]), internal)
    shown = finding or MACRO
    runs_in_scatter = [r for r in data.ranked if r.causal.has_value and r.gap.has_value]
    drawn = len(runs_in_scatter) >= LEAST_RELATED
    causal = [r.causal for r in runs_in_scatter]
    rho = spearman([e.value for e in causal], [r.gap.value for r in runs_in_scatter]) if drawn else MISSING
    on_axis, label = "change in probability minus control →", "generalization gap against causal score"
    context = {
        "data": data,
        "relation": change_sentences.relation(rho),
        "title": marker_sentence(data),
        "detail": _detail(data, cells, first, finding, findings_that_react),
        "whole_image": _whole_image(data, table, [r.id for r in runs]),
        "run": first,
        "run_shown": data.run_shown(first),
        "figures": [_figure(data, cells, first, f) for f in dict.fromkeys((finding, MACRO)) if f],
        "legend": [
            ("change in probability", svg.svg(12, 12, svg.circle(6, 6, 4, "dot"), "", "ky")),
            ("control", svg.svg(12, 12, svg.circle(6, 6, 3.4, "dot o"), "", "ky")),
        ],
        "hosts": _by_host(data, cells, first, shown),
        "words": INTO | ALONE,
        "all": [
            _summary(cells, r, internal, shown, findings_that_react[r.id], data.shortcuts[r.id]) for r in runs[:SHOWN]
        ],
        "finding": finding,
        "chart": scatter.against_gap(runs_in_scatter, causal, "causal", on_axis, label) if drawn else "",
        "scatter": runs_in_scatter,
        "families": scatter.families(runs_in_scatter),
        "margin": MARGIN,
    }
    return Section("transplants", "Transplants", write("transplants.html.j2", **context))


def _most_moved(rows: Any, internal: str) -> str:
    """Return the finding whose probability an internal marker changes most.

    Without results for markers, return the finding with the largest causal score. Without causal scores, return "".
    """
    for kind in (MARKER, "causal"):
        kind_rows = rows[
            (rows["kind"] == kind)
            & (rows["donor"] == internal)
            & (rows["host"] == EXTERNAL)
            & (rows["finding"] != MACRO)
        ]
        if len(kind_rows):
            return str(kind_rows.loc[kind_rows["effect"].idxmax(), "finding"])
    return ""


def _detail(
    data: ReportData,
    cells: Cells,
    run: Run,
    finding: str,
    findings_that_react: Mapping[str, list[str]],
) -> list[str]:
    """Return the sentences below the title: effect of a pasted marker on a finding, and effect of erasing all markers."""
    row = cells.get((run.id, MARKER, data.hospitals.internal.key, EXTERNAL, finding, "abs_dp"))
    if row is None:
        return []
    sentences = [
        change_sentences.marker_effect(run.label, finding, float(row["value"]), float(row["control"]), _estimate(row))
    ]
    hosts = (data.hospitals.internal.key, EXTERNAL)
    areas = [cells.get((run.id, "erased", "", host, finding, "auroc")) for host in hosts]
    if all(areas):
        sentences.append(change_sentences.erased_markers(finding, *(float(a["value"]) for a in areas if a)))
    shortcuts = {f for findings in data.shortcuts.values() for f in findings}
    reacting = {finding for names in findings_that_react.values() for finding in names}
    sentences.append(change_sentences.reaction_only(sorted(reacting - shortcuts)))
    return [s for s in sentences if s]


def _whole_image(data: ReportData, table: Any, run_ids: list[str]) -> list[str]:
    """Return a sentence for each change of the entire image that was tested.

    The sentence states in how many runs the change alters predictions, and for which findings. `table`: the table
    `transplants`.
    """
    words = {
        JPEG: f"Stored with the JPEG quality of {data.hospitals.internal.short}",
        JPEG_LOW: "Stored as JPEG of quality 25",
        CLAHE: "CLAHE (contrast enhancement)",
    }
    sentences = []
    for kind, change in words.items():
        rows_of_kind = table[(table["kind"] == kind) & (table["host"] == EXTERNAL) & table["run_id"].isin(run_ids)]
        findings = [changed(rows, data.hospitals.internal.key, kind) for _, rows in rows_of_kind.groupby("run_id")]
        if findings:
            names = [name for name, _ in Counter(f for of_run in findings for f in of_run).most_common()]
            reacting = sum(bool(of_run) for of_run in findings)
            sentences.append(change_sentences.whole_image(change, reacting, len(findings), names, MARGIN))
    return sentences


def _figure(data: ReportData, cells: Cells, run: Run, finding: str) -> dict[str, Any]:
    """Return the figure of a finding: rows for internal pixels in external images, then rows for changes without donor."""
    internal = data.hospitals.internal.key
    rows = [
        _change(cells, run, kind, internal, finding, f"{words} of {data.hospitals.internal.short}")
        for kind, words in INTO.items()
    ]
    rows += [_change(cells, run, kind, "", finding, words) for kind, words in ALONE.items()]
    measured = [row for row in rows if row is not None]
    largest = max([0.1, *(v for row in measured for v in (row.value, row.control) if is_number(v))])
    scale = svg.Scale(0.0, 1.06 * largest, 8, WIDTH - 8)
    grid = svg.ticks(0.0, scale.high, 5)
    rows_with_figure = [replace(row, figure=_dots(row, scale, grid)) for row in measured]
    name = "Mean over findings" if finding == MACRO else finding
    return {"name": name, "rows": rows_with_figure, "axis": svg.tick_axis(scale, grid)}


def _change(cells: Cells, run: Run, kind: str, donor: str, finding: str, words: str) -> Change | None:
    key = (run.id, kind, donor, EXTERNAL, finding)
    row = cells.get((*key, "abs_dp"))
    if row is None:
        return None
    flips, area = (_estimate(cells.get((*key, measure))) for measure in ("flip_rate", "auroc"))
    return Change(words, float(row["value"]), float(row["control"]), _estimate(row), flips, area)


def _dots(row: Change, scale: svg.Scale, grid: list[float]) -> Markup:
    """Draw the change as a dot, its control as a ring, and the interval of the difference as a line around the dot."""
    y = HEIGHT / 2
    body = svg.grid_lines(scale, grid, HEIGHT)
    base = row.control if is_number(row.control) else 0.0
    body += svg.line(scale(base), y, scale(row.value), y, "span")
    if row.effect.has_interval:
        body += svg.line(scale(base + row.effect.low), y, scale(base + row.effect.high), y, "iv")
    body += svg.circle(scale(row.value), y, 4, "dot")
    if is_number(row.control):
        body += svg.circle(scale(row.control), y, 3.4, "dot o")
    description = f"{row.words}: {row.effect.with_interval}"
    return svg.svg(WIDTH, HEIGHT, body, description, "st")


def _by_host(data: ReportData, cells: Cells, run: Run, finding: str) -> list[dict[str, Any]]:
    """Return one row per kind of change, with the effect at each external hospital and then at the internal hospital.

    For kinds with a donor, the pixels come from the internal hospital if the images are external, and from external
    hospitals if the images are internal.
    """
    internal, rows = data.hospitals.internal.key, []
    for kind, words in (INTO | ALONE).items():
        donor, internal_donor = (internal, EXTERNAL) if kind in INTO else ("", "")
        estimates = [
            _estimate(cells.get((run.id, kind, donor, h.key, finding, "abs_dp"))) for h in data.hospitals.external
        ]
        on_internal = _estimate(cells.get((run.id, kind, internal_donor, internal, finding, "abs_dp")))
        if on_internal.has_value or any(e.has_value for e in estimates):
            rows.append({"words": words, "cells": [*estimates, on_internal]})
    return rows


def _summary(
    cells: Cells, run: Run, internal: str, finding: str, reacts: list[str], shortcuts: list[str]
) -> dict[str, Any]:
    marker = (run.id, MARKER, internal, EXTERNAL, finding)
    return {
        "run": run,
        "marker": _estimate(cells.get((*marker, "abs_dp"))),
        "flips": _estimate(cells.get((*marker, "flip_rate"))),
        "reacts": reacts,
        "found": shortcuts,
    }


def _estimate(row: Mapping[Any, Any] | None) -> Estimate:
    """Return the effect (value minus control) in a row of `transplants`; MISSING for None."""
    if not row:
        return MISSING
    return Estimate(float(row["effect"]), float(row["low"]), float(row["high"]), int(row["n"]))
