"""The same image twice: in two splits, in two datasets, under two patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.checks.release import LEVELS, Check, broken
from harmonize.checks.scan import Scan
from harmonize.cohorts.cohort import Cohort
from harmonize.images.perceptual_hash import near_pairs

MAX_DISTANCE = 4  # of 64 bits
# Radiographs are alike: of 773 from two sources, three pairs of different patients are this near, with correlations
# up to 0.97 at 16 x 16. Copies that were resized, recompressed or mildly changed in tone have more than 0.99.
MIN_CORRELATION = 0.99
CAP = 200  # equal hashes that are paired in full
_EXAMPLES = 3
_BLOCK = 1 << 16  # pairs whose thumbnails are in memory at once


@dataclass(frozen=True, eq=False)
class Looked:
    """A cohort and the scan of its images."""

    cohort: Cohort
    scan: Scan


def check_images(looked: Looked) -> list[Check]:
    """Return the checks of single images of a cohort: unreadable images (fault) and blank images (warning)."""
    name, scan, ids = looked.cohort.name, looked.scan, looked.cohort.table["image_id"].to_numpy(object)
    bad = scan.reason != ""
    total = f"{len(ids):,} images can be read"
    checks = []
    if bad.any():
        first = ", ".join(f"{ids[row]} ({scan.reason[row]})" for row in np.flatnonzero(bad)[:_EXAMPLES])
        number = int(bad.sum())
        level, fix = broken(looked.cohort, number, "download them again; a run leaves them out and counts them")
        checks.append(Check(name, "unreadable images", level, total, f"{number:,} cannot: {first}", fix))
    else:
        checks.append(Check(name, "images", "ok", "", total))
    blank = scan.flat & ~bad
    if blank.any():
        first = ", ".join(map(str, ids[blank][:_EXAMPLES]))
        fix = "look at them; remove what is no radiograph"
        checks.append(Check(name, "blank images", "warning", "none", f"{int(blank.sum()):,} of one gray: {first}", fix))
    return checks


def check_duplicates(all_looked: Sequence[Looked]) -> list[Check]:
    """Return the checks of duplicate images within and across cohorts; one check of level ok if there are none."""
    parts = [_frame(number, looked) for number, looked in enumerate(all_looked)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if rows.empty:
        return []
    contents = np.concatenate([looked.scan.content[_seen(looked)] for looked in all_looked])
    hashes = np.concatenate([looked.scan.hash[_seen(looked)] for looked in all_looked])
    small = np.concatenate([looked.scan.small[_seen(looked)] for looked in all_looked])
    _, content = np.unique(contents, return_inverse=True)
    pairs, crowded = _pairs(content.astype(np.int64), hashes, small)
    first, second = rows.iloc[pairs["first"]].reset_index(drop=True), rows.iloc[pairs["second"]].reset_index(drop=True)
    pairs["one"], pairs["other"] = first["cohort"], second["cohort"]
    pairs["example"] = first["image_id"] + " = " + second["image_id"]
    across = first["cohort"] != second["cohort"]
    same_patient = ~across & (first["patient_id"] == second["patient_id"])
    official = ~across & (first["split"] != second["split"]) & (first["split"] != "") & (second["split"] != "")
    pairs["kind"] = np.select([across, official, same_patient], ["datasets", "splits", "patient"], "patients")
    shared = across & (first["file"] == second["file"])  # one folder under two names
    related = across & (first["root"] == second["root"]) & ~shared  # found within each of the two already
    names = [looked.cohort.name for looked in all_looked]
    checks = _shared_folders(pairs[shared], names)
    for _, group in pairs[~shared & ~related].groupby(["kind", "exact", "one", "other"]):
        checks.append(_check(group, names))
    if crowded:
        found = f"{crowded:,} images are in groups of more than {CAP} alike; not every pair of them was compared"
        checks.append(Check("", "duplicates", "note", "", found))
    if not any(check.level in ("fault", "warning") for check in checks):
        checks.append(
            Check("", "duplicates", "ok", "", f"none across splits, patients or datasets ({len(rows):,} images)")
        )
    return sorted(checks, key=lambda check: LEVELS.index(check.level))


def _seen(looked: Looked) -> NDArray[np.bool_]:
    """Return which images have something to compare."""
    return np.asarray((looked.scan.reason == "") & ~looked.scan.flat, bool)


def _frame(number: int, looked: Looked) -> pd.DataFrame:
    """Return cohort (its number), image_id, patient_id, split, root and file of the images that can be compared."""
    table = looked.cohort.table.loc[_seen(looked), ["image_id", "patient_id", "split", "path"]].astype(object)
    root = str(looked.cohort.root.resolve())
    return table.assign(cohort=number, root=root, file=root + "/" + table["path"])


def _pairs(
    content: NDArray[np.int64], hashes: NDArray[np.uint64], small: NDArray[np.uint8]
) -> tuple[pd.DataFrame, int]:
    """Return (first, second, exact) for all pairs of equal files and of near-duplicates with similar thumbnails."""
    equal = near_pairs(content.astype(np.uint64), 0, CAP)
    near = near_pairs(hashes, MAX_DISTANCE, CAP)
    alike = _correlated(near.first, near.second, small) & (content[near.first] != content[near.second])
    exact = pd.DataFrame({"first": equal.first, "second": equal.second, "exact": True})
    other = pd.DataFrame({"first": near.first[alike], "second": near.second[alike], "exact": False})
    return pd.concat([exact, other], ignore_index=True), max(equal.crowded, near.crowded)


def _correlated(first: NDArray[np.int64], second: NDArray[np.int64], small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pairs of thumbnails [N, 256] have a correlation of MIN_CORRELATION or more."""
    result = np.zeros(len(first), bool)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = (_standard(small[rows[block]]) for rows in (first, second))
        result[block] = (one * other).sum(axis=1) >= MIN_CORRELATION
    return result


def _standard(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return rows of mean 0 and length 1."""
    centred = small.astype(np.float32) - small.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6), np.float32)


def _shared_folders(pairs: pd.DataFrame, names: Sequence[str]) -> list[Check]:
    """Return a note for each two cohorts that read the same files."""
    checks = []
    for _, group in pairs[pairs["exact"]].groupby(["one", "other"]):
        one, other = (names[int(group[side].iloc[0])] for side in ("one", "other"))
        found = f"{len(group):,} images: never train on one and test on the other"
        checks.append(Check(one, f"the same files as {other}", "note", "", found))
    return checks


def _check(group: pd.DataFrame, names: Sequence[str]) -> Check:
    """Return the check of all pairs of one kind."""
    kind, exact = str(group["kind"].iloc[0]), bool(group["exact"].iloc[0])
    one, other = (names[int(group[side].iloc[0])] for side in ("one", "other"))
    where = {
        "datasets": f"in {one} and {other}",
        "splits": "in two splits",
        "patients": "under two patients",
        "patient": "of one patient",
    }[kind]
    grave = "fault" if exact else "warning"
    level = {"datasets": grave, "splits": grave, "patients": "warning", "patient": "note"}[kind]
    images = pd.unique(group[["first", "second"]].to_numpy().ravel())
    examples = "; ".join(group["example"].iloc[:_EXAMPLES])
    fix = {
        "datasets": f"test on neither, or remove them from {other}",
        "splits": "keep each in one split: remove it from training",
        "patients": "look at them: a split by patient cannot keep them together",
        "patient": "",
    }[kind]
    return Check(
        one,
        f"{'identical files' if exact else 'near duplicates'} {where}",
        level,
        "none" if level != "note" else "",
        f"{len(group):,} pairs among {len(images):,} images: {examples}",
        fix,
    )
