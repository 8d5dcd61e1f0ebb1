"""Ask about files, and record what was asked, so that a caller can find out later whether an answer has changed.

The adapters and `harmonize.cohorts.cohort.load` ask all their questions about files here. A question has a kind, the
path of a file or folder, and a detail. An answer is recorded as a SHA-256. Sizes and times of files are not trusted: the
content of a file is hashed.

    with recorded() as answers:
        table = adapter("nih").read(root)
    has_changed(answers)          # True as soon as a file that was read, or a list of images, differs
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Question = tuple[str, str, str]  # kind, path and detail

_SEPARATOR = "\0"  # no path has this character
_recording: ContextVar[dict[Question, str] | None] = ContextVar("recording", default=None)


@contextmanager
def recorded() -> Iterator[dict[Question, str]]:
    """Yield a dict that gets all questions of the block, with the SHA-256 of each answer in hexadecimal digits."""
    answers: dict[Question, str] = {}
    token = _recording.set(answers)
    try:
        yield answers
    finally:
        _recording.reset(token)


def has_changed(answers: Mapping[Question, str]) -> bool:
    """Return whether a question has another answer now than in `answers`, or none."""
    try:
        return any(_digest(_ANSWERS[kind](path, detail)) != answer for (kind, path, detail), answer in answers.items())
    except OSError:  # a folder is missing or unreadable
        return True


def is_file(path: Path) -> bool:
    """Return whether a path is a file."""
    return bool(_ask("file", path))


def is_dir(path: Path) -> bool:
    """Return whether a path is a folder."""
    return bool(_ask("folder", path))


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files and folders below `folder` that match a glob pattern, sorted."""
    return [Path(path) for path in _ask("matching", folder, pattern)]


def names_in(folder: Path) -> list[str]:
    """Return the names of the files and folders in `folder`, in the order of the file system."""
    listed: list[str] = _ask("names", folder)
    return listed


def are_files(root: Path, path: pd.Series) -> NDArray[np.bool_]:
    """Return the mask of paths, relative to `root`, that are files."""
    mask: NDArray[np.bool_] = _ask("files", root, path)
    return mask


def other_ending(root: Path, path: str) -> str:
    """Return the name of a file beside a missing file that differs only in its ending or in case; "" if there is none."""
    missing = Path(path)
    folder = root / missing.parent
    names = names_in(folder) if path and is_dir(folder) else []
    return next((name for name in sorted(names) if Path(name).stem.casefold() == missing.stem.casefold()), "")


def will_read(path: Path) -> None:
    """Record the content of a file that the caller is going to read; a missing file has no content."""
    answers = _recording.get()
    if answers is not None and ("content", str(path), "") not in answers:
        _ask("content", path)


def _ask(kind: str, path: Path, detail: "str | pd.Series" = "") -> Any:
    """Return the answer to a question, and record question and answer."""
    answer = _ANSWERS[kind](str(path), detail)
    answers = _recording.get()
    if answers is not None:
        text = detail if isinstance(detail, str) else _SEPARATOR.join(detail)
        answers[kind, str(path), text] = _digest(answer)
    return answer


def _digest(answer: Any) -> str:
    content = (
        np.packbits(answer).tobytes() if isinstance(answer, np.ndarray) else repr(answer).encode("utf-8", "replace")
    )
    return hashlib.sha256(content).hexdigest()


def _content(path: str, _detail: str) -> str:
    """Return the SHA-256 of a file, "" if there is no such file or it cannot be read."""
    if not _exists(path):
        return ""  # opening a pipe would wait for a writer
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _are_files(root: str, paths: "str | pd.Series") -> NDArray[np.bool_]:
    """Return the mask of paths that are files; paths of a recorded question are one text.

    The function lists the files of each folder once. If folders have few files, the function checks each path instead.
    """
    path = pd.Series(paths.split(_SEPARATOR), dtype="str") if isinstance(paths, str) else paths
    if path.empty:
        return np.zeros(0, bool)
    base = f"{root}/"
    split_paths = path.str.rpartition("/")
    codes, folders = pd.factorize(split_paths[0])
    # If folders have few files (MIMIC has a folder per study), checking each file is faster.
    if len(folders) * 3 > len(path):
        return np.fromiter((_exists(base + name) for name in path.tolist()), bool, len(path))
    files: list[frozenset[str]] = []
    for folder in folders:
        try:
            with os.scandir(base + folder) as entries:
                files.append(frozenset(entry.name for entry in entries if entry.is_file()))
        except OSError:  # the folder is missing or unreadable, so its images are missing
            files.append(frozenset())
    return np.fromiter((name in files[code] for code, name in zip(codes, split_paths[2], strict=True)), bool, len(path))


def _exists(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  (three times as fast as Path.is_file)
    except OSError:
        return False


_ANSWERS: dict[str, Callable[[str, Any], Any]] = {
    "file": lambda path, _: Path(path).is_file(),
    "folder": lambda path, _: Path(path).is_dir(),
    "matching": lambda folder, pattern: list(map(str, sorted(Path(folder).glob(pattern)))),
    "names": lambda folder, _: os.listdir(folder),  # noqa: PTH208  (Path.iterdir makes a Path of each name)
    "files": _are_files,
    "content": _content,
}
