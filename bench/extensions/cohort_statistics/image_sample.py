"""Draw a seeded sample of images of a cohort; measure sizes and gray values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonize.cohorts.cohort import Cohort
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import read_gray
from harmonize.images.roi import adaptive
from harmonize.progress import Progress
from harmonize.seeds import seed_for

SIDES = (224, 512, 1024, 2048)  # px; common sides of network inputs


@dataclass(frozen=True, eq=False)
class ImageSample:
    """Measurements on a sample of `drawn` images.

    sizes      height and width in pixels of each readable image
    medians    median gray value (0 to 255) of each readable image
    no_lungs   number of readable images in which the adaptive region of interest detects no lungs
    """

    drawn: int
    unreadable: tuple[str, ...]  # the reason for each unreadable image, without file names
    sizes: pd.DataFrame
    medians: tuple[float, ...]
    no_lungs: int = 0

    @property
    def cropped_away(self) -> float:
        """Return the mean share of an image that a center crop to a square removes."""
        short, long = self.sizes.min(axis=1), self.sizes.max(axis=1)
        return float((1 - short / long).mean())

    def enlarged(self, size: int) -> float:
        """Return the share of images with a side below `size` pixels; such images must be enlarged to this size."""
        return float((self.sizes.min(axis=1) < size).mean())

    @property
    def readable(self) -> int:
        """Return the number of images that could be decoded."""
        return self.drawn - len(self.unreadable)


def draw(cohort: Cohort, number: int = 36, seed: int = 0, progress: Progress | None = None) -> ImageSample:
    """Decode and measure up to `number` images of the cohort.

    The same cohort and seed give the same images, for any order of the cohort's rows.
    """
    order = np.argsort(cohort.table["image_id"].to_numpy(str), kind="stable")
    rng = np.random.default_rng(seed_for(seed, f"stats {cohort.name}"))
    rows = order[rng.permutation(len(order))[:number]]
    sizes: list[tuple[int, int]] = []
    medians: list[float] = []
    unreadable: list[str] = []
    no_lungs = 0
    for done, row in enumerate(rows):
        try:
            image = read_gray(cohort.root / str(cohort.table["path"].iloc[row]))
        except UnreadableImage as error:
            unreadable.append(str(error))
        else:
            sizes.append((image.shape[0], image.shape[1]))
            no_lungs += adaptive(image) is None
            medians.append(float(np.median(image)))
        if progress is not None:
            progress(f"sample {cohort.name}", done + 1, len(rows))
    size_table = pd.DataFrame(sizes, columns=["height", "width"])
    return ImageSample(len(rows), tuple(unreadable), size_table, tuple(medians), no_lungs)


def as_dict(sample: ImageSample | None) -> dict[str, Any] | None:
    """Return the measurements of a sample as JSON values, None without a sample."""
    if sample is None:
        return None
    return {
        "drawn": sample.drawn,
        "unreadable": list(sample.unreadable),
        "sizes": sample.sizes.to_dict("list"),
        "median_gray": list(sample.medians),
        "no_lungs": sample.no_lungs,
        "cropped_away": round(sample.cropped_away, 6) if sample.readable else None,
        "enlarged": {str(size): round(sample.enlarged(size), 6) for size in SIDES} if sample.readable else {},
    }
