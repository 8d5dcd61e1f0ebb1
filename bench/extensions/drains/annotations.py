"""Read the chest drains that NEATX annotated in PadChest, and keep them in a store.

`Annotations_aggregated.csv` of https://github.com/purrlab/chestxr-label-reliability has ImageID and Chest_drain: 1 drain, 0 no
drain, -1 the two annotators disagree. Source: Cheplygina et al. 2025, doi:10.5281/zenodo.14944064, arXiv:2309.02244.
Its table of NIH is not read: no file and no description of its columns was at hand.
"""

from pathlib import Path

import pandas as pd

from bench.store.file_integrity import bytes_sha256, json_object
from bench.store.store import Store, canonical_json, write_bytes
from harmonize.datasets.csvfile import find, read_text, require_whole
from harmonize.datasets.ids import require_match
from harmonize.errors import DatasetError, StoreError

FOLDER = KEY = "drains"
LAYOUT, TABLE = "padchest", "Annotations_aggregated.csv"
_STATES = {"1": True, "0": False, "-1": None}


def read_drains(root: Path, image_ids: "pd.Series[str]") -> dict[str, bool]:
    """Return {image id: whether the image has a drain} of the annotated images, {} without a table.

    The table is in the folder of PadChest, or in a folder NEATX in or beside it. Raises DatasetError for another value, an image with
    two rows that differ, and a table without any of the images.
    """
    path = next((p for folder in (root / "NEATX", root.parent / "NEATX", root) if (p := find(folder, TABLE))), None)
    if path is None:
        return {}
    rows = read_text(path, ["ImageID", "Chest_drain"])
    require_whole(rows, path)
    require_match(image_ids, rows["ImageID"], "chest drains", path, may_be_few=True)
    wrong = rows[~rows["Chest_drain"].isin(list(_STATES))]
    if len(wrong):
        what = f"line {wrong.index[0]}: Chest_drain is {wrong['Chest_drain'].iloc[0]!r}"
        raise DatasetError(what, str(path), "use the table as published: 1, 0 or -1")
    distinct = rows[["ImageID", "Chest_drain"]].drop_duplicates()
    repeated = distinct[distinct["ImageID"].duplicated()]
    if len(repeated):
        what = f"line {repeated.index[0]}: {repeated['ImageID'].iloc[0]} has another value in an earlier line"
        raise DatasetError(what, str(path), "keep one row of each image")
    states = zip(distinct["ImageID"], distinct["Chest_drain"].map(_STATES), strict=True)
    known = set(image_ids)
    return {image: bool(state) for image, state in states if state is not None and image in known}


def write_drains(store: Store, drains: dict[str, bool]) -> str:
    """Write the drains of a cohort as drains/<hash>.json, readable by the owner only; return the hash."""
    content = canonical_json(drains)
    name = bytes_sha256(content)[:24]
    write_bytes(store.root / FOLDER / f"{name}.json", content, mode=0o600)
    return name


def stored_drains(store: Store, name: str) -> dict[str, bool]:
    """Return {image id: whether it has a drain}. Raises StoreError if the file is missing, damaged or changed."""
    path = store.root / FOLDER / f"{name}.json"
    try:
        drains = json_object(path)
    except (OSError, ValueError) as error:
        raise StoreError.unreadable(path, error) from error
    if bytes_sha256(canonical_json(drains))[:24] != name:
        raise StoreError("the annotated drains changed", str(path), "run the grid again with its data")
    return drains
