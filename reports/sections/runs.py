"""Section with all runs: scores by finding and hospital, configuration, and the command that reproduces each run."""

from typing import Any

from reports.html.compression import packed_fragments
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData
from reports.sections.run_detail import RunDetails

# number of best recipes whose runs get confusion matrices, curves and subgroups on the page, if there are more than WRITTEN
# entries; a site has these figures for all runs
DRAWN = 12
WRITTEN = 40  # with more entries than this number, the text of all entries is compressed, and a script unpacks the text


def runs(data: ReportData) -> Section:
    """Write the section: a folded entry for each run. A script opens an entry in a side panel and adds its figures."""
    packed = len(data.entries) > WRITTEN
    best = [run for recipe in data.ranked[:DRAWN] for run in recipe.members]
    drawn_runs = [*best, *data.derived[:DRAWN]] if packed else list(data.entries)
    details = RunDetails.of(data, drawn_runs)
    entries: list[dict[str, Any]] = []
    fragments: dict[str, str] = {run.anchor + "/figures": str(details.figures(run)) for run in drawn_runs}
    for run in data.entries:
        body = details.body(run, drawn=False)
        if packed:
            fragments[run.anchor] = str(body)
        entries.append({"run": run, "body": "" if packed else body})
    html = write(
        "runs.html.j2", data=data, entries=entries, packed=packed, most=WRITTEN, site=bool(data.meta.get("site"))
    )
    return Section("runs", "Runs", html, packed=packed_fragments(fragments))
