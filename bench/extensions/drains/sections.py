"""Section on chest drains: AUROC of Pneumothorax with and without a drain, before the section on region transplant tests."""

from markupsafe import Markup

from bench.extensions.drains.report_tables import DIFFERENCE, FINDING, WITH, WITHOUT
from reports.html.section import CAUSES, PlacedSection, Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.report_data import ReportData
from reports.tables import records_of

SHOWN = 10  # maximum number of runs in the table


def drains(data: ReportData) -> Section:
    """Write the section; empty without annotated drains."""
    rows = records_of(data.tables["drains"])
    found = {
        (str(r["run_id"]), str(r["dataset"]), str(r["drain"])): (Estimate.of(r), int(r["num_positive"])) for r in rows
    }
    known = {run for run, _, _ in found}
    runs = [run for run in data.ranked_runs if run.id in known][:SHOWN]
    if not runs:
        return Section("drains", "", Markup(""))
    hospitals = [h for h in data.all_hospitals if any(h.key == dataset for _, dataset, _ in found)]
    names = (WITH, WITHOUT, DIFFERENCE)
    lines = [
        (run, hospital, [found.get((run.id, hospital.key, name), (MISSING, 0)) for name in names])
        for run in runs
        for hospital in hospitals
    ]
    _, hospital, ((with_drain, _), (without, _), (difference, _)) = lines[0]
    title = (
        f"{FINDING} at {hospital.short}: AUROC {with_drain.text} with a chest drain, {without.text} without one"
        f" (difference {difference.with_interval})"
        if difference.has_value
        else f"Too few patients with {FINDING}, with or without a chest drain, at {hospital.short}"
    )
    return Section("drains", "Chest drains", write("drains.html.j2", data=data, title=title, lines=lines))


SECTIONS = (PlacedSection(drains, CAUSES, ranked_only=True, before="transplants"),)
