"""Sentences about the data: label sources, image flow, and findings that are not compared.

A sentence states an effect only if it is clear (see `verdicts`). The estimate alone never decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.formatting import integer, listing, plural

LABEL_SOURCES = {  # label source in the tables -> words on the page
    "report": "radiology reports, labeled by a program",
    "radiologist": "radiologists",
    "stated": "labels as given in the dataset",
    "phantom": "the program that drew the images (exact)",
}


def image_flow(num_listed: int, num_used: int, num_shared: int, num_duplicates: int = 0) -> str:
    """State how many images are used, and how many patients and duplicate images occur in two splits."""
    patients = "no patient in two splits"
    if num_shared:
        patients = f"{plural(num_shared, 'patient')} in two splits"
    also = f"; {duplicates(num_duplicates)}" if num_duplicates > 0 else ""
    return f"{integer(num_used)} of {plural(num_listed, 'image')} are used; {patients}{also}"


def duplicates(number: int) -> str:
    """State how many internal images have a duplicate of another patient in another split.

    >>> duplicates(1)
    '1 image has a duplicate in another split under another patient id'
    """
    verb, noun = ("has", "a duplicate") if number == 1 else ("have", "duplicates")
    return f"{plural(number, 'image')} {verb} {noun} in another split under another patient id"


def compared(internal: str, hospitals: Sequence[str], num_external: int, *, images: bool) -> str:
    """State which comparisons looked for shared patients and copied images; "" without external hospitals.

    `hospitals`: the external hospitals whose patient ids were compared with those of the internal hospital.

    >>> compared("NIH", [], 2, images=True)
    'Patient ids were not compared: each hospital uses its own ids. Images of NIH were compared with those of each external hospital, and no copy was found.'
    >>> compared("NIH", ["X"], 2, images=False)
    'Patient ids of NIH and X were compared, and no patient is shared; other hospitals use other ids. Images were not compared.'
    """
    if not num_external:
        return ""
    patients = "Patient ids were not compared: each hospital uses its own ids."
    if hospitals:
        others = "; other hospitals use other ids" if len(hospitals) < num_external else ""
        names = listing([internal, *hospitals], len(hospitals) + 1)
        patients = f"Patient ids of {names} were compared, and no patient is shared{others}."
    copies = f"Images of {internal} were compared with those of each external hospital, and no copy was found."
    return f"{patients} {copies if images else 'Images were not compared.'}"


def prevalence(finding: str, ratio: float, most: str, least: str) -> str:
    """Name the finding with the largest difference in prevalence between hospitals; `finding` is "" if there is none."""
    if not finding:
        return "Prevalence of each finding"
    return (
        f"{finding} is {ratio:.0f} times as common at {most} as at {least}"
        if ratio >= 1.5
        else "The prevalence of each finding is similar at every hospital"
    )


def pictures_notice(phantom: bool, num_pictures: int) -> str:
    """State whether the page contains images of patients.

    >>> pictures_notice(False, 0), pictures_notice(True, 3)
    ('This file contains no image of a patient.', 'The pictures in this file are synthetic; it contains no image of a patient.')
    """
    if not num_pictures:
        return "This file contains no image of a patient."
    if phantom:
        return "The pictures in this file are synthetic; it contains no image of a patient."
    return (
        f"This file contains {plural(num_pictures, 'small radiograph')} of patients with heat maps. "
        "Most datasets’ agreements forbid publishing it."
    )


def label_sources(references: Sequence[str], phantom: bool) -> str:
    """State where the labels come from; `references` are label sources as in the tables."""
    sources = [LABEL_SOURCES.get(r, r) for r in references if not (phantom and r == "phantom")]
    if not phantom:
        return f"Label sources: {'; '.join(sources)}."
    imitated = f". Their form imitates {'; '.join(sources)}" if sources else ""
    return f"Labels are those of the synthetic images{imitated}."


def not_learned(findings: Mapping[str, Sequence[str]], num_runs: int) -> str:
    """Name the findings that runs could not learn, "" for none; `findings` by run id."""
    counts = Counter(name for names in findings.values() for name in names)
    if not counts:
        return ""
    names = [
        f"{name} ({'every run' if count == num_runs > 1 else plural(count, 'run')})" if num_runs > 1 else name
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return (
        "A finding that is present in all or in none of the training images cannot be learned and is not compared: "
        f"{listing(names, len(names))}."
    )


def not_compared(hospitals: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Name the findings that only one of two hospitals labels, "" for none; `hospitals`: (title, findings)."""
    names = "; ".join(f"{title}: {listing(findings, len(findings))}" for title, findings in hospitals if findings)
    return f"Not compared, because only one of the two hospitals labels the finding: {names}." if names else ""


def without_score(hospitals: Sequence[str]) -> str:
    """Name the hospitals that have no column, because they have no score; "" for none.

    >>> without_score(["BRAX"])
    'Not shown: BRAX, where every finding has too few patients for a score.'
    """
    if not hospitals:
        return ""
    return f"Not shown: {listing(hospitals, len(hospitals))}, where every finding has too few patients for a score."


# analysis -> its name on the page
ANALYSES = {
    "attention": "heat maps",
    "transplants": "region transplant tests",
    "probes": "classifiers on features",
    "acquisition": "classifiers on image properties",
}


def analysis_states(analyses: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pairs (analysis, text); the text states for how many runs the analysis is done, failed or absent, and why it failed.

    >>> analysis_states([{"name": "probes", "state": "done", "reason": ""}, {"name": "probes", "state": "failed", "reason": "no memory"}])
    [('classifiers on features', '1 run done, 1 failed (no memory)')]
    """
    rows = []
    for name in dict.fromkeys(str(analysis["name"]) for analysis in analyses):
        of_name = [analysis for analysis in analyses if analysis["name"] == name]
        counts = Counter(str(analysis["state"]) for analysis in of_name)
        reasons = sorted({str(analysis["reason"]) for analysis in of_name if analysis["reason"]})
        states = [f"{counts[state]} {state}" for state in ("done", "failed", "absent") if counts[state]]
        states[0] = states[0].replace(" ", " run " if states[0].startswith("1 ") else " runs ", 1)
        rows.append((ANALYSES.get(name, name), ", ".join(states) + (f" ({'; '.join(reasons)})" if reasons else "")))
    return rows
