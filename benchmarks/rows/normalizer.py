"""B4: time of preprocessing an image of 320 px, compared with scikit-image and numpy.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import statistics
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer
from benchmarks.radiographs import radiograph
from harmonize.images import roi
from harmonize.images.pixels import Geometry, fit_to_square

SIZE, NUM = 320, 64
Image = NDArray[np.uint8]
Way = Callable[[], Any]
# our function and the peer's function, which each normalize all images, and the text of the passed gate
Case = tuple[Way, Way, str]


def images(quick: bool) -> list[Image]:
    """Return radiographs of 320 px; eight different images are repeated."""
    few = [fit_to_square(radiograph(patient, 1024, 860), Geometry(SIZE)) for patient in range(8)]
    return few * (1 if quick else NUM // len(few))


def clahe(pictures: list[Image]) -> Case:
    """Return the case CLAHE: ours and scikit-image's `equalize_adapthist`.

    scikit-image clips and blends differently, so the gate compares only the correlation.
    """
    exposure = peer("skimage.exposure", "scikit-image")
    cv2.setNumThreads(1)

    def ours() -> list[Image]:
        return [
            np.asarray(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image), np.uint8) for image in pictures
        ]

    def theirs() -> list[NDArray[np.float64]]:
        return [exposure.equalize_adapthist(image, kernel_size=SIZE // 8, clip_limit=0.01) for image in pictures]

    correlation = np.corrcoef(ours()[0].ravel(), theirs()[0].ravel())[0, 1]
    return (
        ours,
        theirs,
        check(
            correlation > 0.9,
            f"the peer uses another algorithm, so only the correlation of the pixels is checked: {correlation:.2f}",
        ),
    )


def nyul(pictures: list[Image]) -> Case:
    """Return the case of histogram standardization: ours, and the same with `numpy.percentile` and `numpy.interp`."""
    from bench.inputs.histograms import LANDMARKS

    standard = np.linspace(0, 1, len(LANDMARKS))

    def one(image: Image) -> NDArray[np.float64]:
        return np.interp(image, np.percentile(image[image > 5], LANDMARKS), standard)

    return _held(_toned("histstd", pictures, list(standard)), lambda: [one(image) for image in pictures], 1 / 255)


def match(pictures: list[Image]) -> Case:
    """Return the case of histogram matching: ours and `skimage.exposure.match_histograms`."""
    exposure = peer("skimage.exposure", "scikit-image")
    target = pictures[0]
    share = np.bincount(target.ravel(), minlength=256) / target.size

    def theirs() -> list[NDArray[np.float64]]:
        return [exposure.match_histograms(image, target) / 255 for image in pictures]

    return _held(_toned("histmatch", pictures, [float(frequency) for frequency in share]), theirs, 1 / 255)


def zscore(pictures: list[Image]) -> Case:
    """Return the case of the z-score of the foreground: ours, and the same with numpy."""

    def one(image: Image) -> NDArray[np.float64]:
        x = image / 255
        lit = x[x > 0.02]
        return (x - lit.mean()) / (lit.std() + 1e-6)

    unit = "/ 255 standard deviations"
    return _held(_toned("zscore", pictures), lambda: [one(image) for image in pictures], 1 / 255, unit)


def region(pictures: list[Image]) -> Case:
    """Return the case of black borders: our detection, and the same with percentiles of each row and column."""

    def one(image: Image) -> tuple[int, int]:
        rows, columns = (np.flatnonzero(np.percentile(image, 99, axis=axis) >= roi.BLACK * 255) for axis in (1, 0))
        return rows[0], columns[-1]

    def ours() -> list[roi.Box]:
        return [roi.bounds(image) for image in pictures]

    def theirs() -> list[tuple[int, int]]:
        return [one(image) for image in pictures]

    difference = max(
        max(abs(a[0].start - b[0]), abs(a[1].stop - 1 - b[1])) for a, b in zip(ours(), theirs(), strict=True)
    )
    return (
        ours,
        theirs,
        check(difference <= 1, f"largest difference from the peer's edges of the border: {difference} px"),
    )


def _toned(op: str, pictures: list[Image], learnt: list[float] | None = None) -> Way:
    """Return a function that normalizes the pictures with our operation `op`.

    `learnt` is the reference of a histogram method: standard landmarks, or shares of gray values; None for other operations.
    """
    import torch

    from bench.inputs.normalize import Normalizer

    torch.set_num_threads(1)
    normalizer = Normalizer([op], (0.0,) * 3, (1.0,) * 3, 1, reference={op: learnt} if learnt else {})
    batch = torch.from_numpy(np.stack(pictures))
    return lambda: normalizer(batch)


def _held(ours: Way, theirs: Way, gray: float, unit: str = "gray values") -> Case:
    """Return a case whose gate allows differences of `gray`; the text states the largest difference divided by `gray`."""
    difference = max(float(np.abs(a.numpy()[0] - b).max()) for a, b in zip(ours(), theirs(), strict=True))
    return (
        ours,
        theirs,
        check(difference <= gray * 1.001, f"largest difference of a pixel: {difference / gray:.2g} {unit}"),
    )


CASES: dict[str, tuple[str, Callable[[list[Image]], Case]]] = {
    "CLAHE": ("scikit-image", clahe),
    "Nyul normalization": ("numpy", nyul),
    "histogram matching": ("scikit-image", match),
    "z-score normalization": ("numpy", zscore),
    "detection of the black border": ("numpy", region),
}


def measured(case: Callable[[list[Image]], Case], quick: bool) -> Measured:
    """Return the peer's time divided by ours for one operation."""
    pictures = images(quick)
    ours, theirs, gate_text = case(pictures)
    implementations = {"ours": ours, "peer": theirs}
    spent = interleaved(implementations, 1 if quick else 7, items=dict.fromkeys(implementations, len(pictures)))
    return compared(
        spent["peer"], spent["ours"], gate_text, f"time per image: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}"
    )


def median(quick: bool) -> Measured:
    """Return the median, smallest and largest ratio over all operations."""
    ratios = {name: measured(case, quick).ratio for name, (_, case) in CASES.items()}
    least, greatest = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    note = f"smallest ratio: {least}; largest ratio: {greatest}"
    return Measured(
        statistics.median(ratios.values()), ratios[least], ratios[greatest], "the checks of all five operations", note
    )


BENCHMARKS = (
    *(
        Benchmark("B4", f"{name}, 320 px", library, "", lambda quick, case=case: measured(case, quick))
        for name, (library, case) in CASES.items()
    ),
    Benchmark("B4", "median ratio of the five operations of B4", "scikit-image and numpy", "", median),
)
