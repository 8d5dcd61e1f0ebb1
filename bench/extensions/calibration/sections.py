"""Section on calibration slope, intercept and O:E of each finding at each hospital, before the section of calibration curves and ECE."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from markupsafe import Markup

from reports.formatting import DASH, is_number, places
from reports.html.section import COST, PlacedSection, Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.tables import records_of

PLATT, PLAIN = "platt", "none"
NUMBERS = {"slope": "Slope", "intercept": "Intercept", "observed_expected": "O:E"}
DRAWN = 5  # maximum number of runs with tables
NEAR = 0.05  # a median this near to its ideal gets no verdict
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
    context = {
        "data": data,
        "title": title([rows[key] for key in rows if key[0] == runs[0].id and key[1] in data.external_keys]),
        "shown": data.run_shown(runs[0]),
        "numbers": NUMBERS,
        "findings": data.findings,
        "runs": [{"run": run, "hospitals": _hospitals(data.of_run(run), run, rows)} for run in runs],
    }
    return Section("calibration-slopes", "", write("calibration_slopes.html.j2", **context))


def title(rows: list[Mapping[str, Any]]) -> str:
    """State the median slope and O:E after Platt scaling over findings and hospitals, and what they mean.

    >>> rows = [{"calibrator": "platt", "slope": 0.6, "observed_expected": 1.4}]
    >>> title(rows)
    'After Platt scaling, the median external slope is .60 (predictions are too extreme), and the median O:E is 1.40 (probabilities are too low)'
    >>> title([{"calibrator": "platt", "slope": float("nan"), "observed_expected": float("nan")}])
    'No calibration slope is known at external hospitals'
    """
    parts = []
    for name, words, low, high in (
        ("slope", "external slope", "predictions are too extreme", "predictions are not extreme enough"),
        ("observed_expected", "O:E", "probabilities are too high", "probabilities are too low"),
    ):
        values = [float(row[name]) for row in rows if row["calibrator"] == PLATT and is_number(row[name])]
        if values:
            middle = median(values)
            verdict = "near 1" if abs(middle - 1) <= NEAR else low if middle < 1 else high
            parts.append(f"the median {words} is {places(middle, 2)} ({verdict})")
    return (
        f"After Platt scaling, {', and '.join(parts)}"
        if parts
        else "No calibration slope is known at external hospitals"
    )


def _hospitals(data: ReportData, run: Run, rows: Rows) -> list[dict[str, Any]]:
    """Return for each hospital, the internal one first: names, and for each finding the cells of both calibrators."""
    return [
        {
            "title": hospital.title,
            "short": hospital.short,
            "internal": hospital is data.internal,
            "findings": {
                finding: [_cells(rows.get((run.id, hospital.key, finding, name), {})) for name in (PLATT, PLAIN)]
                for finding in data.findings
            },
        }
        for hospital in data.all_hospitals
    ]


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return each of NUMBERS as text with its interval (a dash if unknown), and the reason why a number is missing."""
    known = {end: {name: float(row.get(name + end, "nan")) for name in NUMBERS} for end in ("", "_low", "_high")}
    numbers = {name: Estimate(known[""][name], known["_low"][name], known["_high"][name]) for name in NUMBERS}
    texts = {
        name: (places(e.value, 2), f"{places(e.low, 2)} to {places(e.high, 2)}") if e.has_interval else (DASH, "")
        for name, e in numbers.items()
    }
    return {"texts": texts, "reason": row.get("reason", "")}


SECTIONS = (PlacedSection(calibration_slopes, COST, ranked_only=True, before="calibration"),)
