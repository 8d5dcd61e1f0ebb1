"""Assign patients to train, val and test: official splits first, else a hash of the patient id.

The hash has no salt and uses no other rows: a patient keeps its split when rows are added.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from harmonize.errors import DatasetError


def position(patient_id: str) -> float:
    """Return the hash position of a patient in [0, 1), equal on every machine.

    >>> round(position("patient00001"), 6)
    0.373118
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:6], "big") / 2**48


def assign(table: pd.DataFrame, shares: Mapping[str, float]) -> pd.Series:
    """Return the split of each row: the official split, or a split cut out of "train" by patient.

    Official splits keep their names, also expert_*. Splits of `shares` that no row has are cut out of "train", in
    proportion to their shares; out of all rows if no row has an official split. Every patient is in one split. Rows
    without a split get the split of their patient, else "train".
    """
    if any(share < 0 for share in shares.values()) or not sum(shares.values()) > 0:
        raise ValueError(f"shares are parts of a whole, not {dict(shares)}")
    split = table["split"].astype(object)
    if (split != "").any():
        official = table.loc[split != "", ["patient_id", "split"]].drop_duplicates("patient_id")
        of_patient = official.set_index("patient_id")["split"].astype(object)
        split = split.where(split != "", table["patient_id"].map(of_patient).fillna("train"))
    else:
        split = split.where(split != "", "train")
    present = set(table["split"].unique())
    parts = {name: share for name, share in shares.items() if share > 0 and (name == "train" or name not in present)}
    pool = split == "train"
    if pool.any() and parts:
        codes, patients = pd.factorize(table.loc[pool, "patient_id"])
        places = np.array([position(str(patient)) for patient in patients])
        edges = np.cumsum(list(parts.values())) / sum(parts.values())
        chosen = np.minimum(np.searchsorted(edges, places, side="right"), len(parts) - 1)
        split.loc[pool] = np.array(list(parts), dtype=object)[chosen][codes]
    return split.astype(str).rename("split")


def shared_patients(table: pd.DataFrame, split: pd.Series, where: str = "cohort table") -> int:
    """Return 0 if no patient is in more than one split; else raise DatasetError with the number of such patients.

    Rows with split "" are ignored. The message holds no patient id.
    """
    pairs = pd.DataFrame({"patient": table["patient_id"], "split": split})
    pairs = pairs[pairs["split"] != ""].drop_duplicates()
    number = int(pairs.loc[pairs["patient"].duplicated(), "patient"].nunique())
    if number:
        fix = "each patient may be in one split only: correct the split column or files"
        raise DatasetError(f"{number} patients are in more than one split", where, fix)
    return 0


def rule(shares: Mapping[str, float]) -> str:
    """Return the rule of `assign` as a sentence from which anyone can make the same split of the same data.

    >>> rule({"train": 0.8, "val": 0.1, "test": 0.1})[:29]
    'official parts as they are; t'
    """
    parts = ", ".join(f"{name} {share / sum(shares.values()):g}" for name, share in shares.items())
    return (
        f"official parts as they are; the parts of ({parts}) that are missing are cut, in this order and in proportion, out of "
        "train (all images where there are no official parts) at the first 48 bits of SHA-256 of the patient id, over 2^48"
    )


def published(table: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """Return the columns split, images and patients: the counts that may be published with the rule."""
    grouped = pd.DataFrame({"split": split, "patient": table["patient_id"]}).groupby("split", sort=True)["patient"]
    return pd.DataFrame({"images": grouped.size(), "patients": grouped.nunique()}).reset_index()
