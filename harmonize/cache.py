"""Every image of a cohort decoded once: one uint8 file [N, S, S] per cohort and geometry, mapped into memory.

    <folder>/<name>-<geometry>-v<PIXELS_VERSION>/
        index.parquet              one row per image: image_id, path, size, mtime_ns, crc32, reason ("" = readable);
                                   of an adaptive region also fell_back
        images-<plan>.u8           the pixels, in the order of the index
        images-<plan>.u8.part      while it is being made, with
        images-<plan>.journal      one line per finished chunk; a killed build goes on after the last whole line

The plan is a hash of all rows with their files' sizes and times: another table or a changed file is another plan, for
which rows that did not change are copied, not decoded. The index is replaced last, so it never names pixels that are
not there.
"""

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from harmonize.cachebuild import CHUNK_BYTES, Row, decode_rows, journal_line, lock, read_journal
from harmonize.errors import SetupError
from harmonize.pixels import PIXELS_VERSION, Geometry

Progress = Callable[[str, int, int], None]
_COLUMNS = ["image_id", "path", "size", "mtime_ns", "crc32", "reason"]
_SAMPLED = 64  # images whose checksum is verified when a cache is opened


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The decoded images of a cohort, read-only."""

    images: NDArray[np.uint8]  # [N, S, S], memory-mapped
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
        """Return the share of readable images whose lungs were not found; None when they were not looked for."""
        good = self.index[self.index["reason"] == ""]
        return float(good["fell_back"].mean()) if "fell_back" in good and len(good) else None

    @property
    def num_bytes(self) -> int:
        """Return the size of the pixels on disk."""
        return int(self.images.nbytes)


def planned_bytes(n: int, geometry: Geometry) -> int:
    """Return the disk space that a cache of n images takes.

    >>> planned_bytes(223_414, Geometry(224))
    11210020864
    """
    return n * geometry.size**2


def open_cache(
    name: str,
    root: Path,
    table: pd.DataFrame,
    geometry: Geometry,
    folder: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> ImageCache:
    """Return the cache of table[image_id, path] below root, made or completed where needed.

    workers > 1 decodes in up to that many processes; a script that calls this needs `if __name__ == "__main__":`.
    progress gets (name, images done, images in all). Raises SetupError when the disk is too small.
    """
    if table.empty:
        raise ValueError("a cache of no images")
    home = folder / f"{name}-{geometry.key}-v{PIXELS_VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    wanted = _stat(root, table)
    with lock(home / "lock"):
        current = _open(home, geometry)
        if current is not None and current.index[_COLUMNS[:4]].equals(wanted):
            return current
        _build(name, root, wanted, geometry, home, current, workers, progress)
    opened = _open(home, geometry)
    if opened is None:
        raise SetupError("the image cache cannot be read back", str(home), "check the disk, then delete this folder")
    return opened


def _stat(root: Path, table: pd.DataFrame) -> pd.DataFrame:
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


def _pixels(home: Path, plan: str) -> Path:
    """Return where the pixels of a plan lie."""
    return home / f"images-{plan}.u8"


def _plan(index: pd.DataFrame) -> str:
    """Return the name of a build: a hash of its rows and their files."""
    digest = hashlib.sha256()
    for column in _COLUMNS[:4]:
        digest.update("\x1f".join(map(str, index[column].tolist())).encode() + b"\x1e")
    return digest.hexdigest()[:16]


def _columns(geometry: Geometry) -> list[str]:
    """Return the columns of the index."""
    return [*_COLUMNS, "fell_back"] if geometry.adaptive else _COLUMNS


def _open(home: Path, geometry: Geometry) -> ImageCache | None:
    """Return the finished cache, None when there is none or when it is damaged."""
    try:
        index = pd.read_parquet(home / "index.parquet")
        text = {column: index[column].astype(object) for column in ("image_id", "path", "reason")}
        index = index.assign(**text)[_columns(geometry)]
        shape = (len(index), geometry.size, geometry.size)
        path = _pixels(home, _plan(index))
        if path.stat().st_size != planned_bytes(len(index), geometry):
            return None
        images = np.memmap(path, np.uint8, "r", shape=shape)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    for row in np.unique(np.linspace(0, len(index) - 1, _SAMPLED).astype(int)):
        if index["reason"].iloc[row] == "" and zlib.crc32(images[row].tobytes()) != index["crc32"].iloc[row]:
            return None
    return ImageCache(images, index)


def _build(
    name: str,
    root: Path,
    wanted: pd.DataFrame,
    geometry: Geometry,
    home: Path,
    current: ImageCache | None,
    workers: int,
    progress: Progress | None,
) -> None:
    """Make the pixels of a plan: from the journal, else from the current cache, else from the files."""
    plan, total = _plan(wanted), len(wanted)
    part, journal = home / f"images-{plan}.u8.part", home / f"images-{plan}.journal"
    _check_disk(home, part, planned_bytes(total, geometry))
    known = read_journal(journal, total) if part.exists() else {}
    with part.open("r+b" if part.exists() else "w+b") as file:
        file.truncate(planned_bytes(total, geometry))
    images = np.memmap(part, np.uint8, "r+", shape=(total, geometry.size, geometry.size))
    done: dict[int, Row] = {
        row: entry for row, entry in known.items() if entry[1] or zlib.crc32(images[row].tobytes()) == entry[0]
    }
    if current is not None:
        done |= _reuse(wanted, current, images, done)
    if progress is not None:
        progress(name, len(done), total)
    todo = [row for row in range(total) if row not in done]
    per_chunk = max(1, min(64, CHUNK_BYTES // geometry.size**2))
    chunks = [todo[start : start + per_chunk] for start in range(0, len(todo), per_chunk)]
    paths = [str(root / path) if size >= 0 else "" for path, size in zip(wanted["path"], wanted["size"], strict=True)]
    with journal.open("a", encoding="utf-8") as log:
        for rows, pixels, entries in decode_rows(chunks, paths, geometry, workers):
            images[rows] = pixels
            done |= zip(rows, entries, strict=True)
            log.write(journal_line(rows, entries))
            log.flush()
            if progress is not None:
                progress(name, len(done), total)
    images.flush()
    del images
    part.replace(_pixels(home, plan))
    entries = [done[row] for row in range(total)]
    index = wanted.assign(
        crc32=np.array([crc for crc, *_ in entries], np.int64),
        reason=[reason for _, reason, _ in entries],
        fell_back=[fell_back for *_, fell_back in entries],
    )[_columns(geometry)]
    index.to_parquet(home / "index.parquet.part")
    (home / "index.parquet.part").replace(home / "index.parquet")
    for old in home.glob("images-*"):
        if old != _pixels(home, plan):
            old.unlink(missing_ok=True)


def _reuse(
    wanted: pd.DataFrame, current: ImageCache, images: NDArray[np.uint8], done: dict[int, Row]
) -> dict[int, Row]:
    """Copy the pixels of unchanged files from the current cache; return their rows."""
    keys = ["path", "size", "mtime_ns"]
    good = current.index[current.index["reason"] == ""]
    source = {key: row for row, *key_ in good[keys].itertuples() for key in [tuple(key_)]}
    crcs = current.index["crc32"].to_numpy()
    fell_back = current.index["fell_back"].tolist() if "fell_back" in current.index else [False] * len(crcs)
    reused: dict[int, Row] = {}
    for row, key in enumerate(wanted[keys].itertuples(index=False, name=None)):
        if key in source and row not in done:
            images[row] = current.images[source[key]]
            crc = zlib.crc32(images[row].tobytes())
            if crc == crcs[source[key]]:
                reused[row] = (crc, "", fell_back[source[key]])
    return reused


def _check_disk(home: Path, part: Path, needed: int) -> None:
    """Raise SetupError when the pixels do not fit on the disk."""
    written = part.stat().st_blocks * 512 if part.exists() else 0
    free = shutil.disk_usage(home).free + written
    if needed > free:
        what = f"the image cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise SetupError(what, str(home), "free some space, put the store on another disk, or choose a smaller size")
