"""Which patients each hospital contributes, and to which part of its release."""

from dataclasses import dataclass

from harmonize.phantom.names import MILLION
from harmonize.phantom.patient import draw_patient
from harmonize.phantom.settings import PhantomSettings
from harmonize.seeds import stream

# shares of the patients, for datasets whose release names splits; close to the published ones
SPLITS = {"mimic": (("train", 0.94), ("val", 0.02), ("test", 0.04)), "nih": (("train", 0.77), ("test", 0.23))}
ONE_STUDY = ("vindr",)  # no patient id is released: the image is the patient


@dataclass(frozen=True, slots=True)
class Part:
    """A run of patients that share a place in the release; `first` is the number of its first patient."""

    site: str
    split: str  # "" = drawn per patient where the release has splits
    first: int
    images: int  # frontal
    kind: str = ""  # "" or why the cohort will not keep them: pediatric, no labels, strip, no view
    one_study: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """One patient of a part with the first so many studies."""

    part: Part
    number: int
    studies: int
    split: str


def parts(settings: PhantomSettings, site: str) -> list[Part]:
    """Return what a hospital's release is made of; the settings' number is that of its headline images.

    Headline: all of train for CheXpert, the test split for VinDr, every frontal image elsewhere. The smaller parts come
    on top: expert-labelled images, and a few that a cohort drops: children (in the table only, they look like adults),
    strips, images without view or labels.
    """
    images = settings.images[site]
    few = max(1, images // 100)
    extra = {
        "chexpert": [
            Part(site, "expert_valid", 1 * MILLION, min(60, max(1, images // 5)), one_study=True),
            Part(site, "expert_test", 2 * MILLION, min(100, max(1, images // 4)), one_study=True),
        ],
        "vindr": [Part(site, "train", 1 * MILLION, min(60, max(1, images // 5)), one_study=True)],
        "padchest": [Part(site, "", 1 * MILLION, few, "pediatric"), Part(site, "", 2 * MILLION, few, "no labels")],
        "brax": [
            Part(site, "", 1 * MILLION, max(1, images // 10), "no view"),
            Part(site, "", 2 * MILLION, few, "strip"),
        ],
    }
    main = {"chexpert": "train", "vindr": "test"}.get(site, "")
    return [Part(site, main, 0, images, one_study=site in ONE_STUDY), *extra.get(site, [])]


def visits(settings: PhantomSettings, part: Part) -> list[Visit]:
    """Return the patients of a part with as many studies as give its number of frontal images exactly."""
    chosen: list[Visit] = []
    images = 0
    while images < part.images:
        number = part.first + len(chosen)
        studies = 1 if part.one_study else draw_patient(settings.seed, part.site, number).num_studies
        studies = min(studies, part.images - images)
        chosen.append(Visit(part, number, studies, part.split or _draw_split(settings, part.site, number)))
        images += studies
    return chosen


def _draw_split(settings: PhantomSettings, site: str, number: int) -> str:
    draw = stream(settings.seed, "phantom", "split", site, number).random()
    for split, share in SPLITS.get(site, ()):
        if draw < share:
            return split
        draw -= share
    return SPLITS[site][0][0] if site in SPLITS else ""
