"""Section on calibration slope, intercept and O:E of each finding at each hospital, before the section of calibration curves and ECE."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.formatting import DASH, interval, is_number, places
from reports.html.section import COST, PlacedSection, Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.tables import records_of

PLATT, PLAIN = "platt", "none"
NUMBERS = {"slope": "Slope", "intercept": "Intercept", "observed_expected": "O:E"}
BELOW_1 = {"slope": ("slopes", "predictions too extreme"), "observed_expected": ("ratios", "probabilities too high")}
DRAWN = 5  # maximum number of runs with tables
Rows = Mapping[tuple[str, str, str, str], Mapping[str, Any]]  # by run, cohort, finding and calibrator


def calibration_slopes(data: ReportData) -> Section:
    """Write the tables of the first DRAWN runs; empty if the report has no numbers of them."""
    table = data.tables["calibration"]
    known = set(table["run_id"])
    runs = [run for run in data.ranked_runs if run.id in known][:DRAWN]
    if not runs:
        return Section("calibration-slopes", "", Markup(""))
    table = table[table["run_id"].isin([run.id for run in runs])]
    rows = {(row["run_id"], row["dataset"], row["finding"], row["calibrator"]): row for row in records_of(table)}
    outside = data.hospitals.external_keys
    external = [rows[key] for key in rows if key[0] == runs[0].id and key[1] in outside]
    slopes, ratios = (beyond_1(external, name) for name in ("slope", "observed_expected"))
    context = {
        "data": data,
        "title": f"At external hospitals, {slopes or 'no calibration slope is known'}",
        "ratios": ratios,
        "shown": data.run_shown(runs[0]),
        "numbers": NUMBERS,
        "findings": data.findings,
        "runs": [{"run": run, "hospitals": _hospitals(data.of_run(run), run, rows)} for run in runs],
    }
    return Section("calibration-slopes", "", write("calibration_slopes.html.j2", **context))


def beyond_1(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """State how many values of a number after Platt scaling are clearly below and above 1, its ideal; "" without a value.

    The intervals that decide are corrected for the number of values.

    >>> rows = [{"calibrator": "platt", "slope": 0.6, "slope_low": 0.5, "slope_high": high} for high in (0.7, 0.99)]
    >>> beyond_1(rows, "slope")
    '1 of 2 slopes are clearly below 1 (predictions too extreme), 0 clearly above; they range from .60 to .60'
    """
    known = [row for row in rows if row["calibrator"] == PLATT and is_number(row[name])]
    numbers = [[float(row[name + end]) for end in ("", "_low", "_high")] for row in known]
    if name == "observed_expected":  # its intervals are symmetric on the log scale
        numbers = [[1 + math.log(number) for number in of_row] for of_row in numbers]
    from_1 = [Estimate(value - 1, low - 1, high - 1).corrected(len(known)) for value, low, high in numbers]
    above = sum(e.clear_above for e in from_1)
    below = sum(e.clear for e in from_1) - above
    if not known:
        return ""
    (what, low_is), values = BELOW_1[name], [float(row[name]) for row in known]
    start = f"{below} of {len(known)} {what} are clearly below 1 ({low_is}), {above} clearly above"
    return f"{start}; they range from {places(min(values), 2)} to {places(max(values), 2)}"


def _hospitals(data: ReportData, run: Run, rows: Rows) -> list[dict[str, Any]]:
    """Return for each hospital of the means, the internal one first: names, and for each finding the cells of both calibrators."""
    return [
        {
            "title": hospital.title,
            "short": hospital.short,
            "internal": hospital is data.hospitals.internal,
            "findings": {
                finding: [_cells(rows.get((run.id, hospital.key, finding, name), {})) for name in (PLATT, PLAIN)]
                for finding in data.findings
            },
        }
        for hospital in (data.hospitals.internal, *data.hospitals.averaged)
    ]


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return each of NUMBERS as text with its interval (a dash if unknown), and the reason why a number is missing."""
    known = {end: {name: float(row.get(name + end, "nan")) for name in NUMBERS} for end in ("", "_low", "_high")}
    numbers = {name: Estimate(known[""][name], known["_low"][name], known["_high"][name]) for name in NUMBERS}
    texts = {
        name: (places(e.value, 2), interval(e.low, e.high, 2)) if e.has_interval else (DASH, "")
        for name, e in numbers.items()
    }
    return {"texts": texts, "reason": row.get("reason", "")}


SECTIONS = (PlacedSection(calibration_slopes, COST, ranked_only=True, before="calibration"),)
