"""Measure the accuracy of the detection of lungs and markers, which uses no learned model.

    python benchmarks/lungs.py --images DIR --masks DIR     # masks: same file names, 0 or 255; e.g. outlines of the COVID-19 collection

The script prints the Dice coefficient of the detected lung field with the outlined lungs. For comparison, it prints the Dice
coefficients of two simple guesses: the whole image, and the box of the adaptive region.

The rim and the convex hull in `harmonize/images/lungs.py` were tuned on the images whose file name has an even hash. The
result of the other half of the images is printed separately. Without the two folders, only phantoms are measured: the
detection of their lungs, and the detection of their tags as markers.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmonize.images import roi
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import read_gray
from harmonize.phantom import PhantomSettings
from harmonize.phantom.radiograph import twin
from harmonize.phantom.sites import SITES

Mask = NDArray[np.bool_]


def dice(predicted: Mask, truth: Mask) -> float:
    return float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))


def box(image: NDArray[np.uint8]) -> Mask:
    mask = np.zeros(image.shape, bool)
    mask[roi.adaptive(image, 0.0) or roi.fixed(image)] = True
    return mask


def pictures(images: Path, masks: Path) -> Iterator[tuple[str, NDArray[np.uint8], Mask]]:
    for path in sorted(masks.iterdir()):
        yield path.name, read_gray(images / path.name), read_gray(path) >= 128


def phantoms(size: int, num: int) -> Iterator[tuple[str, NDArray[np.uint8], Mask, Mask]]:
    for site in SITES:
        for number in range(num):
            phantom = twin(PhantomSettings(size=size), site, number, token=True)
            image = (255 * phantom.image).round().astype(np.uint8)
            yield f"{site}{number}", image, phantom.masks["lungs"], phantom.masks["token"]


def state(measure: str, values: list[float], num: int) -> None:
    quantiles = np.quantile(values, [0.1, 0.5, 0.9]) if values else [np.nan] * 3
    spread = ", ".join(f"{q:.3f}" for q in quantiles)
    print(
        f"{measure:<34} mean {np.mean(values):.3f}   10th, 50th, 90th percentile {spread}   found in {len(values)} of {num}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--phantoms", type=int, default=10, help="per hospital")
    options = parser.parse_args()
    if options.images and options.masks:
        cases = list(pictures(options.images, options.masks))
        untouched = [int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 1 for name, _, _ in cases]
        fields = [lung_field(image) for _, image, _ in cases]
        scores = [(dice(f, m), h) for f, (_, _, m), h in zip(fields, cases, untouched, strict=True) if f is not None]
        state("lung field", [d for d, _ in scores], len(cases))
        state("lung field, untouched half", [d for d, h in scores if h], sum(untouched))
        state("adaptive region's box", [dice(box(image), m) for _, image, m in cases], len(cases))
        state("whole image", [dice(np.ones_like(m), m) for _, _, m in cases], len(cases))
    for size in (128, 512):
        cases_of_size = list(phantoms(size, options.phantoms))
        lungs = [dice(f, m) for _, image, m, _ in cases_of_size if (f := lung_field(image)) is not None]
        state(f"lung field, phantoms of {size} px", lungs, len(cases_of_size))
        detections = [(markers(image), tag) for _, image, _, tag in cases_of_size]
        share_found = np.mean([(m & t).sum() > t.sum() / 2 for m, t in detections])
        outside = np.mean([(m & ~t).mean() for m, t in detections])
        print(
            f"tags of phantoms of {size} px: {100 * share_found:.0f} % found; {100 * outside:.1f} % of the image marked beside them"
        )


if __name__ == "__main__":
    main()
