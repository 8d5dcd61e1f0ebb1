"""The reference histogram of a run: learned from the internal training images only, and stored with the run.

The preprocessing ops histstd and histmatch adapt every image to this reference.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.histograms import Reference, learn
from bench.planning.image_caches import open_images
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.store.checked_folders import REFERENCE, CheckedFolder
from bench.store.store import Store, canonical_json, write_bytes
from harmonize.cache.cache import ImageCache
from harmonize.errors import DatasetError, StoreError

_BATCH = 64


def reference(run: RunSpec, store: Store, internal: CohortRef, folder: Path) -> Reference:
    """Return the histogram reference of the run: {preprocessing op: numbers}, {} if no op needs a reference.

    An existing reference is read from `folder`, the run's folder. A missing reference is learned on the internal
    training images and written into `folder`; learning again gives the same numbers. Raises DatasetError if the
    images do not suffice: for histstd, no image has any contrast; for histmatch, all pixels are padding.
    """
    op = run.histogram_op
    if op is None:
        return {}
    path = folder / REFERENCE
    if path.is_file():
        return stored_reference(run, folder)
    table, cache = internal.read(), open_images(store, internal, run.geometry)
    rows = cache.rows(table.loc[internal.split_of(table, run.config) == "train", "image_id"])
    try:
        learned = {op: learn(op, _batches(cache, rows[rows >= 0]), padded=run.padded)}
    except ValueError as error:
        fix = "check the images with `bench data stats`, or choose another preprocessing"
        raise DatasetError(
            f"{op} cannot learn from the internal cohort {internal.name}: {error}", str(internal.root), fix
        ) from error
    write_bytes(path, canonical_json(learned))
    return learned


def stored_reference(run: RunSpec, folder: Path) -> Reference:
    """Return the histogram reference in the run's folder: {preprocessing op: numbers}, {} if no op needs a reference.

    Raises StoreError if the reference is missing or damaged.
    """
    op = run.histogram_op
    if op is None:
        return {}
    try:
        stored: list[float] = json.loads(CheckedFolder(folder).read(REFERENCE))[op]
    except (OSError, ValueError, KeyError) as error:
        fix = "run the grid again with `bench run`: it makes missing files again"
        raise StoreError(
            f"the histogram reference of {op} is missing or damaged", str(folder / REFERENCE), fix
        ) from error
    return {op: stored}


def _batches(cache: ImageCache, rows: NDArray[np.int64]) -> Iterator[Tensor]:
    for start in range(0, len(rows), _BATCH):
        yield torch.from_numpy(cache.images[rows[start : start + _BATCH]])
