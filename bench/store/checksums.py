"""checksums.json: the SHA-256 of every file that a run, an analysis or the scores of a run have stored.

It is written just before the file that marks a folder as complete: DONE for a run, KEY for an analysis or scores. All
files of these folders that a score or a page depends on are compared with their checksums. The functions
`checked_bytes`, `checked_table`, `scores_bytes`, `scores_table` and `damaged_files` do this.
`bench.store.checked_files` handles the other files of a store.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.file_integrity import file_damage, file_sha256, json_object
from bench.store.schema import CHECKSUMS_SINCE, schema_of
from bench.store.store import canonical_json, key_in, last_line, table_of, write_bytes
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

FILE = "checksums.json"
JSON_RECORDS = ("run.json", "trained.json", "cost.json", "seal.json", "env.json")
RECORDS = (*JSON_RECORDS, "history.parquet")  # small files; `damaged_files` checks them by default
_STORED = ("*.json", "*.parquet", "*.safetensors", "predictions/*.parquet", "features/*.npz", "gallery/*.png")
WEIGHTS = "model.safetensors"
NO_CHECKSUMS = "there are no checksums of them (an older version wrote none)"


def stored_files(folder: Path) -> list[str]:
    """Return the sorted names of the files that a run or an analysis has stored.

    For a run: records, history, weights, predictions, features; for an analysis: tables and pictures. Names are relative to the
    folder. Log, model card and the analyses of a run are not included, because they may change later.
    """
    files = (path for pattern in _STORED for path in folder.glob(pattern))
    return sorted(path.relative_to(folder).as_posix() for path in files if path.name != FILE)


def mark_done(folder: Path) -> None:
    """Record the checksums of the stored files, then mark the run as done."""
    record_checksums(folder)
    (folder / "DONE").touch()


def record_checksums(folder: Path) -> None:
    """Write the checksums of all stored files of a run."""
    write_checksums(folder, {name: file_sha256(folder / name) for name in stored_files(folder)})


def drop_checksums(folder: Path, names: Sequence[str]) -> None:
    """Remove the checksums of files that are about to be rewritten. Checksums of other files stay."""
    checksums = read_checksums(folder)
    if checksums is not None:
        write_checksums(folder, {name: digest for name, digest in checksums.items() if name not in names})


def write_checksums(folder: Path, checksums: Mapping[str, str]) -> None:
    """Write {file name: SHA-256} as the checksums of a folder."""
    write_bytes(folder / FILE, canonical_json({"sha256": checksums}))


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Return {file name: SHA-256} of a finished run, or None if checksums.json is missing or damaged."""
    try:
        checksums = json_object(folder / FILE)["sha256"]
        return {str(name): str(digest) for name, digest in checksums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def missing_checksums(folder: Path) -> str:
    """Return the problem of checksums.json of a finished run: "is missing" or "is damaged"; "" if there is no problem.

    Runs in a store whose schema is older than checksums may have none.
    """
    if not (folder / "DONE").is_file() or read_checksums(folder) is not None:
        return ""
    try:
        schema = schema_of(folder.parents[1])
    except StoreError:
        return ""  # the folder is outside a store
    return "" if schema < CHECKSUMS_SINCE else "is damaged" if (folder / FILE).is_file() else "is missing"


def damaged_files(folder: Path, names: Sequence[str] = RECORDS) -> Mapping[str, str]:
    """Check the files `names` of a folder; return {file name: problem} for the damaged files.

    A problem is "is missing", "is damaged" or "is not what was stored". If a finished run has no checksums although its store
    is new enough, the only problem is that of checksums.json. Without checksums (unfinished run or old store), missing files
    are not reported.
    """
    stats = [path.stat() if (path := folder / name).is_file() else None for name in (*names, FILE)]
    states = [stat and (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
    return _problems(folder, tuple(names), tuple(states))


@lru_cache(100_000)
def _problems(folder: Path, names: tuple[str, ...], states: tuple[object, ...]) -> Mapping[str, str]:
    """Return the problems of files.

    `states` (size and time of each file) is only a cache key: an unchanged file is checked once per process.
    """
    checksums, problems = read_checksums(folder), {}
    if checksums is None:
        if problem := missing_checksums(folder):
            return {FILE: problem}
        checksums = {}
    for name, state in zip(names, states, strict=False):
        path = folder / name
        if state is None:
            problems[name] = "is missing" if name in checksums else ""
        elif name in checksums and file_sha256(path) == checksums[name]:
            continue  # an equal hash suffices: parsing the records of thousands of runs would take longer
        elif (path.suffix == ".json" and not _is_object(path)) or file_damage(path):
            problems[name] = "is damaged"
        elif name in checksums:
            problems[name] = "is not what was stored"
    return {name: problem for name, problem in problems.items() if problem}


def _is_object(path: Path) -> bool:
    """Return whether a file holds a JSON object."""
    try:
        json_object(path)
    except (OSError, ValueError):
        return False
    return True


def read_verified(path: Path, folder: Path) -> tuple[bytes, str]:
    """Return the content of a file and its problem: "" or text such as "is missing" or "is not what was stored".

    The file is read once, so the returned bytes are the bytes that were checked.
    """
    name, content = path.relative_to(folder).as_posix(), path.read_bytes() if path.is_file() else b""
    checksums = read_checksums(folder)
    if checksums is None and (problem := missing_checksums(folder)):
        return content, f"cannot be checked: {FILE} {problem}"
    checksum = (checksums or {}).get(name)
    if checksum == hashlib.sha256(content).hexdigest():
        return content, ""
    return content, damaged_files(folder, [name]).get(name, "is not what was stored" if checksum else "")


def checked_bytes(folder: Path, name: str) -> bytes:
    """Return the content of a file of a run or of an analysis.

    Raises StoreError for a file that is missing or damaged, or differs from its checksum.
    """
    fix = "run the grid again: the file is made again"
    if (folder / name).is_file() and not missing_checksums(folder):
        fix = f"delete it: rm '{folder / name}', then {fix}"
    return _checked(folder, name, f"run {folder.name}:", fix)


def _checked(folder: Path, name: str, what: str, fix: str) -> bytes:
    """Return the content of a file. Raises StoreError, with `what` and `fix`, if the file is not what the folder stored."""
    path = folder / name
    content, problem = read_verified(path, folder)
    if problem or not path.is_file():
        raise StoreError(f"{what} {name} {problem or 'is missing'}", str(path), fix)
    return content


def checked_table(folder: Path, name: str) -> "pd.DataFrame":
    """Return a Parquet file of a run or an analysis as a data frame. Raises StoreError if it is missing or changed."""
    return table_of(folder / name, checked_bytes(folder, name))


def checked_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a record of a run. Raises StoreError if the record is missing or changed."""
    content = checked_bytes(folder, name)
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError) as error:  # a record without a checksum
        raise StoreError.unreadable(folder / name, error) from error


def check_weights(folder: Path) -> None:
    """Raise StoreError if the weights of a finished run differ from their checksum. The file may be large: it is not kept in memory."""
    if reason := missing_checksums(folder):
        fix = "run its grid again: the checksums are recorded again, and no run is trained again"
        raise StoreError(f"run {folder.name}: {FILE} {reason}", str(folder / FILE), fix)
    if damage := damaged_files(folder, [WEIGHTS]).get(WEIGHTS):
        fix = f"`bench remove {folder.name}`, then run its grid again: the run is trained again"
        raise StoreError(f"run {folder.name}: {WEIGHTS} {damage}", str(folder / WEIGHTS), fix)


def scores_bytes(folder: Path, name: str) -> bytes:
    """Return the content of a file of the scores of a run. Raises StoreError if the file is missing or changed."""
    return _checked(folder, name, f"the scores of run {folder.name} are damaged:", "`bench score` makes them again")


def scores_table(folder: Path, name: str) -> "pd.DataFrame":
    """Return a table of a run's scores; `name` has no file ending. Raises StoreError if it is missing or changed."""
    file = f"{name}.parquet"
    return table_of(folder / file, scores_bytes(folder, file))


def scores_damage(folder: Path, names: Sequence[str]) -> str:
    """Return the first problem of the scores of a run, "" if the files `names` and all other files have their checksums."""
    checksums = read_checksums(folder)
    if checksums is None:
        return NO_CHECKSUMS
    if unlisted := [name for name in names if name not in checksums]:
        return f"{unlisted[0]} has no checksum"
    return next((f"{name} {problem}" for name, problem in damaged_files(folder, sorted(checksums)).items()), "")


def analysis_damage(folder: Path, pictures: bool = False) -> str:
    """Return the first damaged table of a finished analysis with its problem, or "". `pictures`: check its pictures, too."""
    names = {*(read_checksums(folder) or ()), *(path.name for path in folder.glob("*.parquet"))}
    checked = sorted(name for name in names if pictures or "/" not in name)
    return next((f"{name} {problem}" for name, problem in damaged_files(folder, checked).items()), "")


def analysis_state(folder: Path, key: str) -> tuple[str, str]:
    """Return the state of an analysis (done, failed, absent) and the reason.

    An analysis is done if its tables are intact and its stored key equals `key`, the hash of its inputs.
    """
    if key_in(folder) == key:
        damage = analysis_damage(folder)
        return ("absent" if damage else "done"), damage
    failed = folder / "FAILED"
    return ("failed" if failed.is_file() else "absent"), last_line(failed)


def discard_changed_files(folder: Path) -> list[str]:
    """Delete the files that differ from their checksums, so that they are made again; return their names.

    checksums.json is deleted, too, because the files may change from now on. The caller must hold the run's lease.
    """
    checksums = read_checksums(folder) or {}
    changed = [n for n in stored_files(folder) if n in checksums and file_sha256(folder / n) != checksums[n]]
    for name in changed:
        (folder / name).unlink()
    (folder / FILE).unlink(missing_ok=True)
    return changed
