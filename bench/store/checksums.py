"""checksums.json: the SHA-256 of every file that a run itself has stored, written when it finishes, just before DONE."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from bench.store.file_integrity import file_damage, file_sha256, json_object
from bench.store.store import canonical_json, key_in, last_line, write_bytes

FILE = "checksums.json"
JSON_RECORDS = ("run.json", "trained.json", "cost.json", "seal.json", "env.json")
RECORDS = (*JSON_RECORDS, "history.parquet")  # small: read at every look
_STORED = ("*.json", "*.parquet", "*.safetensors", "predictions/*.parquet", "features/*.npz")


def stored_files(folder: Path) -> list[str]:
    """Return what a run itself has stored, sorted names within its folder: records, history, weights, predictions, features.

    Its log, its card and its analyses are not among them: they may change while the run stays what it is.
    """
    found = (path for pattern in _STORED for path in folder.glob(pattern))
    return sorted(path.relative_to(folder).as_posix() for path in found if path.name != FILE)


def mark_done(folder: Path) -> None:
    """Say that a run is done, after noting the checksums of what it has stored."""
    record_checksums(folder)
    (folder / "DONE").touch()


def record_checksums(folder: Path) -> None:
    """Write the checksum of each file that a run has stored."""
    _write(folder, {name: file_sha256(folder / name) for name in stored_files(folder)})


def drop_checksums(folder: Path, names: Sequence[str]) -> None:
    """Take files that are about to be written out of the record of a finished run; the others stay known."""
    known = read_checksums(folder)
    if known is not None:
        _write(folder, {name: digest for name, digest in known.items() if name not in names})


def _write(folder: Path, known: Mapping[str, str]) -> None:
    write_bytes(folder / FILE, canonical_json({"sha256": known}))


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Return the checksum of each file of a finished run by its name, None where there is no record or it is damaged."""
    try:
        known = json_object(folder / FILE)["sha256"]
        return {str(name): str(digest) for name, digest in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def damaged_files(folder: Path, names: Sequence[str] = RECORDS) -> Mapping[str, str]:
    """Return what is wrong with some files of a folder, by name: "is missing", "is damaged", "is not what was stored".

    Without checksums, as of what is not finished or of an older store, a file that is not there is none that is missing.
    """
    stats = [path.stat() if (path := folder / name).is_file() else None for name in (*names, FILE)]
    known_by = [stat and (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
    return _flaws(folder, tuple(names), tuple(known_by))


@lru_cache(10_000)
def _flaws(folder: Path, names: tuple[str, ...], known_by: tuple[object, ...]) -> Mapping[str, str]:
    """Look at the files; a process does it once for as long as `known_by`, the state of each on the disk, is the same."""
    known, found = read_checksums(folder) or {}, {}
    for name, there in zip(names, known_by, strict=False):
        path = folder / name
        if there is None:
            found[name] = "is missing" if name in known else ""
        elif name in known and file_sha256(path) == known[name]:
            continue  # whole, as it was stored: thousands of runs are looked at, and parsing each record takes longer
        elif (path.suffix == ".json" and not _is_object(path)) or file_damage(path):
            found[name] = "is damaged"
        elif name in known:
            found[name] = "is not what was stored"
    return {name: said for name, said in found.items() if said}


def _is_object(path: Path) -> bool:
    """Whether a file holds a JSON object."""
    try:
        json_object(path)
    except (OSError, ValueError):
        return False
    return True


def read_verified(path: Path, folder: Path) -> tuple[bytes, str]:
    """Return what is in a file of a folder and what is wrong with it as `flaws` says it, "" when nothing is.

    It is read once: what the caller gets is what was looked at, and no file that has changed since.
    """
    name, content = path.relative_to(folder).as_posix(), path.read_bytes() if path.is_file() else b""
    known = (read_checksums(folder) or {}).get(name)
    if known == hashlib.sha256(content).hexdigest():
        return content, ""
    return content, damaged_files(folder, [name]).get(name, "is not what was stored" if known else "")


def analysis_damage(folder: Path) -> str:
    """Return what is wrong with the tables of a finished analysis, "" when nothing is."""
    names = {*(read_checksums(folder) or ()), *(path.name for path in folder.glob("*.parquet"))}
    return next((f"{name} {said}" for name, said in damaged_files(folder, sorted(names)).items()), "")


def analysis_state(folder: Path, key: str) -> tuple[str, str]:
    """Return the state of an analysis (done, failed, absent) and the reason: it is done if its tables are intact and have this key."""
    if key_in(folder) == key:
        damage = analysis_damage(folder)
        return ("absent" if damage else "done"), damage
    failed = folder / "FAILED"
    return ("failed" if failed.is_file() else "absent"), last_line(failed)


def discard_changed_files(folder: Path) -> list[str]:
    """Delete what is not as a finished run has stored it, so that it is made again, and return the names.

    For whoever holds the run and goes on with it. The record is deleted, too: from now on the files may change.
    """
    known = read_checksums(folder) or {}
    changed = [n for n in stored_files(folder) if n in known and file_sha256(folder / n) != known[n]]
    for name in changed:
        (folder / name).unlink()
    (folder / FILE).unlink(missing_ok=True)
    return changed
