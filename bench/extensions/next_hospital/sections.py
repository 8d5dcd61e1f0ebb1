"""Section on the next hospital: which AUROC to expect at a hospital where nobody has looked, with a forest plot."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number, listing, places, word
from reports.html.section import PlacedSection, Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import MACRO, ReportData
from reports.tables import records_of

WIDTH, HEIGHT = 330.0, 22.0
AUROC, GAP = "auroc", "gap"
OTHERS = {GAP: "Gap", "auprc": "AUPRC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
SHOWN = 40  # recipes in the table of recipes
ORDINALS = {4: "fourth", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth", 10: "tenth"}
Row = Mapping[str, Any]


def next_hospital(data: ReportData) -> Section:
    """Write the section about the first recipe of the ranking; empty if this recipe has no external score."""
    rows = {(row["run_id"], row["metric"], row["finding"]): row for row in records_of(data.tables["next_hospital"])}
    first = data.ranked[0] if data.ranked else None
    macro = rows.get((first.id, AUROC, MACRO)) if first else None
    if first is None or macro is None:
        return Section("next-hospital", "", Markup(""))
    of_findings = [rows[key] for finding in data.findings if (key := (first.id, AUROC, finding)) in rows]
    recipes = _recipes(data, rows)
    context: dict[str, Any] = {
        "data": data,
        "run": first,
        "title": title(macro),
        "reason": macro["reason"],
        "macro": _predicted(macro),
        "gap": _gap(rows.get((first.id, GAP, MACRO))),
        "others": [
            {"name": name, **_predicted(row)}
            for metric, name in OTHERS.items()
            if (row := rows.get((first.id, metric, MACRO))) and not row["reason"]
        ],
        "rival": _rival(data, first),
        "order": _order(recipes, data.unit),
        "left_out": _left_out(of_findings),
        "forest": forest(data, first, macro) if not macro["reason"] else None,
        "findings": [_of_finding(data, first, row) for row in of_findings],
        "recipes": recipes[:SHOWN],
        "places": listing([data.short(key) for key in str(macro["hospitals"]).split()], 12),
    }
    return Section("next-hospital", "Next hospital", write("next_hospital.html.j2", **context))


def title(row: Row) -> str:
    """State the expected AUROC at a new hospital and its prediction interval, or that there are too few hospitals.

    >>> numbers = {"num_hospitals": 5, "value": 0.731, "new_low": 0.62, "new_high": 0.816, "reason": ""}
    >>> title(numbers)
    'At a sixth hospital like these five, expect an AUROC of .73; 95 % of such hospitals lie between .62 and .82'
    >>> title(numbers | {"reason": "too few hospitals: only two hospitals have a value"})
    'Too few hospitals to say what to expect at the next one'
    """
    if row["reason"]:
        return "Too few hospitals to say what to expect at the next one"
    num = int(row["num_hospitals"])
    value, low, high = (places(float(row[name]), 2) for name in ("value", "new_low", "new_high"))
    which = f"a {ORDINALS[num + 1]}" if num + 1 in ORDINALS else "another"
    which = which.replace("a e", "an e")
    return f"At {which} hospital like these {word(num)}, expect an AUROC of {value}; 95 % of such hospitals lie between {low} and {high}"


def _predicted(row: Row) -> dict[str, Any]:
    """Return the estimates of a row: value, new (the prediction interval), sd (between hospitals), and probabilities."""
    value = float(row["value"])
    return {
        "value": Estimate(value, float(row["low"]), float(row["high"])),
        "new": Estimate(value, float(row["new_low"]), float(row["new_high"])),
        "sd": Estimate(float(row["sd"]), float(row["sd_low"]), float(row["sd_high"])),
        "below_half": probability(float(row["below_half"])),
        "below_internal": probability(float(row["below_internal"])),
        "inconsistency": float(row["inconsistency"]),
        "reason": row["reason"],
        "left_out": f"{int(row['num_inside'])} of {int(row['num_left_out'])}" if row["num_left_out"] else "",
    }


def probability(value: float) -> str:
    """Format a probability that a model gives, which is never certain; "" for NaN.

    >>> probability(0.0004), probability(0.25), probability(1.0), probability(float("nan"))
    ('< .01', '.25', '> .99', '')
    """
    if not is_number(value):
        return ""
    return "< .01" if value < 0.01 else "> .99" if value > 0.99 else places(value, 2)


def _gap(row: Row | None) -> Estimate:
    """Return the expected gap at a new hospital with its prediction interval."""
    return MISSING if row is None else Estimate(float(row["value"]), float(row["new_low"]), float(row["new_high"]))


def _rival(data: ReportData, first: Run) -> str:
    """State how probable it is that the first recipe has a higher AUROC than the second at a new hospital."""
    if len(data.ranked) < 2:
        return ""
    second = data.ranked[1]
    for row in records_of(data.tables["next_hospital_pairs"]):
        if {row["first"], row["second"]} == {first.id, second.id}:
            above = float(row["above"]) if row["first"] == first.id else 1 - float(row["above"])
            return f"With a probability of {probability(above)}, it has a higher AUROC there than {second.label}."
    return ""


def _left_out(rows: Sequence[Row]) -> str:
    """State how many values of findings lay inside the interval that the other hospitals predict."""
    num, inside = (sum(int(row[name]) for row in rows) for name in ("num_left_out", "num_inside"))
    if not num:
        return ""
    return f"Check: of {num} values of a finding at a hospital, {inside} lay inside the 95 % interval predicted from the other hospitals."


def forest(data: ReportData, run: Run, row: Row) -> dict[str, Any]:
    """Return a forest plot: a row for each hospital, the expected value as a diamond, and the bar of the prediction interval."""
    finding, predicted = str(row["finding"]), _predicted(row)
    measured = []
    for key in str(row["hospitals"]).split():
        estimate = data.cells.get((run.id, key, finding), MISSING)
        if finding == MACRO:
            estimate = run.hospitals.get(key, MISSING)
        if estimate.has_value:
            measured.append((data.short(key), estimate))
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
    rows.append({"name": "95 % of such hospitals", "figure": _strip(lines + bar, new), "value": new, "only_span": True})
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


def _recipes(data: ReportData, rows: Mapping[tuple[str, str, str], Row]) -> list[dict[str, Any]]:
    """Return the ranked recipes by their expected AUROC at a new hospital, best first, with their rank over fixed hospitals."""
    found = [
        {"run": run, "rank": rank, **_predicted(row)}
        for rank, run in enumerate(data.ranked, 1)
        if (row := rows.get((run.id, AUROC, MACRO))) and not row["reason"]
    ]
    return sorted(found, key=lambda row: -row["value"].value)


def _order(recipes: Sequence[Row], unit: str) -> str:
    """State whether the order by expected AUROC differs from the ranking, which is over the measured hospitals only."""
    if len(recipes) < 2:
        return ""
    order = [row["rank"] for row in recipes]
    if order == sorted(order):
        return f"By expected AUROC at a new hospital, the {unit}s have the same order as in the ranking."
    if order[0] != min(order):
        return f"By expected AUROC at a new hospital, {recipes[0]['run'].label} is first, not {recipes[order.index(min(order))]['run'].label}."
    return f"By expected AUROC at a new hospital, the same {unit} is first, but later {unit}s have another order."


SECTIONS = (PlacedSection(next_hospital, after="ranking"),)
