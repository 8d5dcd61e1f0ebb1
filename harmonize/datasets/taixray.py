"""TAIX-Ray: 215,381 bedside radiographs of 47,724 patients in intensive care at the university hospital in Aachen, Germany.

Layout, as the script of the release writes it: metadata/annotation.csv, metadata/split.csv and data/<UID>.png. The tables may
also be in the root or beside the images, and the images in images/, data_512/images/ or data_original/images/.
Labels: radiologists graded five findings while they reported, four of them on each side: 0 none, 1 questionable (heart:
borderline), 2 to 4 mild to severe. A finding is present from grade 2 on either side, and uncertain at grade 1.
Ages are in days. All images are AP. The release states neither devices nor studies.
Source: Truhn et al. 2026, doi:10.1038/s41597-026-07271-7.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, SPLITS, native
from harmonize.datasets.columns import base_columns
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    numbers,
    person,
    read_text,
    require,
    states_array,
    unknown_words,
)
from harmonize.datasets.ids import require_match
from harmonize.labels.findings import ABSENT, PRESENT, UNCERTAIN

SIGNATURE = ("metadata/anno*ation.csv", "data_*/images/annotation.csv")
LABELS = ("HeartSize", "PulmonaryCongestion", "PleuralEffusion", "PulmonaryOpacities", "Atelectasis")
_FOLDERS = ("data", "images", "data_512/images", "data_original/images")
_PLACES = ("metadata/", "", *(f"{folder}/" for folder in _FOLDERS))
_DAYS_PER_YEAR = 365.25


def _columns(label: str) -> tuple[str, ...]:
    return (label,) if label in LABELS[:2] else (f"{label}_Right", f"{label}_Left")


def read(root: Path) -> pd.DataFrame:
    """Return one row per image: the base columns and "native:<label>" for five labels, each 1, 0 or -1."""
    path = require(root, "taixray", *(f"{place}anno*ation.csv" for place in _PLACES))
    grades = [column for label in LABELS for column in _columns(label)]
    raw = read_text(path, ["UID", "PatientID", "Age", "Sex", *grades], optional=["Split"])
    fault = raw[FAULT]
    states: dict[str, object] = {}
    for label in LABELS:
        levels = raw[list(_columns(label))].apply(numbers)
        for column in levels:
            bad = ~levels[column].isin(range(5))
            fault = first_fault(fault, faults(bad, raw[column], str(column), "a grade from 0 to 4", path))
        highest = levels.max(axis=1)
        state = np.select([highest >= 2, highest == 1], [PRESENT, UNCERTAIN], ABSENT).astype(np.int8)
        states[native(label)] = states_array(state, levels.isna().any(axis=1).to_numpy())
    split = _splits(root, raw)
    people = person(raw["Sex"], raw["Age"])
    people["age"] /= _DAYS_PER_YEAR
    uid = raw["UID"]
    folder = next(
        (name for image in uid.iloc[:100] for name in _FOLDERS if (root / name / f"{image}.png").is_file()), "data"
    )
    columns = base_columns(
        image_id=uid,
        patient_id=raw["PatientID"],
        study_id=uid,
        split=split.where(split.isin(SPLITS), ""),
        view="AP",
        **people,
        path=f"{folder}/" + uid + ".png",
    )
    columns |= states
    columns |= unknown_words(split, SPLITS, "split")
    return pd.DataFrame(columns | ({FAULT: fault} if (fault != "").any() else {})).reset_index(drop=True)


def _splits(root: Path, raw: pd.DataFrame) -> "pd.Series[str]":
    """Return the official split of each image, "" if no table states the splits."""
    path = find(root, *(f"{place}split.csv" for place in _PLACES))
    if path is None or "Split" in raw:
        return raw["Split"] if "Split" in raw else pd.Series("", raw.index)
    splits = read_text(path, ["UID", "Split"]).drop_duplicates("UID")
    require_match(raw["UID"], splits["UID"], "splits", path)
    return splits.set_index("UID")["Split"].reindex(raw["UID"]).fillna("").set_axis(raw.index)
