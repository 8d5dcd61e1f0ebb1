"""Assign patients to train, val and test: by official splits, else by a hash of the patient id.

The hash has no salt and depends on the patient id only, so a patient keeps its split when rows are added.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from harmonize.datasets.ids import WRITE_ALIKE, alike, look_alike
from harmonize.errors import DatasetError


def position(patient_id: str) -> float:
    """Return the hash of a patient id as a number in [0, 1), the same on every machine.

    >>> round(position("patient00001"), 6)
    0.373118
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:6], "big") / 2**48


def assign(table: pd.DataFrame, shares: Mapping[str, float]) -> pd.Series:
    """Return the split of each row: the official split, or a split that the hash of the patient id selects.

    `shares` maps train, val and test to their shares of patients. Official splits keep their names (also expert_valid
    and expert_test). If a split of `shares` is not an official split, some patients move from "train" to this split, in
    proportion to the shares. Without official splits, all patients are distributed. Every patient is in one split. If
    only some rows have an official split, each other row gets the split of its patient, or "train" if the patient has
    none.
    """
    if any(share < 0 for share in shares.values()) or not sum(shares.values()) > 0:
        raise ValueError(f"shares must be non-negative with a positive sum, not {dict(shares)}")
    split = table["split"].astype(object)
    if (split != "").any():
        official = table.loc[split != "", ["patient_id", "split"]].drop_duplicates("patient_id")
        split_by_patient = official.set_index("patient_id")["split"].astype(object)
        split = split.where(split != "", table["patient_id"].map(split_by_patient).fillna("train"))
    else:
        split = split.where(split != "", "train")
    present = set(table["split"].unique())
    new_splits = {
        name: share for name, share in shares.items() if share > 0 and (name == "train" or name not in present)
    }
    is_train = split == "train"
    if is_train.any() and new_splits:
        codes, patients = pd.factorize(table.loc[is_train, "patient_id"])
        positions = np.array([position(str(patient)) for patient in patients])
        edges = np.cumsum(list(new_splits.values())) / sum(new_splits.values())
        split_of_patient = np.minimum(np.searchsorted(edges, positions, side="right"), len(new_splits) - 1)
        split.loc[is_train] = np.array(list(new_splits), dtype=object)[split_of_patient][codes]
    return split.astype(str).rename("split")


def resampled(table: pd.DataFrame, split: pd.Series, val_share: float, seed: int) -> pd.Series:
    """Return the split with the patients of train and val divided anew: a hash of seed and patient id decides; other splits stay.

    val_share: share of these patients in val. A table without training images, such as that of a bundle, is unchanged.
    """
    drawn = split.isin(("train", "val"))
    if not (split == "train").any():
        return split
    codes, patients = pd.factorize(table.loc[drawn, "patient_id"])
    is_val = np.array([position(f"{seed}/{patient}") for patient in patients]) < val_share
    out = split.copy()
    out.loc[drawn] = np.where(is_val, "val", "train")[codes]
    return out


def refuse_two_splits(table: pd.DataFrame, split: pd.Series, where: str = "cohort table") -> None:
    """Raise DatasetError if a patient is in more than one split; the message has the number of such patients.

    Ids that look alike (see `ids.look`) count as one patient; the message has examples of them, and no other patient id. Rows with
    split "" are ignored.
    """
    pairs = pd.DataFrame({"patient": table["patient_id"], "split": split})
    pairs = pairs[pairs["split"] != ""].drop_duplicates()
    number = int(pairs.loc[pairs["patient"].duplicated(), "patient"].nunique())
    if number:
        fix = "put each patient into one split: correct the split column or files"
        raise DatasetError(f"{number} patients are in more than one split", where, fix)
    # number of splits of each group of ids that look alike; such ids have the same index in `similar`
    similar = alike(pairs["patient"])
    split_of = pairs.set_index("patient")["split"]
    num_splits = split_of.reindex(similar).groupby(similar.index).nunique()
    shared = similar[similar.index.isin(num_splits.index[num_splits > 1])]
    if len(shared):
        raise DatasetError(f"patients are in more than one split: {look_alike(shared)}", where, WRITE_ALIKE)


def rule(shares: Mapping[str, float]) -> str:
    """Return a text that describes how `assign` makes splits, so that other people can make the same splits of the same data.

    >>> rule({"train": 0.8, "val": 0.1, "test": 0.1})[:29]
    'official splits are unchanged'
    """
    splits = ", ".join(f"{name} {share / sum(shares.values()):g}" for name, share in shares.items())
    return (
        "official splits are unchanged; missing splits are taken from train, or from all images if there is no official "
        f"split; order and shares: ({splits}); a patient's split follows from the first 48 bits of SHA-256 of the patient id, "
        "divided by 2^48"
    )
