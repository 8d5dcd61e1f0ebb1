"""B1: decoding a large JPEG to 320 x 320 gray values for the cache, against the usual implementations.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer, spread
from benchmarks.radiographs import jpegs
from harmonize.images.pixels import Geometry, fit_to_square, read_gray

GEOMETRY = Geometry(320)
LIGHT, HEAVY = 88, 94  # JPEG qualities; the files have about 0.9 and 1.6 MB


def ours(path: Path) -> NDArray[np.uint8]:
    """Return the image as stored in the cache."""
    return fit_to_square(read_gray(path, GEOMETRY.decode_at), GEOMETRY)


def torchvision_way(path: Path) -> object:
    """Return the result of a torchvision pipeline: PIL in RGB, resized, as a normalized tensor."""
    from PIL import Image
    from torchvision import transforms

    chain = transforms.Compose(
        [
            transforms.Resize((320, 320)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with Image.open(path) as image:
        return chain(image.convert("RGB"))


def torchxrayvision_way(path: Path) -> object:
    """Return the result of torchxrayvision's datasets: read by scikit-image, scaled, cropped to a square, resized."""
    from skimage.io import imread

    xrv = peer("torchxrayvision")
    image = xrv.datasets.normalize(imread(path), maxval=255, reshape=True)
    return xrv.datasets.XRayResizer(320, engine="skimage")(xrv.datasets.XRayCenterCrop()(image))


def distance(path: Path, at_least: int) -> tuple[float, float]:
    """Return the mean and the 99.9 % quantile of the differences between our pixels and the reference, in gray values.

    Our decoder may shrink the image while decoding, to sides of at least `at_least` pixels. The reference decodes all
    pixels and then resizes.
    """
    difference = np.abs(
        fit_to_square(read_gray(path, at_least), GEOMETRY).astype(int) - fit_to_square(read_gray(path), GEOMETRY)
    )
    return float(difference.mean()), float(np.quantile(difference, 0.999))


def gate(paths: list[Path]) -> str:
    """Check that our pixels differ from a full decode by at most 0.5 gray values on average.

    `fidelity` measures the large differences.
    """
    mean = max(distance(path, GEOMETRY.decode_at)[0] for path in paths)
    return check(mean <= 0.5, f"mean difference from a full decode: {mean:.2f} gray values")


def fidelity(quick: bool) -> Measured:
    """Return the 99.9 % quantile of the differences from a full decode, in gray values; one round is one image.

    The note states the quantile and the time if our decoder keeps twice as many pixels per side.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = jpegs(Path(folder), 1 if quick else 4, LIGHT)
        distances = [distance(path, GEOMETRY.decode_at) for path in paths]
        larger = max(distance(path, 2 * GEOMETRY.decode_at)[1] for path in paths)
        implementations = {
            name: (lambda decode_at=decode_at: [fit_to_square(read_gray(p, decode_at), GEOMETRY) for p in paths])
            for name, decode_at in (("now", GEOMETRY.decode_at), ("larger", 2 * GEOMETRY.decode_at))
        }
        spent = interleaved(implementations, rounds=1 if quick else 5)
    longer = np.median(spent["larger"]) / np.median(spent["now"])
    note = (
        "one pixel in a thousand differs by more, at hard edges; if our decoder keeps twice the width and height, "
        f"the quantile is {larger:.0f} and decoding takes {longer:.2f} times as long"
    )
    return spread(
        [high for _, high in distances],
        f"mean difference of all pixels: {max(mean for mean, _ in distances):.2f} gray values",
        note,
    )


def against(implementation: Callable[[Path], object], module: str, quality: int) -> Callable[[bool], Measured]:
    """Return the benchmark of our decoder against one implementation from `module`, on JPEGs of this quality."""

    def run(quick: bool) -> Measured:
        peer(module)
        with tempfile.TemporaryDirectory() as folder:
            paths = jpegs(Path(folder), 1 if quick else 4, quality)
            gate_text = gate(paths)
            spent = interleaved(
                {"ours": lambda: [ours(p) for p in paths], "peer": lambda: [implementation(p) for p in paths]},
                rounds=2 if quick else 7,
                items=dict.fromkeys(("ours", "peer"), len(paths)),
            )
            size = np.mean([path.stat().st_size for path in paths]) / 1e6
        return compared(
            spent["peer"],
            spent["ours"],
            gate_text,
            f"time per file of {size:.2f} MB: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}",
        )

    return run


BENCHMARKS = (
    Benchmark(
        "B1",
        "decode a JPEG of 2320 x 2828 px to 320 px",
        "PIL and torchvision",
        ">= 3.5",
        against(torchvision_way, "torchvision", LIGHT),
    ),
    Benchmark(
        "B1",
        "decode a JPEG of 2320 x 2828 px to 320 px",
        "torchxrayvision",
        "",
        against(torchxrayvision_way, "torchxrayvision", LIGHT),
    ),
    Benchmark(
        "B1",
        "decode a JPEG of 2320 x 2828 px to 320 px, higher JPEG quality",
        "PIL and torchvision",
        "",
        against(torchvision_way, "torchvision", HEAVY),
    ),
    Benchmark(
        "B1", "99.9 % quantile of the differences of pixels from a full decode", "-", "<= 3", fidelity, "gray values"
    ),
)
