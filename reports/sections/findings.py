"""Section on findings: the gap of each finding and, for the finding with the largest mean gap, the AUROC at each hospital.

A gap is the internal minus the external AUROC.
"""

from collections import Counter
from typing import Any

import numpy as np
from markupsafe import Markup

from reports import verdicts
from reports.drawing import svg
from reports.formatting import is_number, of_all, places, plural
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sentences import main_findings as sentences
from reports.summaries.gap_causes import finding_shares

LANES = 6  # up to this number of runs, each run gets its own line with its interval
WIDTH = 190.0  # px: width of a figure; a wider figure would not fit into half of a window of 1280 px


def findings(data: ReportData) -> Section:
    """Write the section: the gaps of all findings, largest mean gap first, and one finding's AUROC at each hospital.

    This finding is the one with the largest mean gap.
    """
    rows = sorted((_row(data, finding) for finding in data.findings), key=_order)
    measured = [r for r in rows if r["gaps"]]
    clear_findings = [r["finding"] for r in measured if r["num_clear"] == len(r["gaps"]) and r["mean"] > 0]
    scale, grid = _axis([b for r in measured for e in r["gaps"] for b in (e.value, *e.bounds)])
    for row in rows:
        row["figure"] = _gap_figure(row["gaps"], scale, grid, data.unit)
    top = measured[0] if measured else None
    legend = f"each dot is one {data.unit}; hollow: its gap is unclear, corrected for the number of findings"
    if len(data.ranked) <= LANES:
        legend = f"each line is one {data.unit}, the best on top. Thick: 95 % interval; thin: corrected for the number of findings"
    context: dict[str, Any] = {
        "data": data,
        "title": sentences.findings_title(
            clear_findings, sum(r["num_clear"] > 0 for r in measured), len(measured), len(data.ranked), data.unit
        ),
        "rows": rows,
        "shares": {
            finding: f"{100 * share:.0f} %".replace("-", "−") for finding, share in finding_shares(data).items()
        },
        "axis": svg.tick_axis(scale, grid),
        "legend": legend,
        "top": top,
        "story": "",
        "hospital_rows": _by_hospital(data, top["finding"]) if top else [],
        "matrix": _matrix(data) if data.ranked and data.hospitals.external else {},
    }
    if top:
        num_gaps = len(top["gaps"])
        context["story"] = sentences.worst_finding(top["finding"], top["internal"], top["external"], num_gaps)
        numbers = [b for row in context["hospital_rows"] for e in row["values"] for b in (e.value, e.low, e.high)]
        hospital_scale, hospital_grid = _axis(numbers, include_zero=False)
        context["hospital_axis"] = svg.tick_axis(hospital_scale, hospital_grid)
        context["chance_drawn"] = 0.5 in hospital_grid
        for row in context["hospital_rows"]:
            row["figure"] = _value_figure(row["values"], row["internal"], hospital_scale, hospital_grid)
    return Section("findings", "Findings", write("findings.html.j2", **context))


def _matrix(data: ReportData) -> dict[str, Any]:
    """Return the matrix of findings and verdicts: the verdicts of the first recipe, and the number of recipes with each verdict."""
    of_recipes = [verdicts.of_findings(data, recipe) for recipe in data.ranked]
    rows: list[dict[str, Any]] = []
    for finding in data.findings:
        states = Counter(of_recipe[finding].state for of_recipe in of_recipes)
        first = of_recipes[0][finding]
        place = data.hospitals[first.hospital].short_with_ages
        where = f" at {place}: AUROC {first.number.with_interval}" if first.hospital else ""
        _, new = data.at_new_hospital.get((data.ranked[0].id, finding), (MISSING, MISSING))
        rows.append({"finding": finding, "first": first, "where": where, "new": new, "counts": states})
    shown = [state for state in verdicts.OF_FINDING if any(row["counts"][state] for row in rows)]
    useful = sum(row["first"].state == verdicts.USEFUL for row in rows)
    title = f"{data.name(data.ranked[0])} is useful at a new hospital for {of_all(useful, len(rows), 'finding')}"
    predicted = any(row["new"].has_interval for row in rows)
    if not predicted:
        title = "Verdicts on findings, without a prediction for a new hospital"
    least = places(verdicts.useful_from(data), 2)
    return {"rows": rows, "states": shown, "title": title, "predicted": predicted, "from": least}


def approximate_labels(data: ReportData, finding: str) -> list[str]:
    """Return the short names of hospitals whose own labels match the finding only approximately."""
    labeling = [h for h in data.hospitals.all if (h.key, finding) in data.labeled]
    return [h.short for h in labeling if finding in h.approximate]


def _row(data: ReportData, finding: str) -> dict[str, Any]:
    """Return the row of a finding: the gap of each recipe and the means over recipes."""
    gaps = [data.gaps.get((r.id, EXTERNAL, finding), MISSING) for r in data.ranked]
    estimates = [e for e in gaps if e.has_value]
    hospitals = data.hospitals
    inside = [data.cells.get((r.id, hospitals.internal.key, finding), MISSING) for r in data.ranked]
    internal_only = [e.value for e in inside if e.has_value and not hospitals.external]
    measured = {dataset for (_, dataset, other), gap in data.gaps.items() if other == finding and gap.has_value}
    return {
        "finding": finding,
        "approximate": approximate_labels(data, finding),
        "gaps": estimates,
        "apart": [h.short for h in data.hospitals.children if h.key in measured],
        "mean": float(np.mean([e.value for e in estimates])) if estimates else float("nan"),
        "internal": float(np.mean([e.internal for e in estimates])) if estimates else float("nan"),
        "external": float(np.mean([e.external for e in estimates])) if estimates else float("nan"),
        "internal_only": places(float(np.mean(internal_only))) if internal_only else "",
        "num_clear": sum(e.clear_above for e in estimates),
    }


def _order(row: dict[str, Any]) -> tuple[float, str]:
    return (-row["mean"] if is_number(row["mean"]) else float("inf"), row["finding"])


def _axis(numbers: list[float], include_zero: bool = True) -> tuple[svg.Scale, list[float]]:
    """Return the axis that the figures of all rows share, and the values at its grid lines; `numbers` must lie on the axis."""
    finite = [v for v in numbers if is_number(v)] or [0.5]
    low, high = min(finite), max(finite)
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.05)
    margin = 0.03 * (high - low) + 0.005
    scale = svg.Scale(low - margin, high + margin, 6, WIDTH - 6)
    return scale, svg.ticks(scale.low, scale.high, 5)


def _gap_figure(gaps: list[Estimate], scale: svg.Scale, grid: list[float], unit: str) -> Markup:
    """Draw the gaps of a finding: up to LANES runs as marks with intervals, more runs as a swarm of dots.

    In a swarm, a hollow dot is an unclear gap.
    """
    if not gaps:
        return Markup("")
    lanes = len(gaps) <= LANES
    height = max(24.0, 9.0 * len(gaps) + 6) if lanes else 38.0
    body = svg.grid_lines(scale, grid, height)
    if lanes:
        for k, gap in enumerate(gaps):
            y = height / 2 + (k - (len(gaps) - 1) / 2) * 9
            body += svg.marked(gap, scale, y, 3.2)
    else:
        spots = [(x, height / 2 + lane * 3.2) for x, lane in svg.swarm([g.value for g in gaps], scale, 4.4)]
        body += svg.dots([s for s, g in zip(spots, gaps, strict=True) if g.clear], "sw fine")
        body += "".join(svg.circle(x, y, 2, "sw-o") for (x, y), g in zip(spots, gaps, strict=True) if not g.clear)
    label = f"gap of {places(min(g.value for g in gaps))} to {places(max(g.value for g in gaps))} over {plural(len(gaps), unit)}"
    return svg.svg(WIDTH, height, body, label, "st")


def _by_hospital(data: ReportData, finding: str) -> list[dict[str, Any]]:
    """Return one row for each hospital, the internal hospital first: the AUROC of the finding for each recipe.

    A hospital without an AUROC has the reason for this.
    """
    rows = []
    for hospital in data.hospitals.all:
        values = [data.cells.get((r.id, hospital.key, finding), MISSING) for r in data.ranked]
        estimates = [e for e in values if e.has_value]
        rows.append(
            {
                "hospital": hospital,
                "approximate": finding in hospital.approximate,
                "internal": hospital.key == data.hospitals.internal.key,
                "values": estimates,
                "mean": float(np.mean([e.value for e in estimates])) if estimates else float("nan"),
                "reason": data.why_missing(hospital.key, finding),
                "n": estimates[0].n if estimates else 0,
                "num_positive": estimates[0].num_positive if estimates else 0,
            }
        )
    return rows


def _value_figure(values: list[Estimate], internal: bool, scale: svg.Scale, grid: list[float]) -> Markup:
    """Draw a finding's AUROC at one hospital, one mark per run."""
    if not values:
        return Markup("")
    lanes = len(values) <= LANES
    height = max(24.0, 9.0 * len(values) + 6) if lanes else 38.0
    body = svg.grid_lines(scale, grid, height, reference=0.5)
    if not lanes:
        spots = [(x, height / 2 + lane * 3.2) for x, lane in svg.swarm([v.value for v in values], scale, 4.4)]
        body += svg.dots(spots, "sw fine internal" if internal else "sw fine")
    for k, value in enumerate(values if lanes else ()):
        y = height / 2 + (k - (len(values) - 1) / 2) * 9
        if value.has_interval:
            body += svg.line(scale(value.low), y, scale(value.high), y, "i-int" if internal else "i-ext")
        body += svg.circle(scale(value.value), y, 3.2, "m-int" if internal else "m-ext")
    return svg.svg(WIDTH, height, body, f"AUROC {', '.join(v.text for v in values[:LANES])}", "st")
