"""Sentences about the data: label sources, image flow, and findings that are not compared.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.formatting import integer, listing, of_all, plural

LABEL_SOURCES = {  # label source in the tables -> words on the page
    "report": "radiology reports, labeled by a program",
    "radiologist": "radiologists",
    "stated": "labels as given in the dataset",
    "phantom": "the program that draws the images",
}


def image_flow(num_listed: int, num_used: int, num_duplicates: int = 0) -> str:
    """State how many images are used, and that no patient is in two splits, which the plan of a grid refuses.

    `num_duplicates`: number of internal images with a duplicate of another patient in another split.
    """
    also = f"; {duplicates(num_duplicates)}" if num_duplicates > 0 else ""
    return f"{integer(num_used)} of {plural(num_listed, 'image')} are used; no patient in two splits{also}"


def duplicates(number: int) -> str:
    """State how many internal images have a duplicate of another patient in another split.

    >>> duplicates(1)
    '1 image has a duplicate in another split under another patient id'
    """
    verb, noun = ("has", "a duplicate") if number == 1 else ("have", "duplicates")
    return f"{plural(number, 'image')} {verb} {noun} in another split under another patient id"


def compared(internal: str, hospitals: Sequence[str], num_external: int, *, images: bool) -> str:
    """State what was compared, to find shared patients and copied images; "" without external hospitals.

    `hospitals`: the external hospitals whose patient ids were compared with those of the internal hospital. `images`:
    whether images were compared.

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


def compared_external(pairs: Sequence[Sequence[str]], *, images: bool, shared: bool) -> str:
    """State what was compared, to find patients and images that two external hospitals share.

    `pairs`: pairs of external hospitals whose patient ids were compared. `images`: whether images were compared. `shared`:
    whether a patient or an image is shared.

    >>> compared_external([], images=True, shared=False)
    'Images of external hospitals were compared with each other; no image is shared.'
    >>> compared_external([("NIH", "X")], images=True, shared=True)
    'Images of external hospitals were compared with each other, and patient ids of NIH with X; the section Cohorts states what is shared.'
    >>> compared_external([("NIH", "X")], images=False, shared=False)
    'Patient ids of NIH with X were compared; no patient is shared. Images of external hospitals were not compared with each other.'
    """
    no_images = "Images of external hospitals were not compared with each other."
    ids = f"patient ids of {'; '.join(' with '.join(pair) for pair in pairs)}"
    nothing = "image or patient" if pairs else "image"
    if not images:
        nothing = "patient"
    result = "the section Cohorts states what is shared" if shared else f"no {nothing} is shared"
    if images:
        also = f", and {ids}" if pairs else ""
        return f"Images of external hospitals were compared with each other{also}; {result}."
    return f"P{ids[1:]} were compared; {result}. {no_images}" if pairs else no_images


def overlap(
    hospitals: Sequence[str], num_images: Sequence[int], images: Sequence[int] | None, patients: int | None
) -> str:
    """State which patients and images two external hospitals share; "" if they share nothing.

    `num_images`: number of scored images of each hospital. `images`: for each hospital, how many of its scored images the
    other hospital also has; None if images were not compared. `patients`: number of shared patients; None if the patient
    ids cannot be compared.

    >>> overlap(("NIH", "X"), (40, 60), (12, 13), 1)
    'NIH and X share images (12 of 40 at NIH, 13 of 60 at X) and 1 patient; means over hospitals count them twice.'
    >>> overlap(("NIH", "X"), (40, 60), (0, 0), None)
    ''
    """
    shared = []
    if images and any(images):
        counts = (
            f"{integer(n)} of {integer(total)} at {name}"
            for name, n, total in zip(hospitals, images, num_images, strict=True)
        )
        shared.append(f"images ({', '.join(counts)})")
    if patients:
        shared.append(plural(patients, "patient"))
    if not shared:
        return ""
    return f"{' and '.join(hospitals)} share {' and '.join(shared)}; means over hospitals count them twice."


def left_out(
    hospitals: Sequence[str], num_images: Sequence[int], images: Sequence[int] | None, patients: int | None
) -> str:
    """State why the second of two external cohorts is left out; `overlap` explains the arguments.

    `images` is None if the two cohorts have the same table. `patients` is None, too, if they have images of one hospital in two
    layouts.

    >>> left_out(("nih", "again"), (60, 61), (60, 59), 59)
    'again is left out, because 59 of its 61 scored images are also in nih. Each mean counts this hospital once.'
    >>> left_out(("nih", "again"), (60, 60), None, 60)
    'again is left out, because it has the same table as nih. Each mean counts this hospital once.'
    >>> left_out(("nih", "rsna"), (60, 60), None, None)
    'rsna is left out, because its images are of the hospital of nih. Each mean counts this hospital once.'
    """
    kept, name = hospitals
    reason = f"it has the same table as {kept}" if patients is not None else f"its images are of the hospital of {kept}"
    if images:
        reason = f"{integer(images[1])} of its {plural(num_images[1], 'scored image')} are also in {kept}"
    return f"{name} is left out, because {reason}. Each mean counts this hospital once."


def children_apart(hospitals: Mapping[str, str]) -> str:
    """State that means leave out hospitals of children; `hospitals`: name -> lowest AUROC as text, "" without a score.

    >>> children_apart({"Guangzhou": "Pneumonia, .269 [.186, .373]"})
    'Means leave out the children of Guangzhou (lowest AUROC: Pneumonia, .269 [.186, .373]).'
    """
    named = [f"{name} (lowest AUROC: {lowest})" if lowest else name for name, lowest in hospitals.items()]
    return f"Means leave out the children of {listing(named)}."


def children_inside(hospitals: Mapping[str, tuple[int, int]]) -> str:
    """Name hospitals with some patients who are children; `hospitals`: name -> number of their images, and of images with a recorded age.

    >>> children_inside({"NIH": (150, 593), "MedPix": (3, 68)})
    'Children are among the patients of NIH (150 of 593 images) and MedPix (3 of 68 images).'
    """
    named = [f"{name} ({integer(some)} of {plural(ages, 'image')})" for name, (some, ages) in hospitals.items()]
    return f"Children are among the patients of {listing(named)}."


def patients(num_images: int, num_ages: int, num_children: int) -> str:
    """Name the patients by their recorded ages; numbers of images: all, with an age, and of children.

    >>> [patients(100, *ages) for ages in ((100, 0), (100, 100), (100, 5), (60, 0), (10, 0))]
    ['adults', 'children', 'patients of all ages', 'adults and patients of unknown age', 'patients of unknown age']
    """
    if num_ages < num_images / 2:
        return "patients of unknown age"
    known = "patients of all ages"
    if num_children in (0, num_ages):
        known = "children" if num_children else "adults"
    return known if num_ages >= 0.95 * num_images else f"{known} and patients of unknown age"


def prevalence(finding: str, ratio: float, most: str, least: str) -> str:
    """State that a finding is `ratio` times as common at the hospital `most` as at the hospital `least`.

    `finding`: the finding with the largest ratio, or "" if no ratio could be computed.
    """
    if not finding:
        return "Prevalence of each finding"
    if ratio >= 1.5:
        return f"{finding} is {ratio:.0f} times as common at {most} as at {least}"
    return "The prevalence of each finding is similar at every hospital"


def pictures_notice(phantom: bool, num_pictures: int) -> str:
    """State whether the page contains images of patients. `phantom`: whether the pictures are synthetic.

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


UNIT_RULES = {  # unit of scores -> the sentence that states it; "" for the default
    "image": "",
    "study": "Scores are of studies: the probability of a study is the highest of its images, and numbers of images in scores count studies.",
}
READING_RULES = {  # reading of labels -> the words that state it
    "standard": "uncertain labels are not scored and unmentioned findings count as absent",
    "uncertain-present": "uncertain labels count as present",
    "uncertain-absent": "uncertain labels count as absent",
    "unmentioned-dropped": "unmentioned findings are not scored",
}


def label_sources(references: Sequence[str], phantom: bool) -> str:
    """State where the labels come from; `references`: label sources as in the tables, such as "report"."""
    sources = [LABEL_SOURCES.get(r, r) for r in references if not (phantom and r == "phantom")]
    if not phantom:
        return f"Label sources: {'; '.join(sources)}."
    imitated = f". Their form imitates {'; '.join(sources)}" if sources else ""
    return f"The labels come from the program that draws the synthetic images{imitated}."


def not_learned(findings: Mapping[str, Sequence[str]], num_runs: int) -> str:
    """Name the findings that runs could not learn, "" for none. findings: run id -> findings; num_runs: number of all runs."""
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


def without_score(hospitals: Sequence[str]) -> str:
    """Name the hospitals that have no column in a table, because they have no score; "" if there are none.

    >>> without_score(["BRAX"])
    'Not shown: BRAX, where every finding has too few patients for a score.'
    """
    if not hospitals:
        return ""
    return f"Not shown: {listing(hospitals, len(hospitals))}, where every finding has too few patients for a score."


def without_internal_score(hospitals: Sequence[str], min_count: int) -> str:
    """Name the training hospitals that no internal score includes, with the reason; "" if there are none.

    >>> without_internal_score(["BRAX"], 5)
    'No internal score includes BRAX: no finding has at least 5 test patients with it and 5 without it there.'
    """
    if not hospitals:
        return ""
    names = listing(hospitals, len(hospitals))
    few = f"at least {min_count} test patients with it and {min_count} without it"
    return f"No internal score includes {names}: no finding has {few} {'there' if len(hospitals) == 1 else 'at any of them'}."


def few_validated(num_findings: int, total: int) -> str:
    """State for how many of `total` findings the validation split has enough patients; "" if for all.

    >>> few_validated(4, 9)
    'Only 4 of 9 findings have enough patients in each validation split; without them, a finding has no threshold and no part in the choice of the epoch.'
    >>> few_validated(9, 9)
    ''
    """
    if num_findings >= total:
        return ""
    rest = "without them, a finding has no threshold and no part in the choice of the epoch."
    return f"Only {of_all(num_findings, total, 'finding')} have enough patients in each validation split; {rest}"


# analysis -> its name on the page
ANALYSES = {
    "attention": "heat maps of runs",
    "transplants": "region transplant tests of runs",
    "probes": "classifiers on features of runs",
    "acquisition": "classifiers on image properties (independent of runs)",
}


def analysis_states(analyses: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return (analysis, text) for each kind of analysis.

    The text states how many analyses of this kind are done, failed or absent, and the reasons.

    >>> analysis_states([{"name": "probes", "state": "done", "reason": ""}, {"name": "probes", "state": "failed", "reason": "no memory"}])
    [('classifiers on features of runs', '1 done, 1 failed (no memory)')]
    """
    rows = []
    for name in dict.fromkeys(str(analysis["name"]) for analysis in analyses):
        of_name = [analysis for analysis in analyses if analysis["name"] == name]
        counts = Counter(str(analysis["state"]) for analysis in of_name)
        reasons = sorted({str(analysis["reason"]) for analysis in of_name if analysis["reason"]})
        states = [f"{counts[state]} {state}" for state in ("done", "failed", "absent") if counts[state]]
        rows.append((ANALYSES.get(name, name), ", ".join(states) + (f" ({'; '.join(reasons)})" if reasons else "")))
    return rows
