"""Fit the distances of new images to the stored features of a run. This module does not import torch."""

from bench.scoring.image_distances import ImageDistances
from bench.store.checked_folders import CheckedFolder
from bench.store.features import features_file, read_features
from bench.store.store import Store
from harmonize.errors import StoreError

NO_FEATURES = "there are no stored features of internal images"


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
