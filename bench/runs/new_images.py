"""Predict new images with a stored run, using its preprocessing, calibration and thresholds.

    from bench.runs.image_paths import images_of
    from bench.runs.new_images import infer, load
    stored = load(Store.open(Path("runs"), create=False), "3fa9")
    inference = infer(stored, images_of([Path("inbox/")]))
    inference.table      # one row per image and finding
    inference.skipped    # image, reason

This needs the folder of the run and, for thresholds and calibration, its scores. The grids of the store state whether
the training images were synthetic. Nothing is fitted to the images. For research, not for clinical use.

Legend: N images, K findings, S side in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from bench.inputs.batches import BatchReader
from bench.inputs.histogram_reference import stored_reference
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import images_per_pass, predict
from bench.planning.manifest import trained_on_synthetic
from bench.planning.run import Run, find_run, read_run
from bench.runs.networks import trained_network
from bench.scoring.calibrators import Platt
from bench.store.checksums import checked_json, scores_table
from bench.store.store import Progress, Store, key_in, table_facts
from harmonize.cache.cache import finished_cache
from harmonize.checks.non_cxr_checks import unlike_radiograph
from harmonize.errors import StoreError
from harmonize.images.image_header import ImageFile
from harmonize.images.pixels import Geometry, UnreadableImage, fit_to_square, read_radiograph, region

# threshold rules; the thresholds are chosen on `val` at the internal hospital
RULES = ("f1_max", "youden", "sens_90", "f1_grid")
COLUMNS = ("image", "finding", "logit", "probability", "calibrated", *(f"call_{rule}" for rule in RULES), "warnings")
_SAMPLE = 400  # number of internal images that define the usual range of gray values
_TOGETHER = 64  # number of images decoded at a time
_LONG = 2.0  # maximum ratio of the long side to the short side of a chest radiograph


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run, ready to predict."""

    run: Run
    network: Network
    normalizer: Normalizer
    geometry: Geometry
    device: torch.device
    unlearnt: tuple[str, ...]  # findings whose training images are all present or all absent; they are not predicted
    # columns: finding, rule, threshold (a logit), probability, platt_a, platt_b; empty without scores
    points: pd.DataFrame
    # name in `gray_values` -> lowest and highest value among internal images
    usual: dict[str, tuple[float, float]] = field(default_factory=dict)
    synthetic: bool = False  # whether a program drew the training images


@dataclass(frozen=True, eq=False)
class Inference:
    """Predictions. `table` has the columns COLUMNS and one row per image and finding.

    The columns `call_*` are 1 (positive), 0 (negative), or NaN without a threshold.
    """

    run_id: str
    table: pd.DataFrame
    skipped: pd.DataFrame  # image, reason
    synthetic: bool = False  # whether a program drew the training images of the run

    @property
    def num_images(self) -> int:
        """Return the number of predicted images."""
        return int(self.table["image"].nunique())


def load(store: Store, prefix: str, device: str = "cpu") -> StoredRun:
    """Return the run of the store whose id begins with `prefix`.

    Raises StoreError when the run is missing, unfinished or derived, or one of its files is damaged.
    """
    run_id = find_run(store, prefix)
    run, folder = read_run(store, run_id), store.run_dir(run_id)
    if store.state(run_id) != "done":
        raise StoreError(f"run {run_id} is not finished", str(folder), "finish it with `bench run`")
    # checked before the network is built: a run.json from elsewhere may name code that would be imported then
    if not (folder / "model.safetensors").is_file():
        fix = "predict in the store in which it was trained; a bundle has no weights"
        raise StoreError(f"run {run_id} cannot be loaded: its weights are missing", str(folder), fix)
    on = torch.device(device)
    try:
        network = trained_network(run, store, on)
        trained = checked_json(folder, "trained.json")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        fix = "train it again: delete this folder and run its grid"
        raise StoreError(f"run {run_id} cannot be loaded: {error}", str(folder), fix) from error
    learnt = stored_reference(run, folder)
    normalizer = Normalizer.of(run.preprocessing, network.mean, network.std, run.config.channels, learnt)
    scores = store.root / "scores" / run_id
    empty = pd.DataFrame(columns=["finding", "rule", "threshold", "probability", "platt_a", "platt_b"])
    points = scores_table(scores, "operating_points") if key_in(scores) else empty
    form, unlearnt = run.geometry, tuple(trained.get("unlearnt", ()))
    synthetic = trained_on_synthetic(store, run_id)
    return StoredRun(run, network, normalizer, form, on, unlearnt, points, _usual(store, run, form), synthetic)


def infer(stored: StoredRun, paths: Sequence[ImageFile], progress: Progress | None = None) -> Inference:
    """Predict image files. Unusable files are skipped and listed with the reason.

    The column `warnings` lists how an image differs from the training images, because the predictions for such an image
    are less reliable. The use of memory does not grow with the number of images.
    """
    frames: list[pd.DataFrame] = []
    skipped: list[tuple[str, str]] = []
    together = images_per_pass(_TOGETHER, stored.geometry.size)
    for start in range(0, len(paths), together):
        names, pixels, warnings = [], [], []
        for path in paths[start : start + together]:
            try:
                image, unusual = _decoded(path, stored)
            except UnreadableImage as error:
                skipped.append((str(path), str(error)))
                continue
            names.append(str(path))
            pixels.append(image)
            warnings.append("; ".join(unusual))
        if names:
            reader = BatchReader(np.stack(pixels), stored.device)
            rows = np.arange(len(names), dtype=np.int64)
            logit_NK, _ = predict(stored.network, stored.normalizer, reader, rows, stored.device)
            frames.append(_frame(stored, names, logit_NK, warnings))
        if progress:
            progress("predict", min(start + together, len(paths)), len(paths))
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    return Inference(stored.run.id, table, pd.DataFrame(skipped, columns=["image", "reason"]), stored.synthetic)


def gray_values(image_SS: NDArray[np.uint8]) -> dict[str, float]:
    """Return mean and standard deviation of the gray values, and the shares of black and of white pixels.

    The values are compared with those of internal images. S is the side in pixels.
    """
    return {
        "mean gray": float(image_SS.mean()),
        "contrast": float(image_SS.std()),
        "black pixels": float((image_SS < 6).mean()),
        "white pixels": float((image_SS > 249).mean()),
    }


def _decoded(path: ImageFile, stored: StoredRun) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the pixels [S, S] of a file and warnings about it. Raises UnreadableImage when it cannot be used."""
    gray = read_radiograph(path, stored.geometry.decode_at)
    cropped, fell_back = region(gray, stored.geometry)
    image, warnings = fit_to_square(cropped, stored.geometry), unlike_radiograph(path)
    if max(gray.shape) > _LONG * min(gray.shape):
        warnings.append(f"{gray.shape[1]} x {gray.shape[0]} pixels is not a shape of a chest radiograph")
    if min(cropped.shape) < stored.geometry.size:
        warnings.append(f"enlarged from {min(cropped.shape)} to {stored.geometry.size} pixels")
    if fell_back:
        warnings.append("no lungs found: the fixed region is used")
    for name, value in gray_values(image).items():
        low, high = stored.usual.get(name, (-np.inf, np.inf))
        if not low <= value <= high:
            percent = name in ("black pixels", "white pixels")
            shown, lowest, highest = (f"{100 * v if percent else v:.3g}" for v in (value, low, high))
            unit = " %" if percent else ""
            warnings.append(f"{name}: {shown}{unit} (training images: {lowest} to {highest}{unit})")
    return image, warnings


def _frame(
    stored: StoredRun, names: Sequence[str], logit_NK: NDArray[np.float32], warnings: Sequence[str]
) -> pd.DataFrame:
    columns = []
    for k, finding in enumerate(stored.run.config.findings):
        if finding in stored.unlearnt:
            continue
        logit, own = logit_NK[:, k].astype(np.float64), stored.points[stored.points["finding"] == finding]
        fit = own[["platt_a", "platt_b"]].to_numpy(np.float64)[0] if len(own) else (np.nan, np.nan)
        plain, calibrated = Platt(1.0, 0.0).apply(logit), Platt(*map(float, fit)).apply(logit)
        column = {"image": names, "finding": finding, "logit": logit, "probability": plain, "calibrated": calibrated}
        thresholds = dict(zip(own["rule"], own["threshold"].astype(float), strict=True))
        for rule in RULES:
            threshold = thresholds.get(rule, np.nan)
            column[f"call_{rule}"] = np.where(np.isnan(threshold), np.nan, logit >= threshold)
        columns.append(pd.DataFrame(column | {"warnings": list(warnings)}))
    if not columns:
        return pd.DataFrame(columns=list(COLUMNS))
    stacked = pd.concat(columns).sort_index(kind="stable")  # sorted by image, then by finding in the order of the run
    return stacked.reset_index(drop=True)[list(COLUMNS)]


def _usual(store: Store, run: Run, form: Geometry) -> dict[str, tuple[float, float]]:
    """Return the range of each value of `gray_values` over some decoded internal images.

    The result is {} if the decoded images were deleted.
    """
    internal = run.config.train_on
    facts = table_facts(store.run_dir(run.id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, form, facts.get("fingerprint", ""))
    if cache is None:
        return {}
    rows = np.flatnonzero((cache.index["reason"] == "").to_numpy())
    chosen = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    values = pd.DataFrame([gray_values(cache.images[row]) for row in np.sort(chosen)])
    return {str(name): (float(values[name].min()), float(values[name].max())) for name in values}


__all__ = ["COLUMNS", "Inference", "StoredRun", "gray_values", "infer", "load"]
