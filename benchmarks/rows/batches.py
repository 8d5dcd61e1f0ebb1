"""B3: random batches from the cache, against decoding files batch by batch, against webdataset, and against copying memory."""

import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer
from benchmarks.radiographs import jpegs, radiograph
from harmonize.cache.cache import ImageCache, open_cache
from harmonize.cache.packed import pack, unpack
from harmonize.images.pixels import Geometry, fit_to_square, read_gray

GEOMETRY = Geometry(320)
FILES, BATCH = 8, 64
WHAT = f"random batch of {BATCH}, 320 px, one thread"


@dataclass(frozen=True, slots=True)
class Place:
    """A cache of `num` images in a temporary folder; a few different files are repeated."""

    folder: Path
    files: list[Path]
    cache: ImageCache

    def rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of a random batch."""
        return rng.integers(0, len(self.cache.images), BATCH)


@contextmanager
def place(quick: bool) -> Iterator[Place]:
    """Return a cache of 105 MB, which does not fit into the CPU cache."""
    num = 128 if quick else 1024
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = jpegs(folder, 2 if quick else FILES, 88)
        table = pd.DataFrame(
            {"image_id": [f"i{k}" for k in range(num)], "path": [files[k % len(files)].name for k in range(num)]}
        )
        yield Place(folder, files, open_cache("b3", folder, table, GEOMETRY, folder / "cache"))


def gate(here: Place) -> str:
    """Compare a batch with its decoded files."""
    from bench.inputs.batches import BatchReader

    rows = here.rows(np.random.default_rng(0))
    batch = BatchReader(here.cache.images, _cpu())(rows).numpy()
    again = [fit_to_square(read_gray(path, GEOMETRY.decode_at), GEOMETRY) for path in here.files]
    same = all(np.array_equal(image, again[row % len(again)]) for image, row in zip(batch, rows, strict=True))
    return check(same, "bit-identical to its files decoded again" if same else "a batch is not what was stored")


def files_way(here: Place) -> Callable[[], object]:
    """Return the usual implementation: a Dataset of files, PIL, a torchvision pipeline and a DataLoader in this process."""
    from torch.utils.data import DataLoader, Dataset

    from benchmarks.rows.decode import torchvision_way

    class Files(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(here.cache.images)

        def __getitem__(self, row: int) -> object:
            return torchvision_way(here.files[row % len(here.files)])

    batches = iter(DataLoader(Files(), batch_size=BATCH, shuffle=True))

    def batch() -> object:
        nonlocal batches
        found = next(batches, None)
        if found is None:
            batches = iter(DataLoader(Files(), batch_size=BATCH, shuffle=True))
            found = next(batches)
        return found

    return batch


def webdataset_way(here: Place) -> Callable[[], object]:
    """Return webdataset's fastest implementation: decoded images of the same size in a tar, with a shuffle buffer of 256."""
    wds = peer("webdataset")
    shard = here.folder / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for row, image in enumerate(here.cache.images):
            content = BytesIO()
            np.save(content, image)
            entry = tarfile.TarInfo(f"{row:06}.npy")
            entry.size = len(content.getvalue())
            tar.addfile(entry, BytesIO(content.getvalue()))
    chain = wds.WebDataset(str(shard), shardshuffle=False, empty_check=False).shuffle(256).decode().to_tuple("npy")
    batches = iter(chain.batched(BATCH).repeat())
    return lambda: next(batches)


def copied(here: Place) -> Callable[[], object]:
    """Return the lower bound: a copy of as many contiguous images to allocated memory."""
    rng = np.random.default_rng(1)
    there = np.empty((BATCH, GEOMETRY.size, GEOMETRY.size), np.uint8)

    def copy() -> None:
        start = int(rng.integers(0, len(here.cache.images) - BATCH))
        np.copyto(there, here.cache.images[start : start + BATCH])

    return copy


def against(way: Callable[[Place], Callable[[], object]]) -> Callable[[bool], Measured]:
    """Return the benchmark against one implementation."""

    def run(quick: bool) -> Measured:
        from bench.inputs.batches import BatchReader

        with place(quick) as here:
            found, rng = gate(here), np.random.default_rng(2)
            reader = BatchReader(here.cache.images, _cpu())
            ways = {"ours": lambda: reader(here.rows(rng)), "peer": way(here)}
            spent = interleaved(ways, 2 if quick else 7, items=dict.fromkeys(ways, BATCH))
        each = {name: 1e6 * float(np.median(seconds)) for name, seconds in spent.items()}
        return compared(
            spent["peer"], spent["ours"], found, f"{each['peer']:.3g} against {each['ours']:.3g} µs an image, in memory"
        )

    return run


def packed(quick: bool) -> Measured:
    """Return how many times as long OpenCV takes to read the same images of 1,024 px from PNG, in memory."""
    images = [fit_to_square(radiograph(patient), Geometry(1024)) for patient in range(1 if quick else 4)]
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    pngs = [np.asarray(cv2.imencode(".png", image, options)[1]) for image in images]
    blocks = [pack(image) for image in images]
    into = np.empty_like(images[0])

    def ours() -> None:
        for block in blocks:
            unpack(block, into)

    for image, block in zip(images, blocks, strict=True):
        unpack(block, into)
        found = check(np.array_equal(into, image), "bit-identical")
    ways = {"ours": ours, "peer": lambda: [cv2.imdecode(png, cv2.IMREAD_GRAYSCALE) for png in pngs]}
    spent = interleaved(ways, 1 if quick else 7, items=dict.fromkeys(ways, len(images)))
    share = {
        name: sum(map(len, each)) / (len(images) * images[0].size) for name, each in (("ours", blocks), ("PNG", pngs))
    }
    note = f"{ms(spent['peer'])} against {ms(spent['ours'])}; {share['ours']:.2f} of the pixels' size, PNG {share['PNG']:.2f}"
    return compared(spent["peer"], spent["ours"], found, note)


def _cpu() -> "torch.device":  # noqa: F821  (imported where it is used)
    import torch

    torch.set_num_threads(1)
    return torch.device("cpu")


BENCHMARKS = (
    Benchmark("B3", WHAT, "DataLoader over JPEGs, PIL and torchvision", ">= 4000", against(files_way)),
    Benchmark("B3", WHAT, "webdataset of decoded images", "", against(webdataset_way)),
    Benchmark("B3", WHAT, "memcpy", ">= 0.5", against(copied)),
    Benchmark("B3", "a packed image of 1,024 px", "PNG, OpenCV", "", packed),
)
