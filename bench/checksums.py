"""checksums.json: the SHA-256 of every file that a run itself has stored, written when it finishes, just before DONE."""

import json
from pathlib import Path

from bench.intact import file_sha256
from bench.store import canonical_json, write_bytes

FILE = "checksums.json"
_STORED = ("*.json", "*.parquet", "*.safetensors", "predictions/*.parquet", "features/*.npz")


def stored_files(folder: Path) -> list[str]:
    """Return what a run itself has stored, sorted names within its folder: records, history, weights, predictions, features.

    Its log, its card and its analyses are not among them: they may change while the run stays what it is.
    """
    found = (path for pattern in _STORED for path in folder.glob(pattern))
    return sorted(path.relative_to(folder).as_posix() for path in found if path.name != FILE)


def close(folder: Path) -> None:
    """Say that a run is done, after noting the checksums of what it has stored."""
    note(folder)
    (folder / "DONE").touch()


def note(folder: Path) -> None:
    """Write the checksum of each file that a run has stored."""
    known = {name: file_sha256(folder / name) for name in stored_files(folder)}
    write_bytes(folder / FILE, canonical_json({"sha256": known}))


def checksums(folder: Path) -> dict[str, str] | None:
    """Return the checksum of each file of a finished run by its name, None where there is no record or it is damaged."""
    try:
        known = json.loads((folder / FILE).read_bytes())["sha256"]
        return {str(name): str(digest) for name, digest in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def take_up(folder: Path) -> list[str]:
    """Delete what is not as a finished run has stored it, so that it is made again, and return the names.

    For whoever holds the run and goes on with it. The record is deleted, too: from now on the files may change.
    """
    known = checksums(folder) or {}
    changed = [n for n in stored_files(folder) if n in known and file_sha256(folder / n) != known[n]]
    for name in changed:
        (folder / name).unlink()
    (folder / FILE).unlink(missing_ok=True)
    return changed
