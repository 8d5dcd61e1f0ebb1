"""Notes on requested analyses that failed or are not done, for the section that would show them."""

from markupsafe import Markup

from reports.formatting import plural
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData

WORDS = {
    "attention": "heat maps",
    "transplants": "region transplant tests",
    "probes": "source classifiers of features",
    "acquisition": "source classifiers of images and tables",
}


def missing_analyses(board: ReportData, *names: str) -> list[str]:
    """Return one sentence per failed or unfinished analysis, with the last reason."""
    out = []
    for name in names:
        mine = [a for a in board.meta.get("analyses") or () if a["name"] == name]
        for state, said in (("failed", "failed"), ("absent", "are not done yet")):
            these = [a for a in mine if a["state"] == state]
            if these:
                of = f" of {len(these)} of {plural(len(mine), 'run')}" if any(a["run_id"] for a in mine) else ""
                reasons = list(dict.fromkeys(a["reason"].rstrip(".") for a in these if a["reason"]))
                out.append(f"{WORDS[name].capitalize()}{of} {said}{': ' + reasons[-1] if reasons else ''}")
    return out


def section_without_results(board: ReportData, key: str, nav: str, heading: str, *names: str) -> Section:
    """Return the section of an analysis without results: the reasons, or an empty section if it was not requested."""
    said = missing_analyses(board, *names)
    html = write("missing_analyses.html.j2", key=key, heading=heading, said=said) if said else Markup("")
    return Section(key, nav if said else "", html)
