"""Predict new images with a stored run, using its preprocessing, calibration and thresholds.

    from bench.runs.image_paths import images_of
    from bench.runs.new_images import infer, load
    stored = load(Store.open(Path("runs"), create=False), "3fa9")
    inference = infer(stored, images_of([Path("inbox/")]))
    inference.table      # one row per image and finding
    inference.skipped    # image, reason

A prediction needs the folder of the run and, for thresholds and calibration, its scores. A TTA, an ensemble or a panel
also needs the folders of the runs that it combines. Nothing is fitted to the new images. For research, not for clinical
use.

Legend: N images, K findings, S side in pixels, X columns of distances, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.inputs.batches import BatchReader
from bench.models.predict import images_per_pass
from bench.runs.elsewhere import ELSEWHERE
from bench.runs.stored_run import STANDARD_RULE, StoredRun, load, logits_and_features
from bench.scoring.calibrators import Platt
from bench.scoring.image_distances import DEFAULT, FAR, METHODS, ImageDistances
from harmonize.checks.frontal_view import wrong_views
from harmonize.checks.non_cxr_checks import gray_values, unlike_radiograph, unusual_gray
from harmonize.images.image_header import ImageFile, UnreadableImage
from harmonize.images.perceptual_hash import smaller, thumbnail
from harmonize.images.pixels import Geometry, fit_to_square, read_radiograph, region
from harmonize.progress import Progress

# threshold rules; the thresholds are chosen on `val` at the internal hospital
RULES = ("f1_max", "youden", "sens_90", "f1_grid")
# the percentile of the default distance, then the percentiles of all distances
DISTANCES = ("distance", *(f"distance_{method}" for method in METHODS))
COLUMNS = (
    *("image", "finding", "logit", "probability", "calibrated"),
    *(f"call_{rule}" for rule in RULES),
    *(f"threshold_{rule}" for rule in RULES),
    *DISTANCES,
    "warnings",
    *ELSEWHERE[1:],
)
_TOGETHER = 64  # number of images decoded at a time
_FAR_IMAGE = f"the image is far from the images of the internal hospital (beyond the {FAR:.0f}th percentile)"


@dataclass(frozen=True, eq=False)
class Inference:
    """Predictions. `table` has the columns COLUMNS and one row per image and finding.

    The columns `call_*` are 1 (positive), 0 (negative), or NaN without a threshold; `threshold_*` are probabilities.
    The columns DISTANCES are percentiles of internal validation images, from 0 to 100; all are NaN if the run has no distances. The columns of
    `bench.runs.elsewhere.ELSEWHERE` are the same for all images; NaN if nothing is known of the run at external hospitals.
    """

    run_id: str
    table: pd.DataFrame
    skipped: pd.DataFrame  # image, reason
    synthetic: bool = False  # whether the training images of the run are synthetic
    measured_by: str = ""  # id of the trained run whose features measure the distances
    num_validation: int = 0  # number of internal validation images behind the percentiles
    no_distances: str = ""  # the reason why the run has no distances, "" if it has
    threshold: str = STANDARD_RULE  # threshold rule of the grid

    @property
    def num_images(self) -> int:
        """Return the number of predicted images."""
        return int(self.table["image"].nunique())


def infer(stored: StoredRun, paths: Sequence[ImageFile], progress: Progress | None = None) -> Inference:
    """Predict image files. Unusable files are skipped and listed with the reason.

    The column `warnings` says how an image differs from the training images; predictions for such an image are less
    reliable. The use of memory does not grow with the number of images.
    """
    measuring = stored.measuring
    distances = stored.networks[0].fitted if measuring is None else measuring.fitted
    frames: list[pd.DataFrame] = []
    skipped: list[tuple[str, str]] = []
    # the first network of each geometry
    network_by_geometry = {network.geometry: network for network in reversed(stored.networks)}
    together = images_per_pass(_TOGETHER, max(geometry.size for geometry in network_by_geometry))
    for start in range(0, len(paths), together):
        names: list[str] = []
        warnings: list[str] = []
        pixels: dict[Geometry, list[NDArray[np.uint8]]] = {geometry: [] for geometry in network_by_geometry}
        for path in paths[start : start + together]:
            name = str(path).encode(errors="backslashreplace").decode()  # a table has only names that are UTF-8
            try:
                decoded = {form: _decoded(path, network) for form, network in network_by_geometry.items()}
            except UnreadableImage as error:
                skipped.append((name, str(error)))
                continue
            names.append(name)
            for form, (image, _) in decoded.items():
                pixels[form].append(image)
            warnings.append("; ".join(dict.fromkeys(line for _, unusual in decoded.values() for line in unusual)))
        if names:
            rows = np.arange(len(names), dtype=np.int64)
            readers = {form: BatchReader(np.stack(images), stored.device) for form, images in pixels.items()}
            images = {form: (reader, rows) for form, reader in readers.items()}.__getitem__
            logit_NK, feature_ND = logits_and_features(stored, images)
            percentile_NX = _percentiles(distances, feature_ND, len(names))
            for i in np.flatnonzero(percentile_NX[:, 0] > FAR):
                warnings[i] = f"{warnings[i]}; {_FAR_IMAGE}" if warnings[i] else _FAR_IMAGE
            frames.append(_frame(stored, names, logit_NK, percentile_NX, warnings))
        if progress:
            progress("predict", min(start + together, len(paths)), len(paths))
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    unusable = pd.DataFrame(skipped, columns=["image", "reason"])
    if measuring is None or isinstance(distances, str):
        return Inference(
            stored.id, table, unusable, stored.synthetic, no_distances=str(distances), threshold=stored.threshold
        )
    of_distances = measuring.id, distances.num_validation
    return Inference(stored.id, table, unusable, stored.synthetic, *of_distances, threshold=stored.threshold)


def _percentiles(
    distances: ImageDistances | str, feature_ND: NDArray[np.float16] | None, num_images: int
) -> NDArray[np.float64]:
    """Return the columns DISTANCES of N images, [N, len(DISTANCES)]; NaN if the run has no distances."""
    if feature_ND is None or isinstance(distances, str):
        return np.full((num_images, len(DISTANCES)), np.nan)
    percentile_N3 = distances.percentiles(feature_ND)
    return np.column_stack([percentile_N3[:, METHODS.index(DEFAULT)], percentile_N3])


def _decoded(path: ImageFile, stored: StoredRun) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the pixels [S, S] of a file for a trained run, and warnings about the file.

    Raises UnreadableImage when the file cannot be used.
    """
    gray = read_radiograph(path, stored.geometry.decode_at)
    cropped, fell_back = region(gray, stored.geometry)
    image = fit_to_square(cropped, stored.geometry)
    warnings = unlike_radiograph(path, gray)
    if min(cropped.shape) < stored.geometry.size:
        warnings.append(f"enlarged from {min(cropped.shape)} to {stored.geometry.size} pixels")
    if fell_back:
        warnings.append("no lungs found: the fixed region is used")
    warnings += filter(None, wrong_views(smaller(thumbnail(gray)[np.newaxis])))
    (unusual,) = unusual_gray(gray_values(image[np.newaxis]), stored.usual, "training images")
    return image, warnings + unusual


def _frame(
    stored: StoredRun,
    names: Sequence[str],
    logit_NK: NDArray[np.float32],
    percentile_NX: NDArray[np.float64],
    warnings: Sequence[str],
) -> pd.DataFrame:
    shared = dict(zip(DISTANCES, percentile_NX.T, strict=True)) | {"warnings": list(warnings)}
    columns = []
    for k, finding in enumerate(stored.findings):
        if finding in stored.unlearnt:
            continue
        logit = logit_NK[:, k].astype(np.float64)
        own = stored.points[stored.points["finding"] == finding]
        fit = own[["platt_a", "platt_b"]].to_numpy(np.float64)[0] if len(own) else (np.nan, np.nan)
        plain, calibrated = Platt(1.0, 0.0).apply(logit), Platt(*map(float, fit)).apply(logit)
        column = {"image": names, "finding": finding, "logit": logit, "probability": plain, "calibrated": calibrated}
        thresholds = dict(zip(own["rule"], own["threshold"].astype(float), strict=True))
        for rule in RULES:
            threshold = thresholds.get(rule, np.nan)
            column[f"call_{rule}"] = np.where(np.isnan(threshold), np.nan, logit >= threshold)
            column[f"threshold_{rule}"] = Platt(1.0, 0.0).apply(np.full(len(logit), threshold))
        columns.append(pd.DataFrame(column | shared))
    if not columns:
        return pd.DataFrame(columns=list(COLUMNS))
    stacked = pd.concat(columns).sort_index(kind="stable")  # sorted by image, then by finding in the order of the run
    # a left join: it keeps the order
    return stacked.merge(stored.elsewhere, "left", on="finding")[list(COLUMNS)]


__all__ = ["COLUMNS", "DISTANCES", "RULES", "Inference", "StoredRun", "infer", "load"]
