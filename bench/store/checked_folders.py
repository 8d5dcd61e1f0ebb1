"""Folders with checksums.json: the SHA-256 of every file that a run, an analysis or the scores of a run have stored.

checksums.json is written just before the file that marks a folder as complete: DONE for a run, KEY for an analysis or
scores. All files of these folders that a score or a page depends on are read through the classes of this module, which
compare them with their checksums. `bench.store.checked_files` handles the other files of a store.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.file_integrity import file_damage, file_sha256, json_object
from bench.store.schema import CHECKSUMS_SINCE, schema_of
from bench.store.store import canonical_json, last_line, table_of, write_bytes
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

FILE = "checksums.json"
WEIGHTS = "model.safetensors"
REFERENCE = "reference.json"  # gray values of the training images, for the preprocessing steps that need them
JSON_RECORDS = ("run.json", "trained.json", "cost.json", "seal.json", "env.json")
RECORDS = (*JSON_RECORDS, "history.parquet")  # small files; `CheckedFolder.problems` checks them by default
_STORED = ("*.json", "*.parquet", "*.safetensors", "predictions/*.parquet", "features/*.npz", "gallery/*.png")
NO_CHECKSUMS = "there are no checksums of them (an older version wrote none)"


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """The folder of a run or of an analysis, whose files are compared with their checksums."""

    path: Path

    def stored_files(self) -> list[str]:
        """Return the sorted names of the files that the run or the analysis has stored.

        For a run: records, history, weights, predictions, features; for an analysis: tables and pictures. Names are relative
        to the folder. Log, model card and the analyses of a run are not included, because they may change later.
        """
        files = (path for pattern in _STORED for path in self.path.glob(pattern))
        return sorted(path.relative_to(self.path).as_posix() for path in files if path.name != FILE)

    def mark_done(self) -> None:
        """Record the checksums of the stored files, then mark the run as done."""
        self.record_checksums()
        (self.path / "DONE").touch()

    def key(self) -> str:
        """Return the hash of the inputs of an analysis or of scores, "" while the folder is incomplete."""
        path = self.path / "KEY"
        return path.read_text(errors="replace") if path.is_file() else ""

    def record_checksums(self) -> None:
        """Write the checksums of all stored files."""
        self.write_checksums({name: file_sha256(self.path / name) for name in self.stored_files()})

    def drop_checksums(self, names: Sequence[str]) -> None:
        """Remove the checksums of files that are about to be rewritten. Checksums of other files stay."""
        checksums = self.checksums()
        if checksums is not None:
            self.write_checksums({name: digest for name, digest in checksums.items() if name not in names})

    def write_checksums(self, checksums: Mapping[str, str]) -> None:
        """Write {file name: SHA-256} as the checksums of the folder."""
        write_bytes(self.path / FILE, canonical_json({"sha256": checksums}))

    def checksums(self) -> dict[str, str] | None:
        """Return {file name: SHA-256}, or None if checksums.json is missing or damaged."""
        try:
            checksums = json_object(self.path / FILE)["sha256"]
            return {str(name): str(digest) for name, digest in checksums.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def missing_checksums(self) -> str:
        """Return the problem of checksums.json of a finished run: "is missing" or "is damaged"; "" if there is no problem.

        Runs in a store whose schema is older than checksums may have none.
        """
        if not (self.path / "DONE").is_file() or self.checksums() is not None:
            return ""
        try:
            schema = schema_of(self.path.parents[1])
        except StoreError:
            return ""  # the folder is outside a store
        return "" if schema < CHECKSUMS_SINCE else "is damaged" if (self.path / FILE).is_file() else "is missing"

    def problems(self, names: Sequence[str] = RECORDS) -> Mapping[str, str]:
        """Check the files `names`; return {file name: problem} for the damaged files.

        A problem is "is missing", "is damaged" or "is not what was stored". If a finished run has no checksums although its
        store is new enough, the only problem is that of checksums.json. Without checksums (unfinished run or old store),
        missing files are not reported.
        """
        stats = [path.stat() if (path := self.path / name).is_file() else None for name in (*names, FILE)]
        states = [stat and (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
        return _problems(self, tuple(names), tuple(states))

    def read_with_problem(self, name: str) -> tuple[bytes, str]:
        """Return the content of a file and its problem: "" or text such as "is missing" or "is not what was stored".

        The file is read once, so the returned bytes are the bytes that were checked.
        """
        path = self.path / name
        content = path.read_bytes() if path.is_file() else b""
        checksums = self.checksums()
        if checksums is None and (problem := self.missing_checksums()):
            return content, f"cannot be checked: {FILE} {problem}"
        checksum = (checksums or {}).get(name)
        if checksum == hashlib.sha256(content).hexdigest():
            return content, ""
        return content, self.problems([name]).get(name, "is not what was stored" if checksum else "")

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises StoreError for a file that is missing or damaged, or differs from its checksum."""
        fix = "run the grid again: the file is made again"
        if (self.path / name).is_file() and not self.missing_checksums():
            fix = f"delete it: rm '{self.path / name}', then {fix}"
        return self._read(name, f"run {self.path.name}:", fix)

    def _read(self, name: str, what: str, fix: str) -> bytes:
        """Return the content of a file. Raises StoreError, with `what` and `fix`, if the file is not what the folder stored."""
        content, problem = self.read_with_problem(name)
        if problem or not (self.path / name).is_file():
            raise StoreError(f"{what} {name} {problem or 'is missing'}", str(self.path / name), fix)
        return content

    def table(self, name: str) -> "pd.DataFrame":
        """Return a Parquet file as a data frame. Raises StoreError if it is missing or changed."""
        return table_of(self.path / name, self.read(name))

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a record of a run. Raises StoreError if the record is missing or changed."""
        content = self.read(name)
        try:
            return dict(json.loads(content))
        except (ValueError, TypeError) as error:  # a record without a checksum
            raise StoreError.unreadable(self.path / name, error) from error

    def facts(self) -> dict[str, Any]:
        """Return the content of a run's env.json, cost.json, seal.json and trained.json by name ("env").

        The content of a missing or damaged file is {}; the method `problems` reports damaged files.
        """
        out, problems = dict[str, Any](), self.problems()
        for name in ("env", "cost", "seal", "trained"):
            path = self.path / f"{name}.json"
            out[name] = json.loads(path.read_text()) if path.is_file() and path.name not in problems else {}
        return out

    def check_weights(self) -> None:
        """Raise StoreError if the weights of a finished run differ from their checksum.

        The file may be large: it is not kept in memory.
        """
        run = f"run {self.path.name}:"
        if reason := self.missing_checksums():
            fix = "run its grid again: the checksums are recorded again, and no run is trained again"
            raise StoreError(f"{run} {FILE} {reason}", str(self.path / FILE), fix)
        if damage := self.problems([WEIGHTS]).get(WEIGHTS):
            fix = f"`bench remove {self.path.name}`, then run its grid again: the run is trained again"
            raise StoreError(f"{run} {WEIGHTS} {damage}", str(self.path / WEIGHTS), fix)

    def discard_changed_files(self) -> list[str]:
        """Delete the files that differ from their checksums, so that they are made again; return their names.

        checksums.json is deleted, too, because the files may change from now on. The caller must hold the run's lease.
        """
        checksums = self.checksums() or {}
        stored = [name for name in self.stored_files() if name in checksums]
        changed = [name for name in stored if file_sha256(self.path / name) != checksums[name]]
        for name in changed:
            (self.path / name).unlink()
        (self.path / FILE).unlink(missing_ok=True)
        return changed


@dataclass(frozen=True, slots=True)
class AnalysisFolder(CheckedFolder):
    """The folder of an analysis."""

    def damage(self, pictures: bool = False) -> str:
        """Return the first damaged table of a finished analysis with its problem, or "". `pictures`: check pictures, too."""
        names = {*(self.checksums() or ()), *(path.name for path in self.path.glob("*.parquet"))}
        checked = sorted(name for name in names if pictures or "/" not in name)
        return next((f"{name} {problem}" for name, problem in self.problems(checked).items()), "")

    def state(self, key: str) -> tuple[str, str]:
        """Return the state of the analysis (done, failed, absent) and the reason.

        An analysis is done if its tables are intact and its stored key equals `key`, the hash of its inputs.
        """
        if self.key() == key:
            damage = self.damage()
            return ("absent" if damage else "done"), damage
        failed = self.path / "FAILED"
        return ("failed" if failed.is_file() else "absent"), last_line(failed)


@dataclass(frozen=True, slots=True)
class ScoresFolder(CheckedFolder):
    """The folder with the scores of a run."""

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises StoreError if the file is missing or changed."""
        return self._read(name, f"the scores of run {self.path.name} are damaged:", "`bench score` makes them again")

    def table(self, name: str) -> "pd.DataFrame":
        """Return a table; `name` has no file ending. Raises StoreError if it is missing or changed."""
        file = f"{name}.parquet"
        return table_of(self.path / file, self.read(file))

    def damage(self, names: Sequence[str]) -> str:
        """Return the first problem of the scores, "" if the files `names` and all other files have their checksums."""
        checksums = self.checksums()
        if checksums is None:
            return NO_CHECKSUMS
        if unlisted := [name for name in names if name not in checksums]:
            return f"{unlisted[0]} has no checksum"
        return next((f"{name} {problem}" for name, problem in self.problems(sorted(checksums)).items()), "")


@lru_cache(100_000)
def _problems(folder: CheckedFolder, names: tuple[str, ...], states: tuple[object, ...]) -> Mapping[str, str]:
    """Return the problems of files.

    `states` (size and time of each file) is only a cache key: an unchanged file is checked once per process.
    """
    checksums, problems = folder.checksums(), {}
    if checksums is None:
        if problem := folder.missing_checksums():
            return {FILE: problem}
        checksums = {}
    for name, state in zip(names, states, strict=False):
        path = folder.path / name
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
