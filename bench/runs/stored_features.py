"""Read the stored features of a run, and fit the distances of new images to them. This module does not import torch.

Features are a vector for each of some images of a cohort, which the network computed.
Legend: F images with stored features, D features.
"""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.image_distances import ImageDistances
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from harmonize.errors import StoreError

NO_FEATURES = "there are no stored features of internal images"


def features_file(cohort: str) -> str:
    """Return the name of the file with a cohort's features, relative to the folder of the run."""
    return f"features/{cohort}.npz"


def read_features(folder: CheckedFolder, cohort: str) -> tuple[NDArray[np.float16], NDArray[Any]]:
    """Return the stored features [F, D] of a cohort, and the patient id [F] of each image.

    Raises StoreError for a file that is missing or damaged, or differs from its checksum.
    """
    name = features_file(cohort)
    content = folder.read(name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return stored["feature"], stored["patient_id"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        fix = "run the grid again with `bench run`: it makes missing files again"
        raise StoreError(f"cannot read the features: {error}", str(folder.path / name), fix) from error


def run_with_features(store: Store, run_id: str, cohort: str) -> str:
    """Return the id of the run whose features measure distances: the run itself, or the first run that it combines.

    The result is "" if none of these runs has stored features of the cohort.
    """
    if (store.run_dir(run_id) / features_file(cohort)).is_file():
        return run_id
    sources = store.read_json(run_id[:2], run_id, "run.json").get("sources", ())
    return next(filter(None, (run_with_features(store, str(source), cohort) for source in sources)), "")


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
