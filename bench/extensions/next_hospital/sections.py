"""Section on the next hospital: which AUROC to expect at a hospital where nobody has looked, with a forest plot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import interval, is_number, listing, places
from reports.html.section import HOSPITALS, PlacedSection, Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import MACRO, ReportData
from reports.sentences import data as data_sentences
from reports.tables import records_of

WIDTH, HEIGHT = 330.0, 22.0
AUROC, GAP = "auroc", "gap"
OTHERS = {GAP: "Gap", "sensitivity": "Sensitivity", "specificity": "Specificity"}
Row = Mapping[str, Any]


def next_hospital(data: ReportData) -> Section:
    """Write the section about the first recipe of the ranking; empty if this recipe has no external score."""
    rows = {(row["run_id"], row["metric"], row["finding"]): row for row in records_of(data.tables["next_hospital"])}
    first = data.ranked[0] if data.ranked else None
    macro = rows.get((first.id, AUROC, MACRO)) if first else None
    if first is None or macro is None:
        return Section("next-hospital", "", Markup(""))
    keys = [(first.id, AUROC, finding) for finding in data.findings]
    of_findings = [rows[key] for key in keys if key in rows]
    context: dict[str, Any] = {
        "data": data,
        "run": first,
        "title": title(macro),
        "reason": macro["reason"],
        "macro": _predicted(macro),
        "scales": [row for row in records_of(data.tables["next_hospital_scales"]) if row["run_id"] == first.id],
        "gap": _at_new_hospital(rows.get((first.id, GAP, MACRO))),
        "others": _others(data, first, rows),
        "left_out": _left_out(of_findings),
        "forest": forest(data, first, macro) if not macro["reason"] else None,
        "findings": [_of_finding(data, first, row) for row in of_findings],
        "like": population(data, macro),
        "places": listing([data.hospitals[key].short for key in str(macro["hospitals"]).split()], 12),
    }
    return Section("next-hospital", "Next hospital", write("next_hospital.html.j2", **context))


def title(row: Row, source: str = "", like: str = "") -> str:
    """State the expected AUROC at a new hospital and its prediction interval, or that there are too few hospitals.

    source: words for the recipe, for the first screen. like: what the hospitals share.

    >>> numbers = {"num_hospitals": 5, "value": 0.731, "new_low": 0.62, "new_high": 0.816, "reason": ""}
    >>> title(numbers)
    'At another hospital like these 5, expect AUROC .73 (95 % prediction interval [.62, .82])'
    >>> title(numbers, "this recipe", "adults")
    'At another hospital like these 5 external ones (adults), expect AUROC .73 (95 % prediction interval [.62, .82]) from this recipe'
    >>> title(numbers | {"reason": "too few hospitals: only two hospitals have a value"})
    'Too few hospitals to say what to expect at the next hospital'
    >>> title(numbers | {"new_low": 0.03, "new_high": 0.97})
    'At another hospital like these 5, expect AUROC .73 (95 % prediction interval [too wide to tell])'
    """
    if row["reason"]:
        return f"Too few {str(row['reason']).split()[2].rstrip(':')} to say what to expect at the next hospital"
    num = int(row["num_hospitals"])
    value = places(float(row["value"]), 2)
    new = interval(float(row["new_low"]), float(row["new_high"]), 2)
    start, end = (f"{num} external ones ({like})", f" from {source}") if source else (num, "")
    return f"At another hospital like these {start}, expect AUROC {value} (95 % prediction interval {new}){end}"


def population(data: ReportData, row: Row) -> str:
    """State what the hospitals of a prediction share: synthetic or not, frontal images, recorded ages, and their countries."""
    hospitals = [hospital for hospital in data.hospitals.external if hospital.key in str(row["hospitals"]).split()]
    cohorts = data.tables["cohorts"]
    counts = cohorts[cohorts["dataset"].isin([hospital.key for hospital in hospitals])][["used", "ages", "children"]]
    patients = data_sentences.patients(*map(int, counts.sum()))
    places_of = [hospital.place.rpartition(", ")[2] for hospital in hospitals if ", " in hospital.place]
    countries = listing(sorted(set(places_of)), 6) if len(places_of) == len(hospitals) else ""
    where = f" in {countries}" if countries else ""
    return f"{'synthetic ' if data.tables.synthetic else ''}frontal images of {patients}{where}"


def _predicted(row: Row) -> dict[str, Any]:
    """Return the estimates of a row: value, new (the prediction interval), sd (between hospitals), and probabilities."""
    return {
        "value": Estimate.of(row),
        "new": _at_new_hospital(row),
        "sd": Estimate.of(row, "sd"),
        "middle": _middle(row),
        "below_half": probability(float(row["below_half"])),
        "below_internal": probability(float(row["below_internal"])),
        "inconsistency": float(row["inconsistency"]),
        "reason": row["reason"],
        "left_out": f"{int(row['num_inside'])} of {int(row['num_left_out'])}" if row["num_left_out"] else "",
    }


def _middle(row: Row) -> Estimate:
    """Return the AUROCs between which the middle 95 % of the hospitals of the model are, if its numbers are exact."""
    value, half = math.log(1 / float(row["value"]) - 1), 1.96 * float(row["sd"])
    low, high = (1 / (1 + math.exp(value + end)) for end in (half, -half))
    return Estimate(float(row["value"]), low, high)


def probability(value: float) -> str:
    """Format a probability that a model gives, which is never certain; "" for NaN.

    >>> probability(0.0004), probability(0.25), probability(1.0), probability(float("nan"))
    ('< .01', '.25', '> .99', '')
    """
    if not is_number(value):
        return ""
    return "< .01" if value < 0.01 else "> .99" if value > 0.99 else places(value, 2)


def _others(data: ReportData, run: Run, rows: Mapping[tuple[str, str, str], Row]) -> dict[str, Any]:
    """Return a table of the other metrics of a run at a new hospital: their names, and the estimates of each finding."""
    found = {
        (metric, finding): row
        for metric in OTHERS
        for finding in (MACRO, *data.findings)
        if (row := rows.get((run.id, metric, finding))) and not row["reason"]
    }
    metrics = [metric for metric in OTHERS if any(metric == key for key, _ in found)]
    findings = [finding for finding in (MACRO, *data.findings) if any(finding == key for _, key in found)]
    cells = {key: _at_new_hospital(row) for key, row in found.items()}
    return {
        "metrics": [OTHERS[metric] for metric in metrics],
        "rows": [
            (
                "Macro mean" if finding == MACRO else finding,
                [cells.get((metric, finding), MISSING) for metric in metrics],
            )
            for finding in findings
        ],
    }


def _at_new_hospital(row: Row | None) -> Estimate:
    """Return the expected value at a new hospital with its prediction interval."""
    return MISSING if row is None else Estimate(float(row["value"]), float(row["new_low"]), float(row["new_high"]))


def _left_out(rows: Sequence[Row]) -> str:
    """State how many values of findings lay inside the interval that the other hospitals predict."""
    num, inside = (sum(int(row[name]) for row in rows) for name in ("num_left_out", "num_inside"))
    if not num:
        return ""
    return f"Check: {inside} of {num} measured AUROCs lie inside the 95 % interval that the other hospitals predict."


def forest(data: ReportData, run: Run, row: Row) -> dict[str, Any]:
    """Return a forest plot: a row for each hospital, the expected value as a diamond, and the bar of the prediction interval."""
    finding, predicted = str(row["finding"]), _predicted(row)
    measured = []
    for key in str(row["hospitals"]).split():
        estimate = data.cells.get((run.id, key, finding), MISSING)
        if finding == MACRO:
            estimate = run.hospitals.get(key, MISSING)
        if estimate.has_value:
            measured.append((data.hospitals[key].short, estimate))
    value, new = predicted["value"], predicted["new"]
    ends = [end for e in (*(e for _, e in measured), new) for end in (e.value, e.low, e.high) if is_number(end)]
    scale = svg.Scale(min(ends) - 0.01, max(ends) + 0.01, 6, WIDTH - 6)
    grid, y = svg.ticks(scale.low, scale.high, 5), HEIGHT / 2
    lines = svg.grid_lines(scale, grid, HEIGHT, 0.5)
    rows = [
        {
            "name": name,
            "figure": _strip(
                lines + svg.intervals(estimate, scale, y) + svg.circle(scale(estimate.value), y, 3.6, "dot"), estimate
            ),
            "value": estimate,
            "only_span": False,
        }
        for name, estimate in measured
    ]
    diamond = svg.line(scale(value.low), y, scale(value.high), y, "i-ext") + svg.diamond(
        scale(value.value), y, 6, "m-ext"
    )
    bar = svg.rect(scale(new.low), y - 3, scale(new.high) - scale(new.low), 6, "bar1")
    rows.append({"name": "Expected", "figure": _strip(lines + diamond, value), "value": value, "only_span": False})
    rows.append(
        {"name": "One new hospital (95 %)", "figure": _strip(lines + bar, new), "value": new, "only_span": True}
    )
    return {"axis": svg.tick_axis(scale, grid), "rows": rows}


def _strip(body: str, estimate: Estimate) -> Markup:
    return svg.svg(WIDTH, HEIGHT, body, estimate.with_interval, "st")


def _of_finding(data: ReportData, run: Run, row: Row) -> dict[str, Any]:
    return {
        "name": row["finding"],
        "forest": None if row["reason"] else forest(data, run, row),
        "num": int(row["num_hospitals"]),
        **_predicted(row),
    }


def opening(data: ReportData) -> str:
    """State the expected AUROC of the first recipe at a new hospital and for which hospitals it holds, or why it is unknown."""
    table = data.tables["next_hospital"]
    rows = table[(table["metric"] == AUROC) & (table["finding"] == MACRO)]
    for row in records_of(rows):
        if data.ranked and row["run_id"] == data.ranked[0].id:
            source = f"{'the first' if len(data.ranked) > 1 else 'this'} {data.unit}"
            return f"{title(row, source, population(data, row))}."
    return ""


SECTIONS = (PlacedSection(next_hospital, HOSPITALS, before="hospitals"),)
