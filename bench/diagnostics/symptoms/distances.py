"""Name the external hospitals whose images are far from the internal images, in the space of the run's features."""

from collections.abc import Iterator

from bench.diagnostics.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.runs.internal_images import NO_FEATURES, fitted_distances, run_with_features
from bench.scoring.image_distances import DEFAULT, FAR, METHODS
from bench.store.checked_folders import CheckedFolder
from bench.store.features import features_file, read_features
from harmonize.checks.release import Check

_MIN_SHARE = 0.05  # minimum share of far images; about 1 % of new internal images are far
_MIN_FAR = 3  # minimum number of far images; in a small cohort, one image can be 5 %


def distance_notes(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield a note if many images of an external hospital are far, or if the distances are not available.

    An image is far if its distance is beyond the 99th percentile of internal validation images. For a TTA, an ensemble or a
    panel, the features are those of the first run with features. `where`: text such as "run 3fa94c1e02bd".
    """
    internal = next(cohort.name for cohort in manifest.cohorts if cohort.role == "internal")
    measuring = run_with_features(manifest.store, run_id, internal)
    folder = CheckedFolder(manifest.store.run_dir(measuring or run_id))
    distances = fitted_distances(folder, internal) if measuring else NO_FEATURES
    if isinstance(distances, str):
        yield Check("", f"{where}: distances of images", "note", "", f"not available ({distances})")
        return
    observations = []
    for name in (cohort.name for cohort in manifest.cohorts if cohort.role != "internal"):
        if not (folder.path / features_file(name)).is_file():
            continue
        far_N = distances.percentiles(read_features(folder, name)[0])[:, METHODS.index(DEFAULT)] > FAR
        if far_N.sum() >= _MIN_FAR and far_N.mean() >= _MIN_SHARE:
            observations.append(f"{name}, {100 * far_N.mean():.0f} % of {len(far_N):,} images")
    if not observations:
        return
    causes = (
        "images differ from those of the internal hospital (scanner, view, age, cropping): look at some, and expect a lower AUROC until it is measured",
        "files are read wrongly there (inverted, wrong window, not chest radiographs): `bench check --data DATA`",
    )
    observation = f"beyond the {FAR:.0f}th percentile of internal images (expected 1 %): {'; '.join(observations)}"
    yield symptom(where, "images far from the internal images", "note", observation, causes)
