"""Measure which changed copies the search for near duplicates finds, and how often it takes two radiographs for copies.

    python benchmarks/changed_copies.py FOLDER [FOLDER ...]

For each change, the script changes up to --most images of each folder and tests the pair of image and copy: the hashes, the
thumbnails (both tests are those of `bench check`), and the images at 64 x 64 pixels (a third test, only of `bench run`). Then it
compares all pairs of different images of all folders. A folder has no two images of one patient that look alike; else these
pairs count as false. Folders may have images of any type that `bench` reads.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.checks.copies import MIN_DETAIL
from harmonize.checks.duplicates import CAP, MAX_DISTANCE, MIN_CORRELATION, are_correlated, correlations
from harmonize.images.image_header import UnreadableImage
from harmonize.images.perceptual_hash import count_bits, is_flat, near_pairs, perceptual_hash, smaller, thumbnail
from harmonize.images.pixels import Gray, read_gray

SIDE = 600  # px; larger images are reduced to this side before they are changed


def curve(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable[[Gray], Gray]:
    """Return the change of an image by a function of gray levels from 0 to 1; results outside are clipped."""
    table = np.clip(255 * function(np.arange(256) / 255) + 0.5, 0, 255).astype(np.uint8)
    return lambda image: table[image]


def clahe(clip: float) -> Callable[[Gray], Gray]:
    """Return the contrast-limited equalization of 8 x 8 tiles."""
    return lambda image: np.asarray(cv2.createCLAHE(clip, (8, 8)).apply(image), np.uint8)


def jpeg(quality: int) -> Callable[[Gray], Gray]:
    """Return the compression with a JPEG quality."""
    return lambda image: np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE),
        np.uint8,
    )


CHANGES: dict[str, Callable[[Gray], Gray]] = {
    "JPEG, quality 50": jpeg(50),
    "half the size": lambda image: np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)),
    "gamma 0.5": curve(lambda x: x**0.5),
    "gamma 0.7": curve(lambda x: x**0.7),
    "gamma 1.5": curve(lambda x: x**1.5),
    "gamma 2": curve(lambda x: x**2),
    "logarithm": curve(lambda x: np.log1p(9 * x) / np.log(10)),
    "sigmoid": curve(lambda x: 1 / (1 + np.exp(-8 * (x - 0.5)))),
    "equalized histogram": lambda image: np.asarray(cv2.equalizeHist(image), np.uint8),
    "brighter by 40": curve(lambda x: x + 40 / 255),
    "contrast x 1.3": curve(lambda x: 1.3 * x),
    "window 30 to 220": curve(lambda x: (x - 30 / 255) / (190 / 255)),
    "window 60 to 200": curve(lambda x: (x - 60 / 255) / (140 / 255)),
    "CLAHE, clip limit 2": clahe(2),
    "CLAHE, clip limit 40": clahe(40),
    "inverted": lambda image: 255 - image,
}


def pictures(folder: Path) -> list[Gray]:
    """Return the readable images below a folder."""
    images = []
    for path in sorted(
        path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".jpeg", ".dicom", ".dcm")
    ):
        try:
            image = read_gray(path, SIDE)
        except UnreadableImage:
            continue
        scale = min(1.0, SIDE / max(image.shape))
        images.append(np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8))
    return images


def detail(image: Gray) -> NDArray[np.uint8]:
    """Return an image at 64 x 64 pixels, as one row."""
    return np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), np.uint8).reshape(1, -1)


def tests(image: Gray, copy: Gray) -> list[bool]:
    """Return whether a copy passes the tests of hash, of hash and thumbnail, and of hash, thumbnail and detail."""
    small = np.stack([thumbnail(image), thumbnail(copy)])
    first, second = perceptual_hash(small)
    is_near = bool(count_bits(np.array([first ^ second]))[0] <= MAX_DISTANCE)
    left, right = smaller(small)[:, None]
    is_similar = is_near and bool(correlations(left, right)[0] >= MIN_CORRELATION)
    return [is_near, is_similar, is_similar and bool(correlations(detail(image), detail(copy))[0] >= MIN_DETAIL)]


def main() -> None:
    """Read the folders, change the images, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=100, help="images of each folder that are changed")
    asked = parser.parse_args()
    images = [pictures(folder) for folder in asked.folders]
    draw = np.random.default_rng(0)
    chosen = [some[i] for some in images for i in draw.permutation(len(some))[: asked.most]]
    print(f"{len(chosen)} images of {len(images)} folders are changed; % of the copies that pass")
    print("change: hash, hash + thumbnail (bench check), hash + thumbnail + detail (bench run)")
    for name, change in CHANGES.items():
        shares = 100 * np.mean([tests(image, change(image)) for image in chosen], axis=0)
        print(f"{name}: {', '.join(f'{share:.0f}' for share in shares)}")
    small = np.stack([thumbnail(image) for some in images for image in some])
    small = small[~is_flat(small)]
    pairs = near_pairs(perceptual_hash(small), MAX_DISTANCE, CAP)
    similar = are_correlated(pairs.first, pairs.second, smaller(small))
    total = len(small) * (len(small) - 1) // 2
    print(f"{len(small):,} different images, {total:,} pairs: {len(pairs.first):,} have similar hashes,")
    print(f"{int(similar.sum()):,} of these also similar thumbnails")


if __name__ == "__main__":
    main()
