"""A file that only grows: each line is JSON and has the SHA-256 of the line before.

A changed or removed line breaks the chain of the lines after it. Missing lines at the end show only in a comparison with an
earlier copy of the file (`check_continues`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.store.file_integrity import bytes_sha256
from bench.store.store import canonical_json, write_bytes
from harmonize.errors import ConfigError, StoreError

START = "0" * 64  # in place of a hash, in the first line
_FIX = "restore the file from a copy, such as the repository's history; only the program appends lines"


def line_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a line, 64 hex digits."""
    return bytes_sha256(canonical_json(content))


def read_chain(path: Path, is_valid: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the lines of a file, the oldest first; [] without a file. `is_valid`: whether a line has the right content.

    Raises StoreError for an invalid line, and if the chain is broken.
    """
    if not path.exists():
        return []
    whole = path.read_bytes()
    before, out = START, []
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            content = json.loads(line)
            valid = isinstance(content, dict) and canonical_json(content) == line and is_valid(content)
        except (ValueError, TypeError, RecursionError):
            valid = False
        if not valid:
            raise StoreError(f"line {number} was not written by the program", str(path), _FIX)
        if content.get("before") != before:
            what = f"the chain is broken at line {number}: the line before was changed or removed"
            raise StoreError(what, str(path), _FIX)
        before = line_hash(content)
        out.append(content)
    if not whole.endswith(b"\n") and whole:
        raise StoreError("the last line has no end", str(path), _FIX)
    return out


def check_continues(path: Path, earlier: Path) -> None:
    """Raise StoreError unless a file begins with all lines of an `earlier` copy of it."""
    now = path.read_bytes() if path.is_file() else b""
    if not earlier.is_file():
        raise ConfigError("no such file", str(earlier), f"give an earlier copy of {path.name}")
    if not now.startswith(earlier.read_bytes()):
        raise StoreError("lines of the earlier copy were changed or removed", str(path), _FIX)


def append_line(
    path: Path, content: Mapping[str, Any], is_valid: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any]:
    """Append a line to a chain and return it, with the hash of the line before. Raises StoreError for a broken chain."""
    earlier = read_chain(path, is_valid)
    line = {**content, "before": line_hash(earlier[-1]) if earlier else START}
    write_bytes(path, b"".join(canonical_json(each) + b"\n" for each in (*earlier, line)))
    return line
