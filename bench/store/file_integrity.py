"""Check whether a file is complete, and compute its SHA-256."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any


def is_intact(path: Path) -> bool:
    """Return whether a file exists, and begins and ends as its format requires."""
    return not file_damage(path)


def file_damage(path: Path) -> str:
    """Return the problem of a file: "is missing", "is damaged: ...", or "" for an intact file.

    JSON files are parsed. For Parquet, safetensors and npz files, only the beginning or the end is checked, which shows whether a
    file was cut off. Other files only need to exist.
    """
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.read_schema(path)
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            # safe_open reads only the header, and compares the size that the header states with the size of the file
            with safe_open(path, "np"):
                pass
        elif path.suffix == ".npz" and path.is_file() and not zipfile.is_zipfile(path):
            return "is damaged: the file does not end like a zip file"
    except Exception as error:  # noqa: BLE001  (each library raises its own errors for a damaged file)
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        return f"is damaged: {reason}" if path.is_file() else "is missing"
    return "" if path.is_file() else "is missing"


def json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises OSError, and ValueError if the content is not a valid JSON object."""
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("too many nested values") from error
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object was expected, found {str(content)[:40]!r}")  # noqa: TRY004  (what json.loads raises)
    return content


def bytes_sha256(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits. The file is read in chunks. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
