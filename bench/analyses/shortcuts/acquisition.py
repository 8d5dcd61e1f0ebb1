"""Descriptors of image acquisition and storage, and tree ensembles that predict the source of an image from them.

A descriptor is a number, computed from the pixels or from the file. The source of an image is its cohort.

Pixel descriptors and file descriptors have separate ensembles, because the file format alone may identify the dataset.
Shapes: N images, D descriptors, K sources, S pixels per side.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from bench.analyses.shortcuts.jpeg_quality import mean_quantization
from bench.analyses.shortcuts.sample import NUM_FOLDS, Sample
from bench.scoring.import_shap import import_shap
from harmonize.images import roi
from harmonize.images.image_header import UnreadableImage, checked_jpeg_size, is_dicom, png_size
from harmonize.images.shards import file_bytes
from harmonize.seeds import stream

Array = NDArray[np.float64]
Gray = NDArray[np.uint8]

TREES = 150
AT_LEAST = 256  # minimum side in pixels of the decoded image
TOLERANCE = 1e-6  # largest allowed difference between a forest's probability and the sum of its SHAP values
PIXELS = (
    "mean gray",
    "spread of gray",
    "1st percentile",
    "5th percentile",
    "median",
    "95th percentile",
    "99th percentile",
    "share black",
    "share white",
    "ring mean",
    "ring standard deviation",
    "ring share black",
    "sharpness",
    "noise",
    "corner top left",
    "corner top right",
    "corner bottom left",
    "corner bottom right",
    "border width",
    "text",
)
HEADER = ("height", "width", "aspect ratio", "bit depth", "JPEG quantisation", "bytes per pixel")
_TEXT_SIDE = 256  # longer side in pixels of the image in which text is detected


def pixel_descriptors(image: Gray) -> Array:
    """Return the descriptors PIXELS [D] of one gray image; gray values are scaled to [0, 1].

    black: gray below 0.02; white: gray above 0.98. ring: the border of the image, with a width of 1/16 of the shorter
    side. corner: maximum in a square at a corner, with a side of 1/6 of the shorter side. sharpness: variance of the
    Laplacian. noise: median absolute difference between the image and its 3 x 3 median filter. border width: share of
    height and width (their mean) outside the image content of `roi.bounds`. text: result of `text_likelihood`.
    """
    share = image.astype(np.float64) / 255
    height, width = share.shape
    edge, corner = max(1, min(height, width) // 16), max(1, min(height, width) // 6)
    ring = np.ones(share.shape, bool)
    ring[edge:-edge, edge:-edge] = False
    outer = share[ring]
    rows, columns = roi.bounds(image)
    content_share = ((rows.stop - rows.start) / height + (columns.stop - columns.start) / width) / 2
    corners = (share[:corner, :corner], share[:corner, -corner:], share[-corner:, :corner], share[-corner:, -corner:])
    laplacian = cv2.Laplacian(share, cv2.CV_64F)
    smooth = cv2.medianBlur(np.ascontiguousarray(image), 3) / 255
    gray = [share.mean(), share.std(), *np.percentile(share, [1, 5, 50, 95, 99])]
    extremes = [(share < 0.02).mean(), (share > 0.98).mean()]
    ring_values = [outer.mean(), outer.std(), (outer < 0.02).mean()]
    detail = [laplacian.var(), np.median(np.abs(share - smooth))]
    corner_maxima = [corner_pixels.max() for corner_pixels in corners]
    return np.array(
        [*gray, *extremes, *ring_values, *detail, *corner_maxima, 1 - content_share, text_likelihood(image)]
    )


def text_likelihood(image: Gray) -> float:
    """Return the share of pixels in bright thin strokes (letters, tags) near the edges of the image.

    A central box with half of the height and half of the width is ignored. A pixel is in a stroke if the output of a
    white top-hat filter exceeds 85, a third of the value of white. The filter is as wide as 1/32 of the shorter side, so
    the filter removes anatomy, which is broader than strokes. Noise stays below 85.
    """
    shrink = min(1.0, _TEXT_SIDE / max(image.shape))
    size = tuple(max(8, round(side * shrink)) for side in image.shape)
    small = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    width = max(3, min(size) // 32)
    hat = np.asarray(cv2.morphologyEx(small, cv2.MORPH_TOPHAT, np.ones((width, width), np.uint8)))
    outer = np.ones(small.shape, bool)
    outer[size[0] // 4 : -(size[0] // 4), size[1] // 4 : -(size[1] // 4)] = False
    return float((hat[outer] > 255 / 3).mean())


def header_descriptors(path: Path) -> Array:
    """Return the descriptors HEADER [D] of one file, all NaN if the file cannot be read.

    JPEG quantisation: mean of the first quantization table (1 = hardly any loss), 0 for files of other formats.
    """
    try:
        content = file_bytes(path)
        height, width, depth = _shape(content)
    except (OSError, UnreadableImage):
        return np.full(len(HEADER), np.nan)
    return np.array([height, width, width / height, depth, mean_quantization(content), len(content) / (height * width)])


def _shape(content: bytes) -> tuple[int, int, int]:
    """Return height, width and bits per pixel from the file's header. Raises UnreadableImage without a valid header."""
    if content.startswith(b"\xff\xd8"):
        return *checked_jpeg_size(content), 8
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return *png_size(content), content[24]
    if is_dicom(content):
        from harmonize.images.dicom import open_dicom

        try:
            header = open_dicom(content, with_pixels=False)
            return max(1, int(header.Rows)), max(1, int(header.Columns)), int(header.BitsStored)
        except Exception as error:  # for damaged files, pydicom raises many types of exceptions
            raise UnreadableImage("no DICOM header") from error
    raise UnreadableImage("not a JPEG, PNG or DICOM image")


@dataclass(frozen=True, slots=True, eq=False)
class TreePrediction:
    """Out-of-fold probabilities of a tree ensemble on descriptors, with SHAP values of some images."""

    prob_NK: Array  # one row per image of the sample
    explained: NDArray[np.int64]  # rows of the sample that have SHAP values
    shap_ND: Array  # one row per item of `explained`: SHAP values of the probability of the image's true source


def trees(x_ND: Array, sample: Sample, source: NDArray[np.int64], explain: int = 0) -> TreePrediction:
    """Return a random forest's out-of-fold probabilities, and the SHAP values of up to `explain` images of each fold.

    The forest has 150 trees, at least three images per leaf, and equal total weights of all sources. All probabilities
    are above 0, because one additional tree gives every source the same probability. Raises ValueError if the SHAP
    values of an image do not sum to the forest's probability. Source of SHAP values: Lundberg 2020, doi:10.1038/s42256-019-0138-9.
    """
    filled_ND = np.where(np.isfinite(x_ND), x_ND, -1.0)
    num_sources = len(sample.names)
    prob_NK = np.full((len(source), num_sources), 1 / num_sources)
    rows: list[NDArray[np.int64]] = []
    values: list[Array] = []
    for number in range(NUM_FOLDS):
        train, test = sample.fold != number, sample.fold == number
        forest = RandomForestClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=0, n_jobs=1)
        forest.fit(filled_ND[train], source[train])
        votes = forest.predict_proba(filled_ND[test])
        prob_NK[test] = (votes * TREES + 1 / num_sources) / (TREES + 1)
        if explain:
            explained_rows = stream(0, "explained", number).permutation(np.flatnonzero(test))[:explain]
            rows.append(explained_rows)
            values.append(_shap_of_own(forest, filled_ND[explained_rows], source[explained_rows]))
    if not rows:
        return TreePrediction(prob_NK, np.empty(0, np.int64), np.empty((0, x_ND.shape[1])))
    return TreePrediction(prob_NK, np.concatenate(rows), np.concatenate(values))


def _shap_of_own(forest: RandomForestClassifier, x_ND: Array, source: NDArray[np.int64]) -> Array:
    """Return the SHAP values [N, D] of the probability of each image's true source.

    Raises ValueError if the SHAP values of an image, plus the expected value, differ from the probability.
    """
    explainer = import_shap().TreeExplainer(forest)
    shap_NDK = np.asarray(explainer.shap_values(x_ND, check_additivity=False))
    error = np.abs(shap_NDK.sum(1) + np.asarray(explainer.expected_value) - forest.predict_proba(x_ND)).max(initial=0.0)
    if error > TOLERANCE:
        raise ValueError(f"the sums of SHAP values differ from the explained probabilities by up to {error:.2g}")
    return np.asarray(shap_NDK[np.arange(len(x_ND)), :, source])


def descriptor_rows(
    explained: TreePrediction, x_ND: Array, sample: Sample, model: str, names: tuple[str, ...]
) -> pd.DataFrame:
    """Return the rows of the table `descriptors` (without run_id) of one ensemble.

    A row of kind `importance` has the mean absolute SHAP value of a descriptor, over all images (source "") or over one
    source; its `value` is the median of the descriptor. A row of kind `point` is for one image: the SHAP value, the
    `value` of the descriptor, and the `rank` of this value among the explained images (0 to 1).
    """
    rows: list[tuple[str, str, str, str, float, float, float]] = []
    source = sample.source[explained.explained]
    explained_ND = x_ND[explained.explained]
    magnitude_ND = np.abs(explained.shap_ND)
    for d, name in enumerate(names):
        value_N = explained_ND[:, d]
        rank_N = pd.Series(value_N).rank(pct=True).fillna(0.0).to_numpy()
        if len(source):
            median = float(np.nanmedian(x_ND[:, d])) if np.isfinite(x_ND[:, d]).any() else np.nan
            rows.append((model, "importance", name, "", float(magnitude_ND[:, d].mean()), np.nan, median))
        for k, cohort in enumerate(sample.names):
            in_source = source == k
            source_values = x_ND[sample.source == k, d]
            median = float(np.nanmedian(source_values)) if np.isfinite(source_values).any() else np.nan
            if in_source.any():
                row = (model, "importance", name, cohort, float(magnitude_ND[in_source, d].mean()), np.nan, median)
                rows.append(row)
            points = zip(explained.shap_ND[in_source, d], rank_N[in_source], value_N[in_source], strict=True)
            rows += [(model, "point", name, cohort, float(s), float(r), float(v)) for s, r, v in points]
    return pd.DataFrame(rows, columns=["model", "kind", "descriptor", "source", "shap", "rank", "value"])
