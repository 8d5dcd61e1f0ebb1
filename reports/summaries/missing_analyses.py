"""Explain why a section has no results: a requested analysis failed or is not done."""

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


def missing_analyses(data: ReportData, *names: str) -> list[str]:
    """Return one sentence for each failed or unfinished analysis in `names`, with the number of runs and the last reason.

    An analysis that failed for some runs and is not done for other runs has two sentences.
    """
    sentences = []
    for name in names:
        entries = [a for a in data.meta.get("analyses") or () if a["name"] == name]
        for state, verb in (("failed", "failed"), ("absent", "are not done yet")):
            entries_in_state = [a for a in entries if a["state"] == state]
            if entries_in_state:
                num_runs = (
                    f" of {len(entries_in_state)} of {plural(len(entries), 'run')}"
                    if any(a["run_id"] for a in entries)
                    else ""
                )
                reasons = list(dict.fromkeys(a["reason"].rstrip(".") for a in entries_in_state if a["reason"]))
                sentences.append(f"{WORDS[name].capitalize()}{num_runs} {verb}{': ' + reasons[-1] if reasons else ''}")
    return sentences


def section_without_results(data: ReportData, key: str, nav: str, heading: str, *names: str) -> Section:
    """Return a section that states why the analyses in `names` have no results; empty if none of them was requested.

    key, nav: as in `Section`. heading: title of the section.
    """
    sentences = missing_analyses(data, *names)
    html = write("missing_analyses.html.j2", key=key, heading=heading, said=sentences) if sentences else Markup("")
    return Section(key, nav if sentences else "", html)
