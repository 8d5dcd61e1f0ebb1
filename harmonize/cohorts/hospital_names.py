"""Make the names of hospitals that reports show. A synthetic hospital never gets the name of a real hospital."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Self

from harmonize.cohorts.pool_names import is_pool
from harmonize.cohorts.specs import GOLD
from harmonize.datasets import PUBLISHED
from harmonize.labels.findings import labels_yaml

SYNTHETIC = "synthetic"  # shown in place of city and country
SYNTHETIC_NOTICE = "Synthetic images: a program drew them, so no number applies to a real hospital."


@dataclass(frozen=True, slots=True)
class HospitalName:
    """The full name of a cohort's hospital (`title`), a name for narrow columns (`short`), and city and country (`place`)."""

    title: str
    short: str
    place: str

    @classmethod
    def joined(cls, names: Sequence[Self]) -> Self:
        """Return the name of several hospitals together.

        >>> HospitalName.joined([HospitalName("A", "A", "Boston"), HospitalName("B", "B", "Boston")])
        HospitalName(title='A + B', short='A + B', place='Boston')
        """
        places = dict.fromkeys(name.place for name in names if name.place)
        title, short = (" + ".join(getattr(name, key) for name in names) for key in ("title", "short"))
        return cls(title, short, "; ".join(places))


def hospital_name(name: str, layout: str, texts: Mapping[str, object], phantom: bool) -> HospitalName:
    """Return the name of the hospital of a cohort.

    `name` is the name of the cohort, and `texts` are the texts in labels.yaml about its dataset. A real cohort with the
    name of its layout gets the title of the dataset; any other real cohort keeps its name. A synthetic cohort with the
    name of its layout (also with "-gold" at the end) gets "Hospital" and a letter, which depends only on the layout;
    any other synthetic cohort keeps its name. The title of a synthetic cohort ends with the layout in parentheses if
    the layout is a published one. The texts of a pool of hospitals already have all three names.

    >>> hospital_name("mimic", "mimic", {"title": "MIMIC-CXR", "place": "Boston, US"}, phantom=False)
    HospitalName(title='MIMIC-CXR', short='MIMIC-CXR', place='Boston, US')
    >>> hospital_name("mimic", "mimic", {"title": "MIMIC-CXR", "place": "Boston, US"}, phantom=True)
    HospitalName(title='Hospital B (MIMIC layout)', short='Hospital B', place='synthetic')
    >>> hospital_name("mimic-gold", "mimic", {}, phantom=True).title
    'Hospital B-gold (MIMIC layout)'
    >>> hospital_name("clinic", "mimic", {}, phantom=True)
    HospitalName(title='clinic (MIMIC layout)', short='clinic', place='synthetic')
    """
    if is_pool(name) and "short" in texts:
        return HospitalName(*(str(texts[key]) for key in ("title", "short", "place")))
    if not phantom:
        title = str(texts.get("title", name)) if name == layout else name
        return HospitalName(title, title, str(texts.get("place", "")))
    if layout not in PUBLISHED:
        return HospitalName(name, name, SYNTHETIC)
    letter = ascii_uppercase[PUBLISHED.index(layout)]
    short = f"Hospital {letter}{name.removeprefix(layout)}" if name.removesuffix(GOLD) == layout else name
    # the part of the title before the dash: MIMIC of MIMIC-CXR
    dataset = str(labels_yaml()["datasets"][layout]["title"]).partition("-")[0]
    return HospitalName(f"{short} ({dataset} layout)", short, SYNTHETIC)
