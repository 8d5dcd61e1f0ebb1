"""Scan each image of a cohort once; store its checksum, hash, thumbnail and remarks, or why the image is unreadable.

    <folder>/<cohort>-<root>-v<versions>.records     one record of fixed size for each image, appended after its scan

<root> is a hash of the image folder; <versions> are PIXELS_VERSION and HASH_VERSION. The key of a record is a hash of
the image file's path, size and modification time. So an interrupted scan can continue, and a second scan reads only
changed files. Each scan tries unreadable files again.
"""

import hashlib
import os
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.checks.non_cxr_checks import unlike_radiograph
from harmonize.disk_space import DiskFullError
from harmonize.errors import SetupError
from harmonize.file_lock import file_lock
from harmonize.images.image_header import InMemory, UnreadableImage
from harmonize.images.perceptual_hash import HASH_VERSION, SMALL_SIDE, is_flat, perceptual_hash, smaller, thumbnail
from harmonize.images.pixels import PIXELS_VERSION, file_size, read_gray
from harmonize.images.shards import file_bytes
from harmonize.progress import Progress

# px; a JPEG may be decoded at a reduced size, but each side keeps at least this length: four times the side of the
# thumbnail that is hashed
_MIN_SIDE = 128
_CHUNK = 16  # number of images per write to the file
_TEXT = 120  # maximum number of bytes of a text
_RECORD = np.dtype(
    [
        ("key", "V16"),
        ("content", "V16"),
        ("hash", "<u8"),
        ("flat", "?"),
        ("reason", f"S{_TEXT}"),
        ("remark", f"S{_TEXT}"),
        ("size", "<u4", 2),
        ("small", "u1", SMALL_SIDE**2),
    ]
)


@dataclass(frozen=True, eq=False)
class Scan:
    """The scan results of N images, in the order of the cohort's table.

    content   16 bytes that are equal for equal files        hash      64-bit perceptual hash
    flat      True for a blank image                         small     uint8 [N, 256], the image at 16 x 16
    reason    why the image is unreadable, or ""             reused    number of results from an earlier scan
    remark    what is unusual about the file, or ""          size      uint32 [N, 2], height and width of the file
    """

    content: NDArray[np.void]
    hash: NDArray[np.uint64]
    flat: NDArray[np.bool_]
    small: NDArray[np.uint8]
    reason: NDArray[np.object_]
    remark: NDArray[np.object_]
    size: NDArray[np.uint32]
    reused: int


def scan(
    name: str, root: Path, paths: Sequence[str], folder: Path, workers: int = 1, progress: Progress | None = None
) -> Scan:
    """Scan the files `paths` below root; the results are also stored in `folder` for the next scan.

    `name` is the name of the cohort. `progress` is called with (name, images done, total images). Raises SetupError if
    the folder cannot be written.
    """
    hash_of_root = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    path = folder / f"{name}-{hash_of_root}-v{PIXELS_VERSION}.{HASH_VERSION}.records"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f"{path.stem}.lock"):
            return _scan(name, root, paths, path, workers, progress)
    except OSError as error:
        full = DiskFullError.of(error, path, len(paths) * _RECORD.itemsize)
        problem, fix = (full.strerror, full.fix) if full else (error, "choose another --store")
        raise SetupError(f"cannot store the scan results: {problem}", str(path), fix) from error


def _scan(name: str, root: Path, paths: Sequence[str], path: Path, workers: int, progress: Progress | None) -> Scan:
    """Scan the files; the caller must have locked the records file."""
    keys = [_key_of(image, *_file_state(root, image)) for image in paths]
    records = np.zeros(len(paths), _RECORD)
    stored = _complete_records(path)
    position = {record.tobytes(): index for index, record in enumerate(stored["key"])}
    todo = []
    for row, key in enumerate(keys):
        index = position.get(key, -1)
        if index >= 0 and not stored["reason"][index]:
            records[row] = stored[index]
        else:
            todo.append(row)
    del stored
    reused = len(paths) - len(todo)
    done = reused
    if progress is not None:
        progress(name, done, len(paths))
    chunks = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    with path.open("ab") as file:
        for rows, new_records in _in_threads(chunks, root, paths, workers):
            new_records["key"] = np.frombuffer(b"".join(keys[row] for row in rows), "V16")
            records[rows] = new_records
            file.write(new_records.tobytes())
            file.flush()
            done += len(rows)
            if progress is not None:
                progress(name, done, len(paths))
    reasons = np.array([text.decode("utf-8", "replace") for text in records["reason"]], object)
    remarks = np.array([text.decode("utf-8", "replace") for text in records["remark"]], object)
    return Scan(
        records["content"],
        records["hash"],
        records["flat"],
        records["small"],
        reasons,
        remarks,
        records["size"],
        reused,
    )


def _file_state(root: Path, image: str) -> tuple[int, int]:
    """Return size and modification time of a file, (-1, 0) if it is missing."""
    try:
        status = os.stat(os.path.join(root, image))  # noqa: PTH116, PTH118  (faster, for a million files)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _key_of(image: str, size: int, mtime_ns: int) -> bytes:
    """Hash path, size and modification time to 16 bytes; size -1 means a missing file."""
    state = "absent" if size < 0 else f"{size}/{mtime_ns}"
    return hashlib.blake2b(f"{image}\x00{state}".encode(), digest_size=16).digest()


def _complete_records(path: Path) -> NDArray[np.void]:
    """Return the records of earlier scans in the order of writing; a record has a key and the fields of `Scan`.

    If a scan was interrupted, its incomplete last record is removed.
    """
    if not path.exists():
        return np.zeros(0, _RECORD)
    os.truncate(path, path.stat().st_size // _RECORD.itemsize * _RECORD.itemsize)
    return np.fromfile(path, _RECORD)


def _in_threads(
    chunks: Sequence[list[int]], root: Path, paths: Sequence[str], workers: int
) -> Iterator[tuple[list[int], NDArray[np.void]]]:
    """Yield (rows, records) of each chunk as soon as the chunk is scanned.

    Threads are sufficient, because decoding and checksums release Python's global lock.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(max(1, workers))
    pending: dict[Future[NDArray[np.void]], list[int]] = {}
    queue = iter(chunks)
    try:
        while True:
            for rows in queue:
                pending[pool.submit(_scan_files, [root / paths[row] for row in rows])] = rows
                if len(pending) >= 2 * workers + 1:
                    break
            if not pending:
                break
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda future: future.exception() is not None):
                yield pending.pop(future), future.result()  # yield all other results before an error is raised
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


def _scan_files(files: Sequence[Path]) -> NDArray[np.void]:
    """Scan files; return their records without keys."""
    records: NDArray[Any] = np.zeros(len(files), _RECORD)
    thumbnails = np.zeros((len(files), 32, 32), np.uint8)
    for number, file in enumerate(files):
        try:
            gray = read_gray(file, _MIN_SIDE)
            thumbnails[number] = thumbnail(gray)
            content = file_bytes(file)
            records["size"][number] = file_size(content, gray)
            records["content"][number] = hashlib.blake2b(content, digest_size=16).digest()
            records["remark"][number] = _text("; ".join(unlike_radiograph(InMemory(file.name, content), gray)))
        except (UnreadableImage, OSError) as error:
            records["reason"][number] = _text(str(error)) or b"unreadable"
    records["hash"] = perceptual_hash(thumbnails)
    records["flat"] = is_flat(thumbnails)
    records["small"] = smaller(thumbnails)
    return records


def _text(text: str) -> bytes:
    """Return a text that fits into a record; a longer text ends after a whole word, with " ..."."""
    ascii_text = text.encode("ascii", "replace").decode()
    return textwrap.shorten(ascii_text, _TEXT, placeholder=" ...", break_on_hyphens=False).encode()
