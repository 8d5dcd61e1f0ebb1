"""Compare the detected lungs of a cohort's images with CheXmask's."""

from typing import NamedTuple

import cv2
import numpy as np

from bench.extensions.chexmask.file import find_table, read_masks
from harmonize.cohorts.cohort import Cohort
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import LUNGS
from harmonize.images.image_header import UnreadableImage
from harmonize.images.lungs import lung_field
from harmonize.images.pixels import file_size, read_gray
from harmonize.progress import Progress
from harmonize.seeds import seed_for


class Agreement(NamedTuple):
    """Intersection over union of detected lungs and CheXmask's lungs: of the images in which lungs are detected."""

    cohort: str
    images: int  # images with a mask of sufficient quality
    detected: int  # those in which the detector finds two lungs
    mean: float
    low: float  # 10th percentile
    median: float


def agreement(cohort: Cohort, number: int, progress: Progress) -> Agreement | None:
    """Measure up to `number` random images of a cohort; None without a table of CheXmask.

    Raises DatasetError for a table that cannot be read, or without a mask of the images.
    """
    table = find_table(cohort.layout, cohort.root)
    if table is None:
        return None
    path_of = dict(zip(cohort.table["image_id"].astype(str), cohort.table["path"].astype(str), strict=True))
    order = np.random.default_rng(seed_for(0, f"chexmask {cohort.name}")).permutation(sorted(path_of))
    sample = [str(image) for image in order[:number]]
    encoded = read_masks(cohort.layout, table, sample)
    values, images = [], 0
    for done, image in enumerate(sample):
        progress(f"lungs of {cohort.name}", done, len(sample))
        path = cohort.root / path_of[image]
        try:
            picture = read_gray(path)
            masks = encoded[image].masks(file_size(path.read_bytes(), picture))
        except (KeyError, UnreadableImage, OSError):
            continue
        if LUNGS not in masks:
            continue
        images += 1
        detected = lung_field(picture)
        if detected is not None:
            size = (picture.shape[1], picture.shape[0])
            known = cv2.resize(masks[LUNGS].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            values.append((detected & known).sum() / (detected | known).sum())
    progress(f"lungs of {cohort.name}", len(sample), len(sample))
    if not images:
        what = f"no mask of sufficient quality for {len(sample)} images of {cohort.name}"
        raise DatasetError(what, str(table), "use the table of this dataset, or more images: --images")
    summary = (np.mean(values), *np.quantile(values, (0.1, 0.5))) if values else (np.nan,) * 3
    return Agreement(cohort.name, images, len(values), *map(float, summary))
