"""How the pixels of a cache get on disk: from an interrupted build, from the cache before, from the files, in that order.

Plain pixels lie in the order of the index; blocks of packed ones lie in the order in which they came.
"""

import errno
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cache.build import (
    CHUNK_BYTES,
    Pixels,
    Row,
    decode,
    decode_rows,
    journal_line,
    packs,
    read_journal,
    stored,
)
from harmonize.cache.packed import Images, PackedImages
from harmonize.errors import SetupError
from harmonize.images.pixels import Geometry

Progress = Callable[[str, int, int], None]
_HANDFUL = 8  # files that tell how long the others take


@dataclass(frozen=True, slots=True)
class Filling:
    """A cache to be made: the rows that are wanted, and where their pixels go."""

    name: str
    root: Path
    wanted: pd.DataFrame  # image_id, path, size, mtime_ns
    geometry: Geometry
    target: Path  # beside it: .part and .journal while it is being made

    @property
    def part(self) -> Path:
        """Return the file that is being written."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def journal(self) -> Path:
        """Return the path of the journal, which lists the rows that are written."""
        return self.target.with_suffix(".journal")

    def files(self) -> list[str]:
        """Return the path of the file of every row, "" if the file is missing."""
        listed = zip(self.wanted["path"], self.wanted["size"], strict=True)
        return [str(self.root / path) if size >= 0 else "" for path, size in listed]


class Plain:
    """Pixels in the order of the index: one array [N, S, S]."""

    def __init__(self, part: Path, total: int, geometry: Geometry, known: dict[int, Row]) -> None:
        with part.open("r+b" if part.exists() else "w+b") as file:
            file.truncate(total * geometry.size**2)
        self.images = np.memmap(part, np.uint8, "r+", shape=(total, geometry.size, geometry.size))
        self.done = {row: entry for row, entry in known.items() if entry.reason or holds(self.images, row, entry.crc)}

    def write(self, rows: list[int], pixels: Pixels, entries: Sequence[Row]) -> list[Row]:
        """Put pixels in their places; return the entries for the journal."""
        self.images[rows] = pixels
        return list(entries)

    def close(self) -> None:
        """Hand everything to the system."""
        self.images.flush()


class Packed:
    """Blocks one after the other; the entries say where each is."""

    def __init__(self, part: Path, total: int, geometry: Geometry, known: dict[int, Row]) -> None:
        part.touch()
        at, length = (np.array([getattr(known.get(k), name, 0) for k in range(total)]) for name in ("at", "length"))
        self.end = int((at + length).max(initial=0))
        if self.end > part.stat().st_size:  # a journal of blocks that never got to the disk
            known, self.end = {}, 0
        written = PackedImages(mapped(part), at, length, geometry.size, str(part))
        self.done = {row: entry for row, entry in known.items() if entry.reason or holds(written, row, entry.crc)}
        del written
        self.file = part.open("r+b")
        self.file.truncate(self.end)  # what a killed build wrote and did not note
        self.file.seek(self.end)

    def write(self, rows: list[int], pixels: Pixels, entries: Sequence[Row]) -> list[Row]:
        """Append blocks; return the entries for the journal."""
        placed = []
        for _, block, entry in zip(rows, pixels, entries, strict=True):
            placed.append(entry._replace(at=self.end, length=len(block)))
            self.end += self.file.write(block)
        self.file.flush()
        return placed

    def close(self) -> None:
        """Hand everything to the system."""
        self.file.close()


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file, memory-mapped; no bytes if the file is empty."""
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def holds(images: Images, row: int, crc: int) -> bool:
    """Return whether the pixels of a row exist and have this checksum."""
    try:
        return zlib.crc32(images[row].tobytes()) == crc
    except (SetupError, IndexError):
        return False


def fill(
    filling: Filling,
    needed: int,
    current: tuple[pd.DataFrame, Images] | None,
    workers: int,
    progress: Progress | None,
) -> list[Row]:
    """Write the pixels of all rows and return their entries, in the order of the rows.

    `needed` is the disk space that it is expected to take; `current` the index and pixels of the cache before.
    Raises SetupError when the disk is too small.
    """
    total = len(filling.wanted)
    check_disk(filling.part, needed)
    known = read_journal(filling.journal, total) if filling.part.exists() else {}
    writer = (Packed if packs(filling.geometry) else Plain)(filling.part, total, filling.geometry, known)
    done = writer.done
    size = filling.geometry.size
    per_chunk = max(1, min(64, CHUNK_BYTES // size**2))
    try:
        with filling.journal.open("a", encoding="utf-8") as log:

            def note(rows: list[int], pixels: Pixels, entries: Sequence[Row]) -> None:
                placed = writer.write(rows, pixels, entries)
                done.update(zip(rows, placed, strict=True))
                log.write(journal_line(rows, placed))
                log.flush()

            if current is not None:
                _reuse(filling, current, done, per_chunk, note)
            if progress is not None:
                progress(filling.name, len(done), total)
            todo = [row for row in range(total) if row not in done]
            chunks = [todo[start : start + per_chunk] for start in range(0, len(todo), per_chunk)]
            for rows, pixels, entries in decode_rows(chunks, filling.files(), filling.geometry, workers):
                note(rows, pixels, entries)
                if progress is not None:
                    progress(filling.name, len(done), total)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fix = "free some space and run again: it goes on where it stopped"
        raise SetupError("the disk is full", str(filling.part), fix) from error
    finally:
        writer.close()
    return [done[row] for row in range(total)]


def measure(filling: Filling, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Return the seconds that one of these rows takes to decode, and the bytes of its block where images are packed.

    Judged by up to eight of them that are there, evenly spread; both 0 where there is none.
    """
    rows = rows[(filling.wanted["size"].to_numpy() >= 0)[rows]]
    some = rows[np.unique(np.linspace(0, len(rows) - 1, _HANDFUL).astype(int))] if len(rows) else rows
    files, spent, length = filling.wanted["path"].to_numpy(object), [], []
    for row in some.tolist():
        start = time.perf_counter()
        pixels, (entry,) = decode([str(filling.root / files[row])], filling.geometry)
        spent.append(time.perf_counter() - start)
        if not entry.reason:
            length.append(len(pixels[0]))
    return (float(np.mean(spent)) if spent else 0.0), (float(np.mean(length)) if length else 0.0)


def _reuse(
    filling: Filling,
    current: tuple[pd.DataFrame, Images],
    done: dict[int, Row],
    per_chunk: int,
    note: Callable[[list[int], Pixels, Sequence[Row]], None],
) -> None:
    """Copy the pixels of unchanged files from the cache before."""
    index, images = current
    keys = ["path", "size", "mtime_ns"]
    good = index[index["reason"] == ""]
    source = {key: row for row, *key_ in good[keys].itertuples() for key in [tuple(key_)]}
    crcs = index["crc32"].to_numpy()
    fell_back = index["fell_back"].tolist() if "fell_back" in index else [False] * len(crcs)
    wanted = filling.wanted[keys].itertuples(index=False, name=None)
    same = [(row, source[key]) for row, key in enumerate(wanted) if key in source and row not in done]
    for start in range(0, len(same), per_chunk):
        some = [(row, old) for row, old in same[start : start + per_chunk] if holds(images, old, crcs[old])]
        if some:
            entries = [Row(int(crcs[old]), "", bool(fell_back[old])) for _, old in some]
            pixels = stored(np.stack([images[old] for _, old in some]), entries, filling.geometry)
            note([row for row, _ in some], pixels, entries)


def check_disk(part: Path, needed: int) -> None:
    """Raise SetupError when the pixels do not fit on the disk."""
    written = part.stat().st_blocks * 512 if part.exists() else 0
    free = shutil.disk_usage(part.parent).free + written
    if needed > free:
        what = f"the image cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        fix = "free some space, put the store on another disk, or choose a smaller size"
        raise SetupError(what, str(part.parent), fix)
