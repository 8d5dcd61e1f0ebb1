"""B3: random batches from the cache, compared with a copy of memory.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms
from benchmarks.radiographs import jpegs, radiograph
from harmonize.cache.cache import ImageCache, open_cache
from harmonize.cache.packed import pack, unpack
from harmonize.images.pixels import Geometry, fit_to_square, read_gray

GEOMETRY = Geometry(320)
FILES, BATCH = 8, 64
WHAT = f"read a random batch of {BATCH} images, 320 px, one thread"


@dataclass(frozen=True, slots=True)
class Place:
    """An image cache in a temporary folder, made from a few files that are repeated."""

    folder: Path
    files: list[Path]
    cache: ImageCache

    def rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of a random batch."""
        return rng.integers(0, len(self.cache.images), BATCH)


@contextmanager
def place(quick: bool) -> Iterator[Place]:
    """Yield an image cache of 105 MB (13 MB if `quick`); 105 MB do not fit into the memory cache of the CPU."""
    num = 128 if quick else 1024
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = jpegs(folder, 2 if quick else FILES, 88)
        table = pd.DataFrame(
            {"image_id": [f"i{k}" for k in range(num)], "path": [files[k % len(files)].name for k in range(num)]}
        )
        yield Place(folder, files, open_cache("b3", folder, table, GEOMETRY, folder / "cache"))


def gate(cache_folder: Place) -> str:
    """Check that the images of a batch equal their files, decoded again."""
    from bench.inputs.batches import BatchReader

    rows = cache_folder.rows(np.random.default_rng(0))
    batch = BatchReader(cache_folder.cache.images, _cpu())(rows).numpy()
    decoded = [fit_to_square(read_gray(path, GEOMETRY.decode_at), GEOMETRY) for path in cache_folder.files]
    identical = all(np.array_equal(image, decoded[row % len(decoded)]) for image, row in zip(batch, rows, strict=True))
    return check(
        identical,
        "the batch has exactly the pixels that one gets by decoding its image files again"
        if identical
        else "the pixels of the batch differ from those of its image files",
    )


def copied(cache_folder: Place) -> Callable[[], object]:
    """Return a function that copies a batch of neighboring images to allocated memory; no reader can be faster."""
    rng = np.random.default_rng(1)
    destination = np.empty((BATCH, GEOMETRY.size, GEOMETRY.size), np.uint8)

    def copy() -> None:
        start = int(rng.integers(0, len(cache_folder.cache.images) - BATCH))
        np.copyto(destination, cache_folder.cache.images[start : start + BATCH])

    return copy


def beside_a_copy(quick: bool) -> Measured:
    """Return the time of a copy of memory, divided by that of our BatchReader."""
    from bench.inputs.batches import BatchReader

    with place(quick) as cache_folder:
        gate_text, rng = gate(cache_folder), np.random.default_rng(2)
        reader = BatchReader(cache_folder.cache.images, _cpu())
        implementations = {"ours": lambda: reader(cache_folder.rows(rng)), "peer": copied(cache_folder)}
        spent = interleaved(implementations, 2 if quick else 7, items=dict.fromkeys(implementations, BATCH))
    peer, ours = (f"{1e6 * float(np.median(spent[name])):.3g} µs" for name in ("peer", "ours"))
    note = f"time per image: peer {peer}, ours {ours}; all data are in memory"
    return compared(spent["peer"], spent["ours"], gate_text, note)


def packed(quick: bool) -> Measured:
    """Return OpenCV's time to decode PNGs of 1,024 px, divided by our time to unpack the same images.

    Both the PNGs and the packed images are in memory.
    """
    images = [fit_to_square(radiograph(patient), Geometry(1024)) for patient in range(1 if quick else 4)]
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    pngs = [np.asarray(cv2.imencode(".png", image, options)[1]) for image in images]
    blocks = [pack(image) for image in images]
    destination = np.empty_like(images[0])

    def ours() -> None:
        for block in blocks:
            unpack(block, destination)

    for image, block in zip(images, blocks, strict=True):
        unpack(block, destination)
        identical = np.array_equal(destination, image)
        gate_text = check(
            identical, f"the unpacked pixels {'equal' if identical else 'differ from'} the original pixels"
        )
    implementations = {"ours": ours, "peer": lambda: [cv2.imdecode(png, cv2.IMREAD_GRAYSCALE) for png in pngs]}
    spent = interleaved(implementations, 1 if quick else 7, items=dict.fromkeys(implementations, len(images)))
    share = {
        name: sum(map(len, blobs)) / (len(images) * images[0].size) for name, blobs in (("ours", blocks), ("PNG", pngs))
    }
    note = (
        f"time per image: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}; "
        f"size, divided by that of the raw pixels: {share['ours']:.2f} packed, {share['PNG']:.2f} as PNG"
    )
    return compared(spent["peer"], spent["ours"], gate_text, note)


def _cpu() -> "torch.device":  # noqa: F821  (imported where it is used)
    import torch

    torch.set_num_threads(1)
    return torch.device("cpu")


BENCHMARKS = (
    Benchmark("B3", WHAT, "memcpy of a batch of neighboring images", ">= 0.5", beside_a_copy),
    Benchmark("B3", "unpack an image of 1,024 px", "OpenCV, decoding a PNG", "", packed),
)
