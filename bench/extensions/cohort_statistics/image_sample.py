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
    """Measurements on a sample of images.

    images      one row per readable image: height and width in pixels, median_gray (0 to 255), and has_lungs (whether
                the adaptive region of interest detects lungs)
    unreadable  the reason for each unreadable image, without file names
    """

    images: pd.DataFrame
    unreadable: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """Return the measurements as JSON values.

        `cropped_away`: the mean share of an image that a center crop to a square removes. `enlarged`: for each of SIDES,
        the share of images with a shorter side, which must be enlarged to it. Both are None without a readable image.
        """
        sides = self.images[["height", "width"]]
        short, long = sides.min(axis=1), sides.max(axis=1)
        readable = len(sides) > 0
        return {
            "drawn": len(sides) + len(self.unreadable),
            "unreadable": list(self.unreadable),
            "sizes": sides.to_dict("list"),
            "median_gray": self.images["median_gray"].tolist(),
            "no_lungs": int((~self.images["has_lungs"]).sum()),
            "cropped_away": round(float((1 - short / long).mean()), 6) if readable else None,
            "enlarged": {str(side): round(float((short < side).mean()), 6) for side in SIDES} if readable else None,
        }


def draw(cohort: Cohort, number: int = 36, seed: int = 0, progress: Progress | None = None) -> ImageSample:
    """Decode and measure up to `number` images of the cohort.

    The same cohort and seed give the same images, for any order of the cohort's rows.
    """
    order = np.argsort(cohort.table["image_id"].to_numpy(str), kind="stable")
    rng = np.random.default_rng(seed_for(seed, f"stats {cohort.name}"))
    rows = order[rng.permutation(len(order))[:number]]
    measured, unreadable = [], []
    for done, path in enumerate(cohort.table["path"].iloc[rows], 1):
        try:
            image = read_gray(cohort.root / str(path))
            measured.append((*image.shape, float(np.median(image)), adaptive(image) is not None))
        except UnreadableImage as error:
            unreadable.append(str(error))
        if progress is not None:
            progress(f"sample {cohort.name}", done, len(rows))
    images = pd.DataFrame(measured, columns=["height", "width", "median_gray", "has_lungs"])
    return ImageSample(images.astype({"has_lungs": bool}), tuple(unreadable))
