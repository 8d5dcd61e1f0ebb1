"""Fill a cache with pixels: keep those of an interrupted build, copy those of the previous cache, decode the others.

The index is the table of the cache's images, one row per image. The journal is a file that lists the finished rows of
an unfinished cache. A cache has N images of S x S pixels. A packed image is stored as a compressed block of bytes.
Unpacked images are stored in the order of the index. Blocks are stored in the order in which they are written.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cache.build import (
    CHUNK_BYTES,
    CachedRow,
    Pixels,
    decode,
    decode_rows,
    journal_line,
    packs,
    read_journal,
    stored,
)
from harmonize.cache.packed import Images, PackedImages
from harmonize.disk_space import DiskFullError, size
from harmonize.errors import SetupError
from harmonize.images.pixels import Geometry
from harmonize.progress import Progress

_SAMPLED = 8  # number of files whose packed size is measured before a build


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The rows of a cache that will be built, and the file for their pixels."""

    name: str
    root: Path
    wanted: pd.DataFrame  # one row per image; columns image_id, path, size, mtime_ns (see `cache.file_states`)
    geometry: Geometry
    target: Path  # the finished file; during a build, the folder also has a .part file and a .journal file

    @property
    def partial_file(self) -> Path:
        """Return the path of the unfinished file."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def journal(self) -> Path:
        """Return the path of the journal, which lists the finished rows."""
        return self.target.with_suffix(".journal")

    def files(self) -> list[str]:
        """Return the path of every row's image, "" for a missing file."""
        paths_and_sizes = zip(self.wanted["path"], self.wanted["size"], strict=True)
        return [str(self.root / path) if size >= 0 else "" for path, size in paths_and_sizes]


class PlainWriter:
    """Writes unpacked pixels into one array [N, S, S], in the order of the index."""

    def __init__(self, path: Path, total: int, geometry: Geometry, finished: dict[int, CachedRow]) -> None:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(total * geometry.size**2)
            # Reserve the space now: if the disk became full later, writing to the map would kill the process (SIGBUS).
            if total and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, total * geometry.size**2)
        self.images = np.memmap(path, np.uint8, "r+", shape=(total, geometry.size, geometry.size))
        self.done = {
            row: entry for row, entry in finished.items() if entry.reason or has_checksum(self.images, row, entry.crc)
        }

    def write(self, rows: list[int], pixels: Pixels, entries: Sequence[CachedRow]) -> list[CachedRow]:
        """Write the pixels of these rows; return the entries for the journal."""
        self.images[rows] = pixels
        return list(entries)

    def close(self) -> None:
        """Write all pixels to the file."""
        self.images.flush()


class PackedWriter:
    """Appends compressed blocks to a file; the journal entries give the position of each block."""

    def __init__(self, path: Path, total: int, geometry: Geometry, finished: dict[int, CachedRow]) -> None:
        path.touch()
        at, length = (np.array([getattr(finished.get(k), name, 0) for k in range(total)]) for name in ("at", "length"))
        self.end = int((at + length).max(initial=0))
        if self.end > path.stat().st_size:  # the journal lists blocks that the file does not have: begin from nothing
            finished, self.end = {}, 0
        written = PackedImages(map_bytes(path), at, length, geometry.size, str(path))
        self.done = {
            row: entry for row, entry in finished.items() if entry.reason or has_checksum(written, row, entry.crc)
        }
        del written
        self.file = path.open("r+b")
        self.file.truncate(self.end)  # remove blocks at the end that an interrupted build did not record in the journal
        self.file.seek(self.end)

    def write(self, rows: list[int], pixels: Pixels, entries: Sequence[CachedRow]) -> list[CachedRow]:
        """Append blocks; return the entries for the journal."""
        located = []
        for _, block, entry in zip(rows, pixels, entries, strict=True):
            located.append(entry._replace(at=self.end, length=len(block)))
            self.end += self.file.write(block)
        self.file.flush()
        return located

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file as a memory map; an empty array for an empty file."""
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def has_checksum(images: Images, row: int, crc: int) -> bool:
    """Return whether a row has pixels, and whether their checksum is `crc`."""
    try:
        return zlib.crc32(images[row].tobytes()) == crc
    except (SetupError, IndexError):
        return False


def fill(
    plan: BuildPlan, needed: int, current: tuple[pd.DataFrame, Images] | None, workers: int, progress: Progress | None
) -> list[CachedRow]:
    """Write the pixels of all rows and return their journal entries, in the order of the rows.

    needed   expected disk space in bytes
    current  index and pixels of the previous cache, or None

    Raises SetupError if the disk is too small.
    """
    total = len(plan.wanted)
    check_disk(plan.partial_file, needed)
    finished = read_journal(plan.journal, total) if plan.partial_file.exists() else {}
    size = plan.geometry.size
    per_chunk = max(1, min(64, CHUNK_BYTES // size**2))
    writer: PackedWriter | PlainWriter | None = None
    try:
        writer_class = PackedWriter if packs(plan.geometry) else PlainWriter
        writer = writer_class(plan.partial_file, total, plan.geometry, finished)
        done = writer.done
        with plan.journal.open("a", encoding="utf-8") as log:

            def record(rows: list[int], pixels: Pixels, entries: Sequence[CachedRow]) -> None:
                located = writer.write(rows, pixels, entries)
                done.update(zip(rows, located, strict=True))
                log.write(journal_line(rows, located))
                log.flush()

            if current is not None:
                _reuse(plan, current, done, per_chunk, record)
            if progress is not None:
                progress(plan.name, len(done), total)
            todo = [row for row in range(total) if row not in done]
            chunks = [todo[start : start + per_chunk] for start in range(0, len(todo), per_chunk)]
            for rows, pixels, entries in decode_rows(chunks, plan.files(), plan.geometry, workers):
                record(rows, pixels, entries)
                if progress is not None:
                    progress(plan.name, len(done), total)
    except OSError as error:
        full = DiskFullError.of(error, plan.partial_file, needed)
        if full is None:
            raise
        fix = f"{full.fix}: the build continues where it stopped"
        raise SetupError(f"cannot write the image cache: {full.strerror}", str(full.filename), fix) from error
    finally:
        if writer is not None:
            writer.close()
    return [done[row] for row in range(total)]


def mean_block_bytes(plan: BuildPlan) -> float:
    """Return the mean size of a packed image in bytes, over at most eight evenly spread files; 0 if none is readable."""
    rows = np.flatnonzero(plan.wanted["size"].to_numpy() >= 0)
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(int))] if len(rows) else rows
    pixels, entries = decode([str(plan.root / path) for path in plan.wanted["path"].iloc[sample]], plan.geometry)
    sizes = [len(block) for block, entry in zip(pixels, entries, strict=True) if not entry.reason]
    return float(np.mean(sizes)) if sizes else 0.0


def _reuse(
    plan: BuildPlan,
    current: tuple[pd.DataFrame, Images],
    done: dict[int, CachedRow],
    per_chunk: int,
    record: Callable[[list[int], Pixels, Sequence[CachedRow]], None],
) -> None:
    """Copy the pixels of unchanged files from the previous cache; rows in `done` are skipped.

    `current` has the index and the pixels of the previous cache. `record` writes a chunk of pixels and its journal
    line.
    """
    index, images = current
    keys = ["path", "size", "mtime_ns"]
    readable = index[index["reason"] == ""]
    old_row_of = {key: row for row, *key_ in readable[keys].itertuples() for key in [tuple(key_)]}
    crcs = index["crc32"].to_numpy()
    fell_back = index["fell_back"].tolist() if "fell_back" in index else [False] * len(crcs)
    keys_of_rows = plan.wanted[keys].itertuples(index=False, name=None)
    unchanged = [
        (row, old_row_of[key]) for row, key in enumerate(keys_of_rows) if key in old_row_of and row not in done
    ]
    for start in range(0, len(unchanged), per_chunk):
        copied = [
            (row, old_row)
            for row, old_row in unchanged[start : start + per_chunk]
            if has_checksum(images, old_row, crcs[old_row])
        ]
        if copied:
            entries = [CachedRow(int(crcs[old_row]), "", bool(fell_back[old_row])) for _, old_row in copied]
            pixels = stored(np.stack([images[old_row] for _, old_row in copied]), entries, plan.geometry)
            record([row for row, _ in copied], pixels, entries)


def check_disk(path: Path, needed: int) -> None:
    """Raise SetupError if the disk has fewer free bytes than `needed`; bytes of the file `path` itself count as free."""
    written = path.stat().st_blocks * 512 if path.exists() else 0
    free = shutil.disk_usage(path.parent).free + written
    if needed > free:
        problem = f"the image cache needs {size(needed)}, {size(free)} are free"
        fix = "free some space, put the store on another disk, or choose a smaller size"
        raise SetupError(problem, str(path.parent), fix)
