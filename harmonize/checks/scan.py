"""Scan each image of a cohort once: readability, checksum, perceptual hash and thumbnail.

    <folder>/<cohort>-<root>-v<versions>.records     fixed-size records, appended as images are read

A record is found again by its file's path, size and time of change, so that an interrupted scan goes on and a second
one reads only what changed. What could not be read is tried again each time. Nothing else of an image is kept.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.cache.build import lock
from harmonize.errors import SetupError
from harmonize.images.perceptual_hash import HASH_VERSION, is_flat, perceptual_hash, thumbnail
from harmonize.images.pixels import PIXELS_VERSION, UnreadableImage, read_gray

Progress = Callable[[str, int, int], None]

_AT_LEAST = 128  # pixels: four times the side of a thumbnail
_SMALL = 16  # side of the thumbnail that is kept
_CHUNK = 16  # images between two writes
_RECORD = np.dtype(
    [("key", "V16"), ("content", "V16"), ("hash", "<u8"), ("flat", "?"), ("reason", "S79"), ("small", "u1", _SMALL**2)]
)


@dataclass(frozen=True, eq=False)
class Scan:
    """Scan result of each image, in the order of the cohort's table.

    content   16 bytes that are equal for equal files        hash      64-bit perceptual hash
    flat      nothing to be seen in it                       small     uint8 [N, 256], the image at 16 x 16
    reason    why it cannot be read, "" where it can         reused    how many were known from an earlier scan
    """

    content: NDArray[np.void]
    hash: NDArray[np.uint64]
    flat: NDArray[np.bool_]
    small: NDArray[np.uint8]
    reason: NDArray[np.object_]
    reused: int


def scan(
    name: str, root: Path, paths: Sequence[str], folder: Path, workers: int = 1, progress: Progress | None = None
) -> Scan:
    """Return the scan of the files root/path; results are kept in `folder`.

    progress gets (name, images done, images in all). Raises SetupError when the folder cannot be written.
    """
    path = folder / f"{name}-{_mark(root)}.records"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / f"{path.stem}.lock"):
            return _scan(name, root, paths, path, workers, progress)
    except OSError as error:
        raise SetupError(f"cannot keep what was checked: {error}", str(path), "choose another --store") from error


def _scan(name: str, root: Path, paths: Sequence[str], path: Path, workers: int, progress: Progress | None) -> Scan:
    """Return the scan, with the records file locked."""
    keys = [key_of(image, *_state(root, image)) for image in paths]
    records = np.zeros(len(paths), _RECORD)
    known = _whole_records(path)
    place = {record.tobytes(): number for number, record in enumerate(known["key"])}
    todo = []
    for row, key in enumerate(keys):
        number = place.get(key, -1)
        if number >= 0 and not known["reason"][number]:
            records[row] = known[number]
        else:
            todo.append(row)
    del known
    reused = len(paths) - len(todo)
    done = reused
    if progress is not None:
        progress(name, done, len(paths))
    chunks = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    with path.open("ab") as file:
        for rows, seen in _in_threads(chunks, root, paths, workers):
            seen["key"] = np.frombuffer(b"".join(keys[row] for row in rows), "V16")
            records[rows] = seen
            file.write(seen.tobytes())
            file.flush()
            done += len(rows)
            if progress is not None:
                progress(name, done, len(paths))
    reasons = np.array([reason.decode("utf-8", "replace") for reason in records["reason"]], object)
    return Scan(records["content"], records["hash"], records["flat"], records["small"], reasons, reused)


def _mark(root: Path) -> str:
    """Return the name of the records of an image folder, with the versions that made them."""
    return f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}-v{PIXELS_VERSION}.{HASH_VERSION}"


def records_of(folder: Path, root: Path) -> list[Path]:
    """Return the records of every scan of images below root, whatever the cohort was called."""
    return sorted(folder.glob(f"*-{_mark(root)}.records"))


def _state(root: Path, image: str) -> tuple[int, int]:
    """Return size and modification time of a file, (-1, 0) if it is missing."""
    try:
        status = os.stat(os.path.join(root, image))  # noqa: PTH116, PTH118  (a million times)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def key_of(image: str, size: int, mtime_ns: int) -> bytes:
    """Return 16 bytes that identify a path and the state of its file; size -1 means a missing file."""
    state = "absent" if size < 0 else f"{size}/{mtime_ns}"
    return hashlib.blake2b(f"{image}\x00{state}".encode(), digest_size=16).digest()


def _whole_records(path: Path) -> NDArray[np.void]:
    """Return the records of earlier scans; remove an incomplete last record after an interruption."""
    if path.exists():
        os.truncate(path, path.stat().st_size // _RECORD.itemsize * _RECORD.itemsize)
    return read_records(path)


def read_records(path: Path) -> NDArray[np.void]:
    """Return key, content, hash, flat, reason and small of whole records, in the order in which they were made."""
    if not path.exists():
        return np.zeros(0, _RECORD)
    return np.fromfile(path, _RECORD, path.stat().st_size // _RECORD.itemsize)


def _in_threads(
    chunks: Sequence[list[int]], root: Path, paths: Sequence[str], workers: int
) -> Iterator[tuple[list[int], NDArray[np.void]]]:
    """Yield (rows, records) of each chunk as it is done. Threads do: decoding and checksums run outside Python's lock."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(max(1, workers))
    pending: dict[Future[NDArray[np.void]], list[int]] = {}
    queue = iter(chunks)
    try:
        while True:
            for rows in queue:
                pending[pool.submit(_look, [root / paths[row] for row in rows])] = rows
                if len(pending) >= 2 * workers + 1:
                    break
            if not pending:
                break
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda future: future.exception() is not None):
                yield pending.pop(future), future.result()  # what was read is kept before a failure is raised
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


def _look(files: Sequence[Path]) -> NDArray[np.void]:
    """Return the records of some files, without their keys."""
    records: NDArray[Any] = np.zeros(len(files), _RECORD)
    thumbnails = np.zeros((len(files), 32, 32), np.uint8)
    for number, file in enumerate(files):
        try:
            thumbnails[number] = thumbnail(read_gray(file, _AT_LEAST))
            records["content"][number] = hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
        except (UnreadableImage, OSError) as error:
            records["reason"][number] = str(error).encode()[:79] or b"unreadable"
    records["hash"] = perceptual_hash(thumbnails)
    records["flat"] = is_flat(thumbnails)
    blocks = thumbnails.reshape(len(files), _SMALL, 2, _SMALL, 2).mean(axis=(2, 4))
    records["small"] = blocks.round().astype(np.uint8).reshape(len(files), -1)
    return records
