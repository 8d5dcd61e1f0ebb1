"""Describe the internal images of a run, with which new images are compared: distances of features, usual gray values.

This module does not import torch.
"""

import numpy as np

from bench.planning.run import RunSpec
from bench.scoring.image_distances import ImageDistances
from bench.store.checked_folders import CheckedFolder
from bench.store.features import features_file, read_features
from bench.store.store import Store, table_facts
from harmonize.cache.cache import finished_cache
from harmonize.checks.non_cxr_checks import gray_values, usual_range
from harmonize.errors import StoreError

NO_FEATURES = "there are no stored features of internal images"
_SAMPLE = 400  # number of internal images that define the usual range of gray values


def fitted_distances(folder: CheckedFolder, internal: str) -> ImageDistances | str:
    """Return the distances of the run in a folder, fitted to the stored features of its internal cohort.

    If the distances are not available, a text with the reason is returned instead: the predictions do not need them.
    """
    if not (folder.path / features_file(internal)).is_file():
        return NO_FEATURES
    try:
        return ImageDistances.fit(*read_features(folder, internal))
    except StoreError as error:
        return error.what
    except ValueError as error:
        return str(error)


def usual_gray_values(store: Store, run: RunSpec) -> dict[str, tuple[float, float]]:
    """Return the usual range of each of the `gray_values`, from a sample of the decoded internal images.

    A new image outside this range differs from the training images. The result is {} if the decoded images were deleted.
    """
    internal = run.config.train_on
    facts = table_facts(store.run_dir(run.id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, run.geometry, facts.get("fingerprint", ""))
    if cache is None:
        return {}
    rows = np.flatnonzero((cache.index["reason"] == "").to_numpy())
    chosen = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    if not len(chosen):
        return {}
    return usual_range(gray_values(np.stack([cache.images[row] for row in np.sort(chosen)])))
