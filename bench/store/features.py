"""Read the features of a run: a vector for each of some images of a cohort, which the network computed.

Legend: F images with stored features, D features.
"""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.store.checked_folders import CheckedFolder
from harmonize.errors import StoreError


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
