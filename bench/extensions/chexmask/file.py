"""Read the tables of CheXmask: masks of lungs and heart of the images of five datasets.

A table has one row for each image: the image id (its column has the name of the dataset's own tables), Dice RCA (Mean), Dice RCA
(Max), Landmarks, Left Lung, Right Lung, Heart, Height, Width. A mask has run lengths "start length start length ...", row by row;
the first pixel is 1. Dice RCA (Mean) estimates the quality of a mask; its authors advise masks from .7 on.
Source: arXiv:2307.03293; https://github.com/ngaggion/CheXmask-Database, DataPostprocessing/utils.py and Example.ipynb.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets.csvfile import find, header
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import FIT, HEART, LUNGS, frame_misfit
from harmonize.images.limits import MAX_PIXELS

Mask = NDArray[np.bool_]
QUALITY = 0.7
TABLES = {  # dataset layout -> name of its table, and the column with the image id
    "chexpert": ("CheXpert.csv", "Path"),
    "mimic": ("MIMIC-CXR-JPG.csv", "dicom_id"),
    "nih": ("ChestX-Ray8.csv", "Image Index"),
    "padchest": ("Padchest.csv", "ImageID"),
    "vindr": ("VinDr-CXR.csv", "image_id"),
}
RCA, LEFT, RIGHT, OF_HEART, HEIGHT, WIDTH = "Dice RCA (Mean)", "Left Lung", "Right Lung", "Heart", "Height", "Width"
COLUMNS = (RCA, LEFT, RIGHT, OF_HEART, HEIGHT, WIDTH)
_CHUNK = 2000  # rows; a row of an image in full size has about 100 kB
_FIX = "download the table of OriginalResolution again"


@dataclass(frozen=True, slots=True)
class EncodedMasks:
    """The run lengths of an image's masks with their size (height, width), and the row that they are from."""

    frame: tuple[int, int]
    lungs: tuple[str, str]  # left, right
    heart: str
    where: str  # file and row, for errors

    def masks(self, size: tuple[int, int]) -> dict[str, Mask]:
        """Return the masks [H, W] of lungs and heart; empty masks are left out.

        `size`: (height, width) of the image file, which may be a resized copy. Raises DatasetError for an image of another shape
        and for damaged run lengths.
        """
        if misfit := frame_misfit("masks", self.frame, size):
            raise DatasetError(misfit, self.where, f"use the table of OriginalResolution; {FIT}")
        left, right = (decode(runs, self.frame, self.where) for runs in self.lungs)
        masks = {LUNGS: left | right, HEART: decode(self.heart, self.frame, self.where)}
        return {name: mask for name, mask in masks.items() if mask.any()}


def find_table(layout: str, root: Path) -> Path | None:
    """Return the path of a dataset's table, in its folder, or in a folder CheXmask in or beside it; None if there is none."""
    if layout not in TABLES:
        return None
    name, _ = TABLES[layout]
    for folder in (root / "CheXmask", root.parent / "CheXmask", root):
        if path := find(folder, f"OriginalResolution/{name}", name):
            return path
    return None


def read_masks(layout: str, path: Path, image_ids: Collection[str]) -> dict[str, EncodedMasks]:
    """Return the masks of these images with a quality of at least QUALITY, by image id; the table is read once, in chunks.

    Raises DatasetError for a missing column, a row without numbers, an image with two rows, and a table without any of the images
    (if there are at least 20).
    """
    column, wanted = TABLES[layout][1], set(image_ids)
    for name in (column, *COLUMNS):
        if name not in header(path):
            fix = f"use the table as published; {DatasetError.suggestion(name, header(path))}"
            raise DatasetError(f"no column {name!r}", str(path), fix)
    found: dict[str, EncodedMasks] = {}
    first, listed = "", 0
    try:
        options: dict[str, Any] = {
            "usecols": [column, *COLUMNS],
            "dtype": str,
            "keep_default_na": False,
            "chunksize": _CHUNK,
        }
        for chunk in pd.read_csv(path, **options):
            ids = _image_ids(layout, chunk[column])
            first = first or str(chunk[column].iloc[0])
            rows = ids.isin(wanted)
            listed += int(rows.sum())
            for image_id, (row, cells) in zip(ids[rows], chunk[rows].iterrows(), strict=True):
                where = f"{path}: row {row + 2:,} ({cells[column]})"
                if image_id in found:
                    raise DatasetError("the image has two rows", where, "keep one row of each image")
                if (encoded := _encoded(cells, where)) is not None:
                    found[image_id] = encoded
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f"not a readable table: {error}", str(path), _FIX) from error
    if not listed and len(wanted) >= 20:  # a few images can be missing by chance
        what = f"none of {len(wanted)} images is in the table, such as {min(wanted)!r}; it has {first!r}"
        raise DatasetError(what, str(path), "use the table of this dataset, and images with their published names")
    return found


def _image_ids(layout: str, ids: "pd.Series[str]") -> "pd.Series[str]":
    """Return the image ids of this program: CheXpert's is the path without its first folder and its ending."""
    if layout != "chexpert":
        return ids.str.strip()
    path = ids.str.strip().str.replace(r"^(CheXpert-v1\.0(-small)?/)?\w+/", "", regex=True)
    return path.str.replace(r"\.\w+$", "", regex=True).str.replace("/", "_")


def _encoded(cells: "pd.Series[str]", where: str) -> EncodedMasks | None:
    """Return the masks of a row; None if their quality is too low or their size is blank. Raises DatasetError for a wrong number."""
    numbers = [pd.to_numeric(cells[name], errors="coerce") for name in (RCA, HEIGHT, WIDTH)]
    quality, height, width = map(float, numbers)
    if quality < QUALITY or not (cells[HEIGHT] and cells[WIDTH]):  # the authors' rows of PadChest have blank sizes
        return None
    if not (quality <= 1 and height >= 1 and width >= 1 and height * width <= MAX_PIXELS):
        found = ", ".join(f"{name} {cells[name]!r}" for name in (RCA, HEIGHT, WIDTH))
        raise DatasetError(f"invalid numbers: {found}", where, _FIX)
    return EncodedMasks((int(height), int(width)), (cells[LEFT], cells[RIGHT]), cells[OF_HEART], where)


def decode(runs: str, frame: tuple[int, int], where: str = "mask") -> Mask:
    """Return the mask [H, W] of "start length ..." run lengths, row by row. Raises DatasetError for damaged run lengths.

    >>> decode("2 2 6 1", (2, 3)).astype(int).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    size = frame[0] * frame[1]
    try:
        numbers = np.array(runs.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"damaged run lengths: {error}", where, _FIX) from error
    start, length = numbers[::2] - 1, numbers[1::2]
    if len(start) != len(length) or (start < 0).any() or (length < 0).any() or (length > size - start).any():
        raise DatasetError("damaged run lengths: a run ends outside of the mask", where, _FIX)
    change = np.zeros(size + 1, np.int32)
    np.add.at(change, start, 1)
    np.add.at(change, start + length, -1)
    return (np.cumsum(change[:-1]) > 0).reshape(frame)
