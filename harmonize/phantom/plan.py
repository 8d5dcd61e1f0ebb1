"""Plan the patients and studies of each hospital, and their splits."""

from dataclasses import dataclass

from harmonize.phantom.names import MILLION
from harmonize.phantom.patient import draw_patient
from harmonize.phantom.settings import PhantomSettings
from harmonize.seeds import stream

# shares of patients in official splits, close to the published shares
SPLITS = {"mimic": (("train", 0.94), ("val", 0.02), ("test", 0.04)), "nih": (("train", 0.77), ("test", 0.23))}
ONE_STUDY = ("vindr",)  # no patient id is released, so each image counts as a patient


@dataclass(frozen=True, slots=True)
class PatientGroup:
    """Patients with the same role in a release, such as its test split. The patients have the numbers first, first + 1 ..."""

    site: str
    split: str  # "": each patient gets an official split at random, or no split if the release has none
    first: int
    images: int  # number of frontal images
    excluded_for: str = ""  # why the cohort excludes the images: pediatric, no labels, strip or no view; else ""
    one_study: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """A patient of a group, with a number of studies."""

    group: PatientGroup
    number: int
    studies: int
    split: str


def patient_groups(settings: PhantomSettings, site: str) -> list[PatientGroup]:
    """Return the patient groups of a hospital's release: a main group and small extra groups.

    `settings.images` is the number of images of the main group: train for CheXpert, test for VinDr, all frontal images
    for others. An extra group is another split (expert_valid and expert_test of CheXpert, train of VinDr), or has
    images that a cohort excludes by default: children (only by the age in the table; the images show adults), very narrow images,
    and images without view or labels.
    """
    images = settings.images[site]
    num_excluded = max(1, images // 100)
    extra = {
        "chexpert": [
            PatientGroup(site, "expert_valid", 1 * MILLION, min(60, max(1, images // 5)), one_study=True),
            PatientGroup(site, "expert_test", 2 * MILLION, min(100, max(1, images // 4)), one_study=True),
        ],
        "vindr": [PatientGroup(site, "train", 1 * MILLION, min(60, max(1, images // 5)), one_study=True)],
        "padchest": [
            PatientGroup(site, "", 1 * MILLION, num_excluded, "pediatric"),
            PatientGroup(site, "", 2 * MILLION, num_excluded, "no labels"),
        ],
        "brax": [
            PatientGroup(site, "", 1 * MILLION, max(1, images // 10), "no view"),
            PatientGroup(site, "", 2 * MILLION, num_excluded, "strip"),
        ],
    }
    main = {"chexpert": "train", "vindr": "test"}.get(site, "")
    return [PatientGroup(site, main, 0, images, one_study=site in ONE_STUDY), *extra.get(site, [])]


def visits(settings: PhantomSettings, group: PatientGroup) -> list[Visit]:
    """Return the patients of a group; all patients together have `group.images` studies, with one frontal image each."""
    planned: list[Visit] = []
    images = 0
    while images < group.images:
        number = group.first + len(planned)
        studies = 1 if group.one_study else draw_patient(settings.seed, group.site, number).num_studies
        studies = min(studies, group.images - images)
        planned.append(Visit(group, number, studies, group.split or _draw_split(settings, group.site, number)))
        images += studies
    return planned


def _draw_split(settings: PhantomSettings, site: str, number: int) -> str:
    draw = stream(settings.seed, "phantom", "split", site, number).random()
    for split, share in SPLITS.get(site, ()):
        if draw < share:
            return split
        draw -= share
    return SPLITS[site][0][0] if site in SPLITS else ""
