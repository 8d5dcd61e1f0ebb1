"""Sentences on the data: where images and labels come from, and which findings are left out of what is compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.formatting import listing, plural, word

SOURCES = {  # what the tables call a label source -> its words
    "report": "radiology reports, read by a labeller",
    "radiologist": "radiologists",
    "stated": "labels as the table states them",
    "phantom": "labels of the synthetic images",
}


def flow(found: int, used: int, shared: int, num_cohorts: int, num_duplicates: int = 0) -> str:
    """Return the way from files to tested images, and the checks that no patient and no image is on two sides."""
    from_where = "one cohort" if num_cohorts == 1 else f"{word(num_cohorts)} cohorts"
    again = f", {duplicates(num_duplicates)}" if num_duplicates > 0 else ""
    return f"From {plural(found, 'image')} in {from_where} to {plural(used, 'usable frontal one')}; {plural(shared, 'shared patient')} between splits{again}"


def duplicates(number: int) -> str:
    """Return how many internal images recur in another split under another patient.

    >>> duplicates(1)
    'but 1 image whose pixels occur again in another split under another patient'
    """
    return f"but {plural(number, 'image')} whose pixels occur again in another split under another patient"


def prevalence(finding: str, times: float, most: str, least: str) -> str:
    """Return the finding whose share differs most between hospitals."""
    if not finding:
        return "How common each finding is"
    return (
        f"{finding} is {times:.0f} times as common at {most} as at {least}"
        if times >= 1.5
        else "Findings are about as common in every hospital"
    )


def images_said(phantom: bool, num_pictures: int) -> str:
    """Return whose images are in a file.

    >>> images_said(False, 0), images_said(True, 3)
    ('No image of a patient is in this file.', 'The pictures in this file are synthetic: no image of a patient is in it.')
    """
    if not num_pictures:
        return "No image of a patient is in this file."
    if phantom:
        return "The pictures in this file are synthetic: no image of a patient is in it."
    verb = "is" if num_pictures == 1 else "are"
    who = f"{plural(num_pictures, 'radiograph')} of patients, small and with heat maps, {verb} in this file"
    return f"{who}: most datasets’ agreements forbid publishing it."


def label_sources(references: Sequence[str], phantom: bool) -> str:
    """Return who labelled: `references` as the tables name them."""
    known = [SOURCES.get(r, r) for r in references if not (phantom and r == "phantom")]
    if not phantom:
        return f"Where labels come from: {'; '.join(known)}."
    form = f", written the way a real cohort has them from {'; '.join(known)}" if known else ""
    return f"Labels are those of the synthetic images{form}."


def unlearnt(findings: Mapping[str, Sequence[str]], num_runs: int) -> str:
    """Return which findings could not be learnt, from findings by run id; "" for none."""
    counts = Counter(name for names in findings.values() for name in names)
    if not counts:
        return ""
    shown = [
        f"{name} ({'every run' if count == num_runs > 1 else plural(count, 'run')})" if num_runs > 1 else name
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return (
        "A finding that the training images hold only as present, or only as absent, cannot be learnt and is left out of what is "
        f"compared: {listing(shown, len(shown))}."
    )


def not_compared(hospitals: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return which findings only one side labels, from (hospital, findings); "" for none."""
    shown = "; ".join(f"{title}: {listing(names, len(names))}" for title, names in hospitals if names)
    return (
        f"Not compared, because the internal hospital and the hospital do not both label it: {shown}." if shown else ""
    )


def without_score(hospitals: Sequence[str]) -> str:
    """Return which hospitals have no column because nothing could be scored there; "" for none.

    >>> without_score(["BRAX"])
    'No column: BRAX, where no finding has patients enough for a number.'
    """
    if not hospitals:
        return ""
    return f"No column: {listing(hospitals, len(hospitals))}, where no finding has patients enough for a number."


def analyses(states: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return, by name of an analysis, how many times it is done, failed or absent, with the reasons of failures.

    >>> analyses([{"name": "probes", "state": "done", "reason": ""}, {"name": "probes", "state": "failed", "reason": "no memory"}])
    [('probes', 'done 1, failed 1 (no memory)')]
    """
    said = []
    for name in dict.fromkeys(str(state["name"]) for state in states):
        mine = [state for state in states if state["name"] == name]
        counts = Counter(str(state["state"]) for state in mine)
        reasons = sorted({str(state["reason"]) for state in mine if state["reason"]})
        parts = [f"{word} {counts[word]}" for word in ("done", "failed", "absent") if counts[word]]
        said.append((name, ", ".join(parts) + (f" ({'; '.join(reasons)})" if reasons else "")))
    return said
