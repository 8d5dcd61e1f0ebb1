"""Find duplicate images: in two splits, in two datasets, of two patients, or of one patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.checks.frontal_view import wrong_views
from harmonize.checks.non_cxr_checks import gray_values, unusual_gray, usual_range
from harmonize.checks.release import LEVELS, Check, broken
from harmonize.checks.scan import Scan
from harmonize.cohorts.cohort import Cohort
from harmonize.images.image_header import INSTALL_DECODERS
from harmonize.images.perceptual_hash import near_pairs, ranks

MAX_DISTANCE = 4  # two images are near duplicates if at most this many of the 64 bits of their perceptual hashes differ
# Minimum rank correlation of two duplicates at 16 x 16 pixels (`benchmarks/changed_copies.py`): 95 to 100 % of copies that were
# resized, recompressed or got another gray curve without much clipping are above. But the hashes of different
# radiographs can be similar, too: those of 34 of 2.3 million pairs from four sources. The correlations of all 34 are
# below this value.
MIN_CORRELATION = 0.99
CAP = 200  # if more than this number of images have the same hash, not all of their pairs are compared
_EXAMPLES = 3
_BLOCK = 1 << 13  # number of pairs that are compared at once; more pairs need more memory


@dataclass(frozen=True, eq=False)
class ScannedCohort:
    """A cohort and the scan of its images."""

    cohort: Cohort
    scan: Scan


def check_images(scanned: ScannedCohort) -> list[Check]:
    """Return a check of unreadable images and, if there are any, warnings about blank and about unusual images.

    The gray values of an image are compared with those of all images of the cohort, and its view with a fixed description.
    """
    name = scanned.cohort.name
    scan = scanned.scan
    ids = scanned.cohort.table["image_id"].to_numpy(object)
    unreadable = scan.reason != ""
    total = f"all {len(ids):,} images can be read"
    checks = []
    if unreadable.any():
        examples = ", ".join(f"{ids[row]} ({scan.reason[row]})" for row in np.flatnonzero(unreadable)[:_EXAMPLES])
        number = int(unreadable.sum())
        lacks_decoder = [INSTALL_DECODERS in reason for reason in scan.reason[unreadable]]
        remedy = "download these images again"
        if any(lacks_decoder):
            remedy = INSTALL_DECODERS if all(lacks_decoder) else f"{INSTALL_DECODERS}; download the other images again"
        level, fix = broken(scanned.cohort, number, f"{remedy}; a run excludes unreadable images and counts them")
        checks.append(Check(name, "unreadable images", level, total, f"{number:,} cannot be read: {examples}", fix))
    else:
        checks.append(Check(name, "images", "ok", "", total))
    is_blank = scan.flat & ~unreadable
    if is_blank.any():
        examples = ", ".join(map(str, ids[is_blank][:_EXAMPLES]))
        fix = "look at these images; remove those that are no radiographs"
        found = f"{int(is_blank.sum()):,} images of one gray value: {examples}"
        checks.append(Check(name, "blank images", "warning", "none", found, fix))
    values = gray_values(scan.small)
    usual = usual_range({name: value[_comparable(scanned)] for name, value in values.items()})
    unusual = unusual_gray(values, usual, f"images of {name}")
    views = np.where(scanned.cohort.table["view"] == "LATERAL", "", np.array(wrong_views(scan.small), object))
    for what, remarks, fix in (
        ("unlike radiographs", scan.remark, "look at these images; remove those that are no frontal chest radiographs"),
        (
            "unusual gray levels",
            np.array(["; ".join(remark) for remark in unusual], object),
            "look at these images: the gray scale of their files may be wrong",
        ),
        ("unlike frontal radiographs", views, "look at these images, and turn or invert those that are wrong"),
    ):
        rows = np.flatnonzero((remarks != "") & _comparable(scanned))
        if len(rows):
            examples = "; ".join(f"{ids[row]} ({remarks[row]})" for row in rows[:_EXAMPLES])
            noun = "image" if len(rows) == 1 else "images"
            checks.append(Check(name, what, "warning", "none", f"{len(rows):,} {noun}: {examples}", fix))
    return checks


def check_duplicates(cohorts: Sequence[ScannedCohort]) -> list[Check]:
    """Return the checks of duplicate images, within and across cohorts.

    If no check has the level fault or warning, a check of level ok is added.
    """
    tables = [_comparable_rows(number, scanned) for number, scanned in enumerate(cohorts)]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if rows.empty:
        return []
    contents = np.concatenate([scanned.scan.content[_comparable(scanned)] for scanned in cohorts])
    hashes = np.concatenate([scanned.scan.hash[_comparable(scanned)] for scanned in cohorts])
    thumbnails = np.concatenate([scanned.scan.small[_comparable(scanned)] for scanned in cohorts])
    _, content_code = np.unique(contents, return_inverse=True)
    pairs, crowded = _pairs(content_code.astype(np.int64), hashes, thumbnails)
    first, second = rows.iloc[pairs["first"]].reset_index(drop=True), rows.iloc[pairs["second"]].reset_index(drop=True)
    pairs["one"], pairs["other"] = first["cohort"], second["cohort"]
    pairs["example"] = first["image_id"] + " = " + second["image_id"]
    across = first["cohort"] != second["cohort"]
    same_patient = ~across & (first["patient_id"] == second["patient_id"])
    across_splits = ~across & (first["split"] != second["split"]) & (first["split"] != "") & (second["split"] != "")
    pairs["kind"] = np.select([across, across_splits, same_patient], ["datasets", "splits", "patient"], "patients")
    same_file = across & (first["file"] == second["file"])  # two cohorts contain the same file
    # If two cohorts have the same folder, pairs of two different files across them are left out. The pair
    # is reported within a cohort that has both files.
    same_folder = across & (first["root"] == second["root"]) & ~same_file
    names = [scanned.cohort.name for scanned in cohorts]
    checks = _shared_folders(pairs[same_file], names)
    for _, group in pairs[~same_file & ~same_folder].groupby(["kind", "exact", "one", "other"]):
        checks.append(_check(group, names))
    if crowded:
        result = (
            f"{crowded:,} images are in groups of more than {CAP} similar images; not all of their pairs were compared"
        )
        checks.append(Check("", "duplicates", "note", "", result))
    if not any(check.level in ("fault", "warning") for check in checks):
        checks.append(
            Check("", "duplicates", "ok", "", f"none across splits, patients or datasets ({len(rows):,} images)")
        )
    return sorted(checks, key=lambda check: LEVELS.index(check.level))


def _comparable(scanned: ScannedCohort) -> NDArray[np.bool_]:
    """Return the mask of images that are readable and not blank; only such images are compared."""
    return np.asarray((scanned.scan.reason == "") & ~scanned.scan.flat, bool)


def _comparable_rows(number: int, scanned: ScannedCohort) -> pd.DataFrame:
    """Return a table of the compared images: cohort (a number), image_id, patient_id, split, root and file."""
    table = scanned.cohort.table.loc[_comparable(scanned), ["image_id", "patient_id", "split", "path"]].astype(object)
    root = str(scanned.cohort.root.resolve())
    return table.assign(cohort=number, root=root, file=root + "/" + table["path"])


def _pairs(
    content: NDArray[np.int64], hashes: NDArray[np.uint64], small: NDArray[np.uint8]
) -> tuple[pd.DataFrame, int]:
    """Return a table of all pairs of duplicates, and the number of images whose pairs were not all compared.

    Columns: first and second, the positions of two images in the arrays; exact, True for equal files and False for near
    duplicates. For each image, `content` has a number that is equal for equal files, `hashes` the perceptual hash, and
    `small` the thumbnail.
    """
    equal_files = near_pairs(content.astype(np.uint64), 0, CAP)
    near_hashes = near_pairs(hashes, MAX_DISTANCE, CAP)
    similar = are_correlated(near_hashes.first, near_hashes.second, small) & (
        content[near_hashes.first] != content[near_hashes.second]
    )
    exact_table = pd.DataFrame({"first": equal_files.first, "second": equal_files.second, "exact": True})
    near_table = pd.DataFrame(
        {"first": near_hashes.first[similar], "second": near_hashes.second[similar], "exact": False}
    )
    return pd.concat([exact_table, near_table], ignore_index=True), max(equal_files.crowded, near_hashes.crowded)


def are_correlated(
    first: NDArray[np.int64], second: NDArray[np.int64], thumbnails: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Return the mask of pairs with a rank correlation of at least MIN_CORRELATION between their thumbnails.

    The pair k has the rows first[k] and second[k] of `thumbnails`, uint8 [N images, 256 pixels].
    """
    is_correlated = np.zeros(len(first), bool)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = (thumbnails[rows[block]] for rows in (first, second))
        is_correlated[block] = correlations(left, right) >= MIN_CORRELATION
    return is_correlated


def correlations(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return N rank correlations (Spearman): row k of `left` with row k of `right`, both uint8 [N, P pixels]."""
    return np.asarray((_standardized(left) * _standardized(right)).sum(axis=1), np.float32)


def _standardized(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the ranks of each row's pixels, shifted and scaled to mean 0 and Euclidean norm 1."""
    rank = ranks(thumbnails)
    centered = rank - (rank.shape[1] - 1) / 2
    return np.asarray(centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6), np.float32)


def _shared_folders(pairs: pd.DataFrame, names: Sequence[str]) -> list[Check]:
    """Return a check of level note for each pair of cohorts that contain the same files."""
    checks = []
    for _, group in pairs[pairs["exact"]].groupby(["one", "other"]):
        cohort, other_cohort = (names[int(group[side].iloc[0])] for side in ("one", "other"))
        result = f"{len(group):,} images: never train on one cohort and test on the other"
        checks.append(Check(cohort, f"same files as {other_cohort}", "note", "", result))
    return checks


def _check(group: pd.DataFrame, names: Sequence[str]) -> Check:
    """Return the check that reports the pairs in `group`; all have the same kind, `exact` and cohorts."""
    kind, exact = str(group["kind"].iloc[0]), bool(group["exact"].iloc[0])
    cohort, other_cohort = (names[int(group[side].iloc[0])] for side in ("one", "other"))
    location = {
        "datasets": f"in {cohort} and {other_cohort}",
        "splits": "in two splits",
        "patients": "under two patients",
        "patient": "of one patient",
    }[kind]
    severe = "fault" if exact else "warning"
    level = {"datasets": severe, "splits": severe, "patients": "warning", "patient": "note"}[kind]
    images = pd.unique(group[["first", "second"]].to_numpy().ravel())
    examples = "; ".join(group["example"].iloc[:_EXAMPLES])
    fix = {
        "datasets": f"do not test on these cohorts, or remove the images from {other_cohort}",
        "splits": "remove these images from the training split",
        "patients": "look at these images: a split by patient may put copies into different splits",
        "patient": "",
    }[kind]
    return Check(
        cohort,
        f"{'identical files' if exact else 'near duplicates'} {location}",
        level,
        "none" if level != "note" else "",
        f"{len(group):,} pairs among {len(images):,} images: {examples}",
        fix,
    )
