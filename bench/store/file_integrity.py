"""Whether a file is whole or was cut off, and the hash of what is in it."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any


def is_intact(path: Path) -> bool:
    """Whether a file is there and not cut off, see `flaw`."""
    return not file_damage(path)


def file_damage(path: Path, *, read: bool = False) -> str:
    """Return what is wrong with a file by how its kind begins and ends, "" when nothing is: "is missing", "is damaged: ...".

    What is in it is not looked at, but for a Parquet file with `read`: all of that is read.
    """
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.read_table(path, use_threads=False) if read else pq.read_schema(path)
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "np"):  # reads the header and holds it against the size
                pass
        elif path.suffix == ".npz" and path.is_file() and not zipfile.is_zipfile(path):
            return "is damaged: it does not end as a zip file does"
    except Exception as error:  # noqa: BLE001  (each reader has errors of its own for a file that ends too soon)
        said = (str(error) or type(error).__name__).splitlines()[0][:120]
        return f"is damaged: {said}" if path.is_file() else "is missing"
    return "" if path.is_file() else "is missing"


def json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises OSError, and ValueError for what is none."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object was expected, it holds {str(content)[:40]!r}")  # noqa: TRY004  (what json.loads raises)
    return content


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits, read piece by piece. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
