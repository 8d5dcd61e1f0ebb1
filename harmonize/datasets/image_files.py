"""Search the image files that a table lists, also if the table was written on another machine."""

import os
import stat
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harmonize.images.shards import file_of

_TRIED = 64  # number of absolute paths for whose ends files are searched


def are_files(root: Path, path: pd.Series) -> NDArray[np.bool_]:
    """Return the mask of paths, relative to `root`, that are files.

    The function lists the files of each folder once. If folders have few files, the function checks each path instead.
    """
    if path.empty:
        return np.zeros(0, bool)
    base = f"{root}/"
    path = path.map(file_of)
    parts = [text.rpartition("/") for text in path.tolist()]
    codes, folders = pd.factorize(np.array([folder for folder, _, _ in parts], object))
    # If folders have few files (MIMIC has a folder per study), checking each file is faster.
    if len(folders) * 3 > len(path):
        return np.fromiter((_is_file(base + name) for name in path.tolist()), bool, len(path))
    files: list[frozenset[str]] = []
    for folder in folders:
        try:
            with os.scandir(base + folder) as entries:
                files.append(frozenset(e.name for e in entries if e.is_file(follow_symlinks=False) or _is_file(e.path)))
        except OSError:  # the folder is missing or unreadable, so its images are missing
            files.append(frozenset())
    return np.fromiter((name in files[code] for code, (_, _, name) in zip(codes, parts, strict=True)), bool, len(path))


def relative_paths(root: Path, path: "pd.Series[str]") -> "pd.Series[str]":
    """Return paths with forward slashes; absolute paths of another machine become relative if their ends are files below root.

    Absolute paths without such a file are unchanged.
    """
    if not pc.any(pc.match_substring_regex(pa.array(path, pa.string()), r"^/|^[A-Za-z]:|\\")).as_py():
        return path
    _names.cache_clear()
    text = path.str.replace("\\", "/")
    absolute = text.str.match(r"/|[A-Za-z]:")
    for name in text[absolute].iloc[:: max(1, int(absolute.sum()) // _TRIED)]:
        folders = name.split("/")
        for k in range(1, len(folders)):
            if ".." not in folders and _real(root, "/".join(folders[k:])):
                return text.where(~absolute, text.str.removeprefix("/".join(folders[:k]) + "/"))
    return text.where(~absolute, path)


def same_name(root: Path, path: "pd.Series[str]", taken: "pd.Series[str]") -> "pd.Series[str]":
    """Return for each missing file the file whose path differs only in case or in Unicode form, "" if there is not exactly one.

    Files in `taken` belong to other rows.
    """
    _names.cache_clear()
    found = path.map(lambda name: _real(root, name))
    return found.where(~found.isin(taken) & ~found.duplicated(keep=False), "")


def _real(root: Path, path: str) -> str:
    """Return the path of the file below root whose names are equal to those of a path after `_key`, "" without one."""
    found = ""
    for name in path.split("/"):
        names = _names(f"{root}/{found}").get(_key(name), [])
        if len(names) != 1 and name not in names:
            return ""
        found = f"{found}/{name if name in names else names[0]}".lstrip("/")
    return found if found and _is_file(f"{root}/{found}") else ""


@cache
def _names(folder: str) -> dict[str, list[str]]:
    """Return the names in a folder by their `_key`; {} for a missing folder."""
    names: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder):  # noqa: PTH208
            names.setdefault(_key(name), []).append(name)
    except OSError:
        return {}
    return names


def _key(name: str) -> str:
    """Return a name without differences of case and of Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()


def other_ending(root: Path, path: str) -> str:
    """Return the name of a file beside a missing file that differs only in its ending or in case; "" if there is none."""
    missing = Path(path)
    folder = root / missing.parent
    names = os.listdir(folder) if path and folder.is_dir() else []  # noqa: PTH208
    # a broken link, or a folder, may have the same name
    others = (name for name in sorted(names) if name != missing.name)
    return next((name for name in others if Path(name).stem.casefold() == missing.stem.casefold()), "")


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  (three times as fast as Path.is_file)
    except OSError:
        return False
