"""Cache decoded images in uint8 files, one per cohort and geometry, which are mapped into memory.

    <folder>/<name>-<geometry>-v<PIXELS_VERSION>/
        index.parquet              one row per image: image_id, path, size, mtime_ns, crc32, reason ("" = readable);
                                   if the geometry crops to the lungs, also fell_back (no lungs were detected);
                                   for packed images, also at and length
        images-<plan>.u8           if S < 1024: the pixels [N, S, S], in the order of the index
        images-<plan>.zst          if S >= 1024: one compressed block per image, which `at` and `length` locate
        hashes-<plan>-v<HASH_VERSION>.npy   hash and thumbnail of each image, made when first needed
        images-<plan>.*.part       only during a build: the unfinished file
        images-<plan>.journal      only during a build: one line per finished chunk; an interrupted build continues
                                   after the last complete line

The cache has N images of S x S pixels. `harmonize.cache.packed` makes the compressed blocks, and
`harmonize.cache.image_hashes` the hashes.

<plan> is a hash of all rows of the table, and of the sizes and times of their files. A different table or a changed
file gives a new plan; the pixels of unchanged files are then copied, not decoded. The index is replaced last, so the
index never refers to missing pixels.
"""

import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from harmonize.cache.build import packs, read_journal
from harmonize.cache.fill import BuildPlan, fill, has_checksum, map_bytes, mean_block_bytes
from harmonize.cache.packed import Images, PackedImages
from harmonize.disk_space import writing
from harmonize.errors import SetupError
from harmonize.file_lock import file_lock
from harmonize.images.pixels import PIXELS_VERSION, Geometry
from harmonize.images.shards import file_of
from harmonize.progress import Progress

_COLUMNS = ["image_id", "path", "size", "mtime_ns", "crc32", "reason"]
_SAMPLED = 64  # number of images whose checksums are tested when a cache is opened


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The decoded images of a cohort, read-only."""

    images: NDArray[np.uint8]  # [N, S, S], memory-mapped; if S >= 1024, a PackedImages, which has the same indexing
    index: pd.DataFrame  # the content of index.parquet, one row per image
    path: Path  # file of the pixels

    def rows(self, image_ids: "pd.Series[str] | list[str]") -> NDArray[np.int64]:
        """Return, for each image id, the row in `images`; -1 for an unreadable or unknown image."""
        ids = pd.Index(self.index["image_id"])
        positions = ids.get_indexer(pd.Index(image_ids)).astype(np.int64)
        readable = np.append((self.index["reason"] == "").to_numpy(), False)
        return np.where(readable[positions], positions, -1)

    @property
    def quarantine(self) -> pd.DataFrame:
        """Return image_id, path and reason of images that could not be decoded."""
        unreadable = self.index["reason"] != ""
        return self.index.loc[unreadable, ["image_id", "path", "reason"]].reset_index(drop=True)

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that change when the pixels of any image change. The order of rows does not matter."""
        digest = hashlib.sha256()
        readable = self.index[self.index["reason"] == ""]
        for image, crc in sorted(zip(readable["image_id"], readable["crc32"], strict=True)):
            digest.update(f"{image}\x1f{crc}\x1e".encode())
        return digest.hexdigest()[:16]

    @property
    def fallback_rate(self) -> float | None:
        """Return the share of readable images in which no lungs were detected.

        None if the geometry does not crop to the lungs, or if no image is readable.
        """
        readable = self.index[self.index["reason"] == ""]
        return float(readable["fell_back"].mean()) if "fell_back" in readable and len(readable) else None

    @property
    def num_bytes(self) -> int:
        """Return the size of the pixels on disk."""
        images: Images = self.images
        return int((images.blocks if isinstance(images, PackedImages) else images).nbytes)


def finished_cache(folder: Path, name: str, geometry: Geometry, fingerprint: str) -> ImageCache | None:
    """Return the finished cache with this fingerprint in any subfolder of `folder`, or None."""
    for cache_folder in sorted(folder.glob(f"*/{glob.escape(name)}-{geometry.key}-v{PIXELS_VERSION}")):
        cache = _open(cache_folder, geometry)
        if cache is not None and cache.fingerprint == fingerprint:
            return cache
    return None


def open_cache(
    name: str,
    root: Path,
    table: pd.DataFrame,
    geometry: Geometry,
    folder: Path,
    workers: int = 1,
    progress: Progress | None = None,
    states: pd.DataFrame | None = None,
) -> ImageCache:
    """Return the cache of a table's images; build or complete the cache if needed.

    The table needs the columns image_id and path (relative to root).

    states    `file_states` of the table, if the caller has them; collecting them for a million files is slow
    workers   maximum number of processes; with more than 1, a calling script needs `if __name__ == "__main__":`
    progress  called with (name, images done, total images)

    Raises SetupError if the disk is too small.
    """
    if table.empty:
        raise ValueError("the table has no images to cache")
    cache_folder = _cache_folder(name, geometry, folder)
    cache_folder.mkdir(parents=True, exist_ok=True)
    current_states = file_states(root, table) if states is None else states
    with file_lock(cache_folder / "lock"):
        current = _open(cache_folder, geometry)
        if current is not None and _is_current(current.index, current_states):
            return current
        _build(_build_plan(name, root, current_states, geometry, cache_folder), current, workers, progress)
    opened = _open(cache_folder, geometry)
    if opened is None:
        fix = "check the disk, delete this folder, and run again"
        raise SetupError("the new image cache cannot be read", str(cache_folder), fix)
    return opened


def read_cache(name: str, table: pd.DataFrame, geometry: Geometry, folder: Path) -> ImageCache | None:
    """Return the cache that `open_cache` filled for these images, or None if there is no such cache.

    The cache must have the same columns image_id and path as the table, in the same order. Nothing is decoded, and no
    image file is read.
    """
    cache = _open(_cache_folder(name, geometry, folder), geometry)
    if cache is None or len(cache.index) != len(table):
        return None
    same = all((cache.index[c].array == table[c].astype(str).to_numpy(object)).all() for c in ("image_id", "path"))
    return cache if same else None


def file_states(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return image_id, path, size and mtime_ns of every row; the size of a missing file is -1."""
    sizes, times = [], []
    for path in table["path"]:
        try:
            status = os.stat(os.path.join(root, file_of(path))) if path else None  # noqa: PTH116, PTH118  (faster, for a million files)
        except OSError:
            status = None
        sizes.append(-1 if status is None else status.st_size)
        times.append(0 if status is None else status.st_mtime_ns)
    ids = {column: table[column].astype(str).to_numpy(object) for column in ("image_id", "path")}
    return pd.DataFrame(ids | {"size": np.array(sizes, np.int64), "mtime_ns": np.array(times, np.int64)})


def _cache_folder(name: str, geometry: Geometry, folder: Path) -> Path:
    """Return the folder in which a cache is stored."""
    return folder / f"{name}-{geometry.key}-v{PIXELS_VERSION}"


def _is_current(index: pd.DataFrame, states: pd.DataFrame) -> bool:
    """Return whether a cache was made from exactly the files in `states` (from `file_states`).

    The values are compared, not the types of the columns, because the types of text columns may differ.
    """
    columns = _COLUMNS[:4]  # the facts of the files
    return len(index) == len(states) and all(bool((index[c].array == states[c].to_numpy()).all()) for c in columns)


def _build_plan(name: str, root: Path, rows: pd.DataFrame, geometry: Geometry, cache_folder: Path) -> BuildPlan:
    """Return the plan of a build: which rows get pixels, and in which file."""
    suffix = "zst" if packs(geometry) else "u8"
    return BuildPlan(name, root, rows, geometry, cache_folder / f"images-{_plan_hash(rows)}.{suffix}")


def _needed_bytes(n: int, geometry: Geometry, block: float) -> int:
    """Return the disk space in bytes that n images need; `block` is the mean size of a packed image."""
    return round(n * block) if packs(geometry) else geometry.num_bytes(n)


def _mean_block_bytes(plan: BuildPlan, current: ImageCache | None) -> float:
    """Return the mean size of a packed image in bytes, over the cached images or, if there are none, a few new images."""
    finished = read_journal(plan.journal, len(plan.wanted)) if plan.partial_file.exists() else {}
    length = np.array([row.length for row in finished.values()], np.int64)
    previous: Images | None = None if current is None else current.images
    if isinstance(previous, PackedImages):
        length = np.append(length, previous.length)
    length = length[length > 0]
    return float(length.mean()) if len(length) else mean_block_bytes(plan)


def _plan_hash(index: pd.DataFrame) -> str:
    """Return the text <plan> in file names: a hash of the index rows, and of the sizes and times of their files."""
    digest = hashlib.sha256()
    for column in _COLUMNS[:4]:
        digest.update("\x1f".join(map(str, index[column].tolist())).encode() + b"\x1e")
    return digest.hexdigest()[:16]


def _index_columns(geometry: Geometry, *, packed: bool) -> list[str]:
    """Return the columns of the index of a cache."""
    columns = [*_COLUMNS, "fell_back"] if geometry.adaptive else _COLUMNS
    return [*columns, "at", "length"] if packed else columns


def _open(cache_folder: Path, geometry: Geometry) -> ImageCache | None:
    """Return the finished cache, or None if the cache is missing or damaged."""
    try:
        index = pd.read_parquet(cache_folder / "index.parquet")
        text = {column: index[column].astype(object) for column in ("image_id", "path", "reason")}
        index = index.assign(**text)[_index_columns(geometry, packed="at" in index)]
        images = _images(cache_folder, index, geometry)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    for row in np.unique(np.linspace(0, len(index) - 1, _SAMPLED).astype(int)):
        if index["reason"].iloc[row] == "" and not has_checksum(images, row, index["crc32"].iloc[row]):
            return None
    return ImageCache(cast("NDArray[np.uint8]", images), index, _pixel_file(cache_folder, index))


def _images(cache_folder: Path, index: pd.DataFrame, geometry: Geometry) -> Images:
    """Open the pixels that an index refers to. Raises ValueError if the file has a wrong size."""
    path = _pixel_file(cache_folder, index)
    if "at" in index:
        blocks, (at, length) = map_bytes(path), (index[c].to_numpy(np.int64) for c in ("at", "length"))
        if len(blocks) < (at + length).max():
            raise ValueError("blocks are missing")
        return PackedImages(blocks, at, length, geometry.size, str(path))
    if path.stat().st_size != geometry.num_bytes(len(index)):
        raise ValueError("wrong size")
    return np.memmap(path, np.uint8, "r", shape=(len(index), geometry.size, geometry.size))


def _pixel_file(cache_folder: Path, index: pd.DataFrame) -> Path:
    """Return the path of the pixels that an index refers to."""
    return cache_folder / f"images-{_plan_hash(index)}.{'zst' if 'at' in index else 'u8'}"


def _build(plan: BuildPlan, current: ImageCache | None, workers: int, progress: Progress | None) -> None:
    """Write the pixels of a plan, then the index that refers to them."""
    cache_folder, wanted, geometry = plan.target.parent, plan.wanted, plan.geometry
    block_bytes = _mean_block_bytes(plan, current) if packs(geometry) else 0.0
    previous = None if current is None else (current.index, current.images)
    entries = fill(plan, _needed_bytes(len(wanted), geometry, block_bytes), previous, workers, progress)
    plan.partial_file.replace(plan.target)
    index = wanted.assign(
        crc32=np.array([row.crc for row in entries], np.int64),
        reason=[row.reason for row in entries],
        fell_back=[row.fell_back for row in entries],
        at=np.array([row.at for row in entries], np.int64),
        length=np.array([row.length for row in entries], np.int64),
    )[_index_columns(geometry, packed=packs(geometry))]
    with writing(cache_folder / "index.parquet"):
        index.to_parquet(cache_folder / "index.parquet.part")
    (cache_folder / "index.parquet.part").replace(cache_folder / "index.parquet")
    for old in (*cache_folder.glob("images-*"), *cache_folder.glob("hashes-*")):
        if old != plan.target:
            old.unlink(missing_ok=True)
