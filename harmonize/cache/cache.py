"""Every image of a cohort decoded once: one uint8 file per cohort and geometry, mapped into memory.

    <folder>/<name>-<geometry>-v<PIXELS_VERSION>/
        index.parquet              one row per image: image_id, path, size, mtime_ns, crc32, reason ("" = readable);
                                   of an adaptive region also fell_back, of packed images also at and length
        images-<plan>.u8           the pixels [N, S, S], in the order of the index; or, from 1024 pixels on,
        images-<plan>.zst          their blocks (harmonize.cache.packed), each at its place
        images-<plan>.*.part       while it is being made, with
        images-<plan>.journal      one line per finished chunk; a killed build goes on after the last whole line

The plan is a hash of all rows with their files' sizes and times: another table or a changed file is another plan, for
which rows that did not change are copied, not decoded. The index is replaced last, so it never names pixels that are
not there.
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

from harmonize.cache.build import POOL_WORTH_S, lock, packs, read_journal
from harmonize.cache.fill import Filling, Progress, fill, holds, mapped, measure
from harmonize.cache.packed import Images, PackedImages
from harmonize.errors import SetupError
from harmonize.images.pixels import PIXELS_VERSION, Geometry

_COLUMNS = ["image_id", "path", "size", "mtime_ns", "crc32", "reason"]
_SAMPLED = 64  # images whose checksum is verified when a cache is opened


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The decoded images of a cohort, read-only."""

    images: NDArray[np.uint8]  # [N, S, S], memory-mapped; from 1024 px on PackedImages, which is indexed like an array
    index: pd.DataFrame

    def rows(self, image_ids: "pd.Series[str] | list[str]") -> NDArray[np.int64]:
        """Return each image's row in `images`, -1 for one that is unreadable or unknown."""
        ids = pd.Index(self.index["image_id"])
        place = ids.get_indexer(pd.Index(image_ids)).astype(np.int64)
        readable = np.append((self.index["reason"] == "").to_numpy(), False)
        return np.where(readable[place], place, -1)

    @property
    def quarantine(self) -> pd.DataFrame:
        """Return image_id, path and reason of images that could not be decoded."""
        bad = self.index["reason"] != ""
        return self.index.loc[bad, ["image_id", "path", "reason"]].reset_index(drop=True)

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that change when any image's pixels do, whatever the order of rows."""
        digest = hashlib.sha256()
        good = self.index[self.index["reason"] == ""]
        for image, crc in sorted(zip(good["image_id"], good["crc32"], strict=True)):
            digest.update(f"{image}\x1f{crc}\x1e".encode())
        return digest.hexdigest()[:16]

    @property
    def fallback_rate(self) -> float | None:
        """Return the share of readable images in which no lungs were found; None if the geometry does not use lungs."""
        good = self.index[self.index["reason"] == ""]
        return float(good["fell_back"].mean()) if "fell_back" in good and len(good) else None

    @property
    def num_bytes(self) -> int:
        """Return the size of the pixels on disk."""
        images: Images = self.images
        return int((images.blocks if isinstance(images, PackedImages) else images).nbytes)


def finished_cache(folder: Path, name: str, geometry: Geometry, fingerprint: str) -> ImageCache | None:
    """Return the finished cache with this fingerprint below `folder`, None if it does not exist."""
    for home in sorted(folder.glob(f"*/{glob.escape(name)}-{geometry.key}-v{PIXELS_VERSION}")):
        cache = _open(home, geometry)
        if cache is not None and cache.fingerprint == fingerprint:
            return cache
    return None


def planned_bytes(n: int, geometry: Geometry) -> int:
    """Return the disk space that a cache of n images takes; packed ones take less, see `forecast`.

    >>> planned_bytes(223_414, Geometry(224))
    11210020864
    """
    return n * geometry.size**2


@dataclass(frozen=True, slots=True)
class Forecast:
    """Time and disk space that a cache will take, measured on a few of its files."""

    images: int  # to be decoded
    num_bytes: int  # on disk, once it is finished
    seconds: float  # wall clock, until then


def forecast(
    name: str, root: Path, states: pd.DataFrame, geometry: Geometry, folder: Path, workers: int = 1
) -> Forecast:
    """Return what `open_cache` would have to do for a table whose `file_states` are known; nothing is written.

    Up to eight files, spread over those that are not decoded yet, are decoded and timed. Reading a disk that others
    use, or a file that lies on another machine, may later take longer or shorter than it did for these.
    """
    home = _home(name, geometry, folder)
    current, filling = _open(home, geometry), _filling(name, root, states, geometry, home)
    if current is not None and _same(current.index, states):
        return Forecast(0, current.num_bytes, 0.0)
    known = read_journal(filling.journal, len(states)) if filling.part.exists() else {}
    left = np.ones(len(states), bool)
    left[list(known)] = False
    if current is not None:
        keys = ["path", "size", "mtime_ns"]
        good = current.index[current.index["reason"] == ""]
        left &= ~pd.MultiIndex.from_frame(states[keys]).isin(pd.MultiIndex.from_frame(good[keys]))
    seconds, block = measure(filling, np.flatnonzero(left))
    alone = seconds * int(left.sum())
    processes = min(workers, os.cpu_count() or 1) if alone >= POOL_WORTH_S else 1
    return Forecast(int(left.sum()), _needed(len(states), geometry, block), alone / processes)


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
    """Return the cache of table[image_id, path] below root, made or completed where needed.

    `states` are the table's `file_states` where they are known: asking for a million files takes a while.

    workers > 1 decodes in up to that many processes; a script that calls this needs `if __name__ == "__main__":`.
    progress gets (name, images done, images in all). Raises SetupError when the disk is too small.
    """
    if table.empty:
        raise ValueError("a cache of no images")
    home = _home(name, geometry, folder)
    home.mkdir(parents=True, exist_ok=True)
    wanted = file_states(root, table) if states is None else states
    with lock(home / "lock"):
        current = _open(home, geometry)
        if current is not None and _same(current.index, wanted):
            return current
        _build(_filling(name, root, wanted, geometry, home), current, workers, progress)
    opened = _open(home, geometry)
    if opened is None:
        raise SetupError("the image cache cannot be read back", str(home), "check the disk, then delete this folder")
    return opened


def read_cache(name: str, table: pd.DataFrame, geometry: Geometry, folder: Path) -> ImageCache | None:
    """Return the cache that `open_cache` has filled for table[image_id, path], None if there is none or it is of other images.

    Nothing is decoded, and no image file is read.
    """
    cache = _open(_home(name, geometry, folder), geometry)
    if cache is None or len(cache.index) != len(table):
        return None
    same = all((cache.index[c].array == table[c].astype(str).to_numpy(object)).all() for c in ("image_id", "path"))
    return cache if same else None


def file_states(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return image_id, path, size and mtime_ns of every row; size -1 for a file that is absent."""
    sizes, times = [], []
    for path in table["path"]:
        try:
            status = os.stat(os.path.join(root, path)) if path else None  # noqa: PTH116, PTH118  (a million times)
        except OSError:
            status = None
        sizes.append(-1 if status is None else status.st_size)
        times.append(0 if status is None else status.st_mtime_ns)
    ids = {column: table[column].astype(str).to_numpy(object) for column in ("image_id", "path")}
    return pd.DataFrame(ids | {"size": np.array(sizes, np.int64), "mtime_ns": np.array(times, np.int64)})


def _home(name: str, geometry: Geometry, folder: Path) -> Path:
    """Return the folder of a cache."""
    return folder / f"{name}-{geometry.key}-v{PIXELS_VERSION}"


def _same(index: pd.DataFrame, states: pd.DataFrame) -> bool:
    """Whether a cache is of these files: by values, because the types of text differ from table to table."""
    columns = _COLUMNS[:4]
    return len(index) == len(states) and all(bool((index[c].array == states[c].to_numpy()).all()) for c in columns)


def _filling(name: str, root: Path, wanted: pd.DataFrame, geometry: Geometry, home: Path) -> Filling:
    """Return the cache that must be filled for a table."""
    suffix = "zst" if packs(geometry) else "u8"
    return Filling(name, root, wanted, geometry, home / f"images-{_plan(wanted)}.{suffix}")


def _needed(n: int, geometry: Geometry, block: float) -> int:
    """Return the disk space of n images; packed ones have blocks of `block` bytes."""
    return round(n * block) if packs(geometry) else planned_bytes(n, geometry)


def _block(filling: Filling, current: ImageCache | None) -> float:
    """Return the mean bytes of a packed image, from images packed before or else from a few that are decoded now."""
    known = read_journal(filling.journal, len(filling.wanted)) if filling.part.exists() else {}
    length = np.array([row.length for row in known.values()], np.int64)
    before: Images | None = None if current is None else current.images
    if isinstance(before, PackedImages):
        length = np.append(length, before.length)
    length = length[length > 0]
    return float(length.mean()) if len(length) else measure(filling, np.arange(len(filling.wanted)))[1]


def _plan(index: pd.DataFrame) -> str:
    """Return the name of a build: a hash of its rows and their files."""
    digest = hashlib.sha256()
    for column in _COLUMNS[:4]:
        digest.update("\x1f".join(map(str, index[column].tolist())).encode() + b"\x1e")
    return digest.hexdigest()[:16]


def _columns(geometry: Geometry, *, packed: bool) -> list[str]:
    """Return the columns of the index."""
    return _COLUMNS + ["fell_back"] * geometry.adaptive + ["at", "length"] * packed


def _open(home: Path, geometry: Geometry) -> ImageCache | None:
    """Return the finished cache, None if it is missing or damaged."""
    try:
        index = pd.read_parquet(home / "index.parquet")
        text = {column: index[column].astype(object) for column in ("image_id", "path", "reason")}
        index = index.assign(**text)[_columns(geometry, packed="at" in index)]
        images = _images(home, index, geometry)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    for row in np.unique(np.linspace(0, len(index) - 1, _SAMPLED).astype(int)):
        if index["reason"].iloc[row] == "" and not holds(images, row, index["crc32"].iloc[row]):
            return None
    return ImageCache(cast("NDArray[np.uint8]", images), index)


def _images(home: Path, index: pd.DataFrame, geometry: Geometry) -> Images:
    """Return the pixels of an index. Raises ValueError when the file is of another size."""
    plan = home / f"images-{_plan(index)}"
    if "at" in index:
        blocks, (at, length) = mapped(plan.with_suffix(".zst")), (index[c].to_numpy(np.int64) for c in ("at", "length"))
        if len(blocks) < (at + length).max():
            raise ValueError("blocks are missing")
        return PackedImages(blocks, at, length, geometry.size, str(plan.with_suffix(".zst")))
    path = plan.with_suffix(".u8")
    if path.stat().st_size != planned_bytes(len(index), geometry):
        raise ValueError("of another size")
    return np.memmap(path, np.uint8, "r", shape=(len(index), geometry.size, geometry.size))


def _build(filling: Filling, current: ImageCache | None, workers: int, progress: Progress | None) -> None:
    """Make the pixels of a plan, then the index that names them."""
    home, wanted, geometry = filling.target.parent, filling.wanted, filling.geometry
    block = _block(filling, current) if packs(geometry) else 0.0
    before = None if current is None else (current.index, current.images)
    entries = fill(filling, _needed(len(wanted), geometry, block), before, workers, progress)
    filling.part.replace(filling.target)
    index = wanted.assign(
        crc32=np.array([row.crc for row in entries], np.int64),
        reason=[row.reason for row in entries],
        fell_back=[row.fell_back for row in entries],
        at=np.array([row.at for row in entries], np.int64),
        length=np.array([row.length for row in entries], np.int64),
    )[_columns(geometry, packed=packs(geometry))]
    index.to_parquet(home / "index.parquet.part")
    (home / "index.parquet.part").replace(home / "index.parquet")
    for old in home.glob("images-*"):
        if old != filling.target:
            old.unlink(missing_ok=True)
