"""Section of warnings about runs: one folded line below the ranking.

A symptom is a pattern in a run's predictions that a technical fault causes.
"""

from markupsafe import Markup

from reports.formatting import interval, p_value, places, plural
from reports.html.section import Section, write
from reports.report_data.report_data import MACRO, ReportData
from reports.schemas.tables import INVERTED
from reports.tables import records_of

SHOWN = 12


def symptoms(data: ReportData) -> Section:
    """Write the section: one row per symptom; empty if there are no symptoms."""
    table = data.tables["diagnostics"]
    if not len(table):
        return Section("symptoms", "", Markup(""))
    # a run without details has the names of the page
    labels = data.labels
    data_of_run = {run.id: data.of_run(run) for run in data.entries}
    rows = []
    runs_with_anchor: set[str] = set()
    for row in records_of(table):
        anchor = "" if row["run_id"] in runs_with_anchor else symptom_anchor(str(row["run_id"]))
        runs_with_anchor.add(row["run_id"])
        bounds = interval(row["low"], row["high"])
        rows.append(
            {
                "run": labels.get(row["run_id"], str(row["run_id"])),
                "anchor": anchor,
                "hospital": data_of_run.get(str(row["run_id"]), data).hospitals[str(row["dataset"])].title,
                "finding": "" if row["finding"] == "all" else str(row["finding"]),
                "kind": str(row["kind"]),
                # an AUROC below .5 can be true; constant, permuted and untrained outputs are faults
                "severe": row["kind"] != INVERTED,
                "value": places(row["value"]),
                "interval": bounds,
                "p": p_value(row["p"]),
                "advice": str(row["advice"]),
            }
        )
    title = Markup("{} about {}").format(plural(len(rows), "warning"), plural(table["run_id"].nunique(), "run"))
    if any(row["severe"] for row in rows):
        title = Markup('<span class="warn">{}</span>').format(title)
    return Section("symptoms", "", write("symptoms.html.j2", title=title, rows=rows[:SHOWN], folded=rows[SHOWN:]))


def inverted_cells(data: ReportData) -> frozenset[tuple[str, str, str]]:
    """Return (run id, dataset, finding) of each AUROC that seems inverted; the finding of a macro is "macro"."""
    table = data.tables["diagnostics"]
    rows = table.loc[table["kind"] == INVERTED, ["run_id", "dataset", "finding"]].replace({"finding": {"all": MACRO}})
    return frozenset(rows.astype(str).itertuples(index=False, name=None))


def symptom_anchor(run_id: str) -> str:
    """Return the anchor (HTML id) of a run's first symptom."""
    return f"symptom-{run_id}"
