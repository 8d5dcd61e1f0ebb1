"""The panel "A hospital like mine": a reader ticks hospitals, and a script ranks the recipes by their mean AUROC there."""

import json
from typing import Any

from markupsafe import Markup

from reports.drawing.run_figures import Call
from reports.formatting import is_number, listing
from reports.html.compression import packed
from reports.html.section import write
from reports.report_data.headline_rows import MACRO, MISSING
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.report_data.report_data import ReportData
from reports.sections.run_detail import POINTS, called_images, shown_rule


def panel(data: ReportData) -> Markup:
    """Return the panel; empty without two external hospitals with a score."""
    hospitals = [h for h in data.hospitals.external if any(r.hospitals[h.key].has_value for r in data.ranked)]
    if len(hospitals) < 2:
        return Markup("")
    rule = shown_rule(data)
    confusion = data.tables["confusion"]
    called = called_images(confusion[confusion["dataset"] != data.hospitals.internal.key], rule)
    findings = [*([MACRO] if data.ranked_by.finding == MACRO else []), *data.findings]
    values = {"recipes": [_recipe(data, run, hospitals, findings, called) for run in data.ranked]}
    return write(
        "mine.html.j2",
        data=data,
        hospitals=hospitals,
        adults=data.hospitals.averaged,
        findings=findings,
        rule=POINTS.get(rule, rule),
        predicted_from=_predicted_from(data),
        values=Markup(packed(json.dumps(values, separators=(",", ":")))),  # noqa: S704  (base64)
    )


def _recipe(
    data: ReportData, run: Run, hospitals: list[Hospital], findings: list[str], called: dict[tuple[str, str, str], Call]
) -> dict[str, Any]:
    counts = [[[called.get((one.id, h.key, f)) for one in run.members] for h in hospitals] for f in findings]
    predicted = [data.at_new_hospital.get((run.id, f), (MISSING, MISSING))[1] for f in findings]
    return {
        "name": run.label,
        "run": run.anchor,
        "auroc": [
            [_whole(data.cells.get((run.id, h.key, f), MISSING).value, 10**6) for h in hospitals] for f in findings
        ],
        "sensitivity": [[_mean_share(of_runs, 0) for of_runs in row] for row in counts],
        "specificity": [[_mean_share(of_runs, 2) for of_runs in row] for row in counts],
        "next": [[number.text, number.span] for number in predicted],
    }


def _predicted_from(data: ReportData) -> str:
    """Return the names of the hospitals on which the section "Next hospital" rests; "" if this section predicts nothing."""
    first = data.ranked[0].id
    if (first, MACRO) not in data.at_new_hospital:
        return ""
    table = data.tables["next_hospital"]
    rows = table[(table["run_id"] == first) & (table["metric"] == "auroc") & (table["reason"] == "")]
    keys = " ".join(rows["hospitals"].head(1)).split()
    return listing([data.hospitals[key].short for key in keys], 12)


def _mean_share(of_runs: list[Call | None], first: int) -> int | None:
    """Return the mean over runs of counts[first] and counts[first + 1]'s rightly called share; None if a run has none."""
    pairs = [counts[first : first + 2] if counts else (0, 0) for counts in of_runs]
    right = [pair[first // 2] / sum(pair) for pair in pairs if sum(pair)]
    return _whole(sum(right) / len(right), 1000) if len(right) == len(of_runs) else None


def _whole(value: float, parts: int) -> int | None:
    return round(parts * value) if is_number(value) else None
