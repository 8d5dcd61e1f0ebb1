"""Make synthetic radiographs of clinical size: an enlarged phantom with detector noise."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.phantom.radiograph import twin
from harmonize.phantom.settings import PhantomSettings

HEIGHT, WIDTH = 2828, 2320


@cache
def radiograph(patient: int, height: int = HEIGHT, width: int = WIDTH, noise: float = 3.0) -> NDArray[np.uint8]:
    """Return a radiograph, uint8 [height, width].

    `noise` is the standard deviation of the detector noise in gray values, before it is smoothed over about a pixel.
    """
    small = twin(PhantomSettings(size=1024), "chexpert", patient).image
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * 255
    grain = np.random.default_rng(patient).standard_normal((height, width), np.float32) * noise
    large += cv2.GaussianBlur(grain, (3, 3), 0.7)
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)


def jpegs(folder: Path, num: int, quality: int) -> list[Path]:
    """Write `num` JPEG files and return their paths."""
    paths = []
    for patient in range(num):
        success, data = cv2.imencode(".jpg", radiograph(patient), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not success:
            raise RuntimeError("OpenCV cannot encode the image as JPEG")
        path = folder / f"{patient}-{quality}.jpg"
        path.write_bytes(data.tobytes())
        paths.append(path)
    return paths
