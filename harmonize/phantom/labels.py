"""Make the labels of a hospital from true findings: some findings are missed, uncertain or not mentioned.

The rates for the CheXpert family (chexpert, mimic, brax) follow the published tables. An uncertain label is twice as
likely if the finding is present. In expert splits, labels equal the truth: present or absent.
"""

from collections.abc import Callable, Mapping

import numpy as np

from harmonize.datasets.vindr import LABELS as VINDR_LABELS
from harmonize.labels.findings import ABSENT, NO_FINDING, NOT_MENTIONED, PRESENT, UNCERTAIN
from harmonize.phantom.patient import Patient, Study, rng_of
from harmonize.phantom.sites import DRAWN, SITES

MISSED = 0.04  # share of present findings that a report misses
# INVENTED times the prevalence of a finding is the probability that a report wrongly states the finding as present
INVENTED = 0.02
# finding -> share of the absent findings that a report states as absent (from CheXpert's train.csv). The report does
# not mention the other absent findings.
DENIED = {
    "Cardiomegaly": 0.059,
    "Atelectasis": 0.0085,
    "Consolidation": 0.155,
    "Pleural Effusion": 0.282,
    "Pneumothorax": 0.281,
    "Pneumonia": 0.014,
    "Edema": 0.131,
    "Lung Lesion": 0.006,
}
OPAQUE = ("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Lung Lesion")
MASS_SEVERITY = 0.55  # from this severity on, a nodule is larger than 3 cm and is called a mass

States = dict[str, int]
Native = dict[str, int | str]


def native_labels(patient: Patient, study: Study, expert: bool = False) -> Native:
    """Return the native labels of a study: label -> state; for token families, "labels" -> words joined with "|"."""
    rng = rng_of("words", patient, study.index)
    return _WRITERS[patient.site](observe(patient, study, expert), study, rng, expert)


def observe(patient: Patient, study: Study, expert: bool = False) -> States:
    """Return the reported state of each finding: 1, 0, or (only at hospitals with uncertain labels) -1."""
    site = SITES[patient.site]
    miss, uncertainty = rng_of("report", patient, study.index).random((2, len(DRAWN))).tolist()
    states = {}
    for k, finding in enumerate(DRAWN):
        is_present = finding in study.present
        states[finding] = PRESENT if is_present else ABSENT
        if expert:
            continue
        if miss[k] < (MISSED if is_present else INVENTED * site.prevalence[k]):
            states[finding] = ABSENT if is_present else PRESENT
        if site.uncertain:
            # twice as likely for present findings; over all images, the share of uncertain labels is site.uncertain[k]
            if_absent = site.uncertain[k] / (1 + site.prevalence[k])
            if uncertainty[k] < if_absent * (2 if is_present else 1):
                states[finding] = UNCERTAIN
    return states


def _chexpert_family(states: States, study: Study, rng: np.random.Generator, expert: bool) -> Native:
    """Return the states of 14 labels.

    As in the CheXpert labeler, "No Finding" is 1 if no label except "Support Devices" is present or uncertain. In other
    images, "No Finding" is not mentioned or, with `expert`, 0.
    """
    u = iter(rng.random(20).tolist())
    opaque = any(states[finding] == PRESENT for finding in OPAQUE)
    labels: States = dict(states)
    labels["Enlarged Cardiomediastinum"] = int(next(u) < (0.35 if states["Cardiomegaly"] == PRESENT else 0.01))
    labels["Lung Opacity"] = int(next(u) < (0.6 if opaque else 0.01))
    labels["Pleural Other"] = int(next(u) < 0.01)
    labels["Fracture"] = int(next(u) < 0.02)
    normal = all(state == ABSENT for state in labels.values())
    labels["Support Devices"] = int(study.devices)
    if expert:
        return {**labels, NO_FINDING: int(normal)}
    for label, state in labels.items():
        if state == ABSENT and next(u) >= DENIED.get(label, 0.05):
            labels[label] = NOT_MENTIONED
    return {**labels, NO_FINDING: PRESENT if normal else NOT_MENTIONED}


def _nih(states: States, study: Study, rng: np.random.Generator, _expert: bool) -> Native:
    """Return the labels in alphabetical order, or "No Finding" if there are none."""
    lesion = "Mass" if study.severity["Lung Lesion"] > MASS_SEVERITY else "Nodule"
    native_name = {"Pleural Effusion": "Effusion", "Lung Lesion": lesion}
    words = {native_name.get(finding, finding) for finding, state in states.items() if state == PRESENT}
    others = {"Infiltration": 0.06, "Pleural_Thickening": 0.02, "Emphysema": 0.015, "Fibrosis": 0.015, "Hernia": 0.003}
    words |= _draw_words(rng, others)
    return {"labels": "|".join(sorted(words)) or NO_FINDING}


def _padchest(states: States, study: Study, rng: np.random.Generator, _expert: bool) -> Native:
    """Return lower-case words for shared and other findings, such as "scoliosis", or "normal" if there are none."""
    words: list[str] = []
    for finding, state in states.items():
        spellings = PADCHEST_WORDS[finding]
        word = spellings[min(int(rng.random() ** 2 * len(spellings)), len(spellings) - 1)]
        if state == PRESENT:
            is_mass = finding == "Lung Lesion" and study.severity[finding] >= MASS_SEVERITY
            words.append("pulmonary mass" if is_mass else word)
    words += sorted(_draw_words(rng, PADCHEST_OTHERS))
    unchanged = rng.random() < 0.04
    if unchanged and (words or rng.random() < 0.4):
        words.append("unchanged")  # if "unchanged" is the only word, the cell states nothing about findings
    return {"labels": "|".join(words) or "normal"}


PADCHEST_WORDS: Mapping[str, tuple[str, ...]] = {  # finding -> its words, the most frequent word first
    "Cardiomegaly": ("cardiomegaly",),
    "Atelectasis": ("laminar atelectasis", "atelectasis", "lobar atelectasis"),
    "Consolidation": ("consolidation", "consolidation", "air bronchogram"),
    "Pleural Effusion": ("pleural effusion", "pleural effusion", "pleural effusion", "loculated pleural effusion"),
    "Pneumothorax": ("pneumothorax",),
    "Pneumonia": ("pneumonia", "pneumonia", "pneumonia", "atypical pneumonia"),
    "Edema": ("pulmonary edema",),
    "Lung Lesion": ("nodule", "multiple nodules"),
}
PADCHEST_OTHERS = {
    "aortic elongation": 0.04,
    "scoliosis": 0.03,
    "bronchovascular markings": 0.03,
    "chronic changes": 0.03,
    "kyphosis": 0.01,
}


def _vindr(states: States, study: Study, rng: np.random.Generator, _expert: bool) -> Native:
    """Return the states of 28 labels, 0 or 1."""
    native_name = {"Pleural Effusion": "Pleural effusion", "Lung Lesion": "Nodule/Mass"}
    words = {native_name.get(finding, finding) for finding, state in states.items() if state == PRESENT}
    others = {"Aortic enlargement": 0.05, "Pleural thickening": 0.03, "Pulmonary fibrosis": 0.03, "Infiltration": 0.02}
    words |= _draw_words(rng, others | {"Other lesion": 0.02, "Lung Opacity": 0.5 if words & set(OPAQUE) else 0.005})
    if "Nodule/Mass" in words and study.severity["Lung Lesion"] > MASS_SEVERITY and rng.random() < 0.3:
        words.add("Lung tumor")
    return {label: int(label in words or (label == "No finding" and not words)) for label in VINDR_LABELS}


def _draw_words(rng: np.random.Generator, probabilities: Mapping[str, float]) -> set[str]:
    return {word for word, probability in probabilities.items() if rng.random() < probability}


_WRITERS: dict[str, Callable[[States, Study, np.random.Generator, bool], Native]] = {
    "chexpert": _chexpert_family,
    "mimic": _chexpert_family,
    "nih": _nih,
    "padchest": _padchest,
    "vindr": _vindr,
    "brax": _chexpert_family,
}
