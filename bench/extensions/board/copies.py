"""Compare submissions with each other: changed labels of a shared hospital, and copies of another laboratory's runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.manifest import Manifest
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import bytes_sha256


@dataclass(frozen=True, slots=True)
class LabelHashes:
    """The scored rows of a hospital without ids: the hash of each row [N], sorted, and the number of unreadable images."""

    columns: tuple[str, ...]
    rows_N: NDArray[np.uint64]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies the content of a bundle, whatever the numbers of its images and the order of its rows.

    labels: id of the hospital's table -> its rows. logits: (id of the table, hash of the sorted logits) -> run id.
    """

    labels: Mapping[str, LabelHashes]
    logits: Mapping[tuple[str, str], str]


def fingerprint(manifest: Manifest) -> Fingerprint:
    """Return the fingerprint of an opened bundle."""
    labels, logits = {}, {}
    for cohort in manifest.cohorts:
        origin = cohort.origin
        table = manifest.table(cohort).drop(columns=["image_id", "patient_id"])
        columns = tuple(sorted(map(str, table.columns)))
        hashes = pd.util.hash_pandas_object(table[list(columns)].astype(str), index=False)
        labels[origin] = LabelHashes(columns, np.sort(hashes.to_numpy(np.uint64)), cohort.unreadable)
        for run in manifest.run_of.values():
            frame = CheckedFolder(manifest.store.run_dir(run.id)).table(f"predictions/{cohort.name}.parquet")
            names = sorted(name for name in frame.columns if name != "image_id")
            content = frame[names].sort_values(names).to_numpy(np.float32)
            digest = bytes_sha256(repr(names).encode() + content.tobytes())
            logits[origin, digest] = run.id
    return Fingerprint(labels, logits)


def differences(ours: Fingerprint, theirs: Fingerprint, other: str) -> list[str]:
    """Return why a submission cannot stand on a board beside an earlier one; [] if nothing speaks against it.

    `other`: name of the earlier submission.
    """
    out = []
    for origin, labels in ours.labels.items():
        if origin in theirs.labels and (what := _label_difference(labels, theirs.labels[origin])):
            out.append(f"the labels of the hospital with the table {origin} differ from those of {other}: {what}")
    copied = sorted({ours.logits[key] for key in ours.logits.keys() & theirs.logits.keys()})
    if copied:
        out.append(f"the logits of run {', '.join(copied)} are those of the submission {other}: it is a copy")
    return out


def _label_difference(ours: LabelHashes, theirs: LabelHashes) -> str:
    """Return how the rows of two tables of one hospital differ; "" if only unreadable images can explain the difference."""
    if ours.columns != theirs.columns:
        return "they have other columns"
    only_ours, only_theirs = _without(ours.rows_N, theirs.rows_N), _without(theirs.rows_N, ours.rows_N)
    if only_theirs <= ours.unreadable and only_ours <= theirs.unreadable:
        return ""
    return f"{max(only_ours, only_theirs)} images have other labels, or are left out"


def _without(first_N: NDArray[np.uint64], second_N: NDArray[np.uint64]) -> int:
    """Return how many elements of the first array remain if each element of the second removes one equal element."""
    values, counts = np.unique(first_N, return_counts=True)
    others, other_counts = np.unique(second_N, return_counts=True)
    removed = dict(zip(others.tolist(), other_counts.tolist(), strict=True))
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return sum(max(0, count - removed.get(value, 0)) for value, count in pairs)
