"""Read the folders of runs, analyses, scores and reports, and compare each file with its SHA-256 in checksums.json.

checksums.json has the SHA-256 of every file that a run, an analysis, the scores of a run or a report have stored. A folder gets
its checksums.json just before the file that marks the folder as complete: DONE for a run, KEY for an analysis or scores. All files
on which a score or a page depends are read through the classes of this module. `bench.store.checked_files` handles grids
and cohort tables.
"""

import errno
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.file_integrity import bytes_sha256, file_damage, file_sha256, json_object
from bench.store.store import MARKER, canonical_json, last_line, table_of, write_bytes
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

FILE = "checksums.json"
WEIGHTS = "model.safetensors"
CARD = "MODEL_CARD.md"
REFERENCE = "reference.json"  # reference histogram of the training images, for the ops histstd and histmatch
JSON_RECORDS = ("run.json", "trained.json", "cost.json", "seal.json", "env.json")
RECORDS = (*JSON_RECORDS, "history.parquet")  # small files of a run; `CheckedFolder.problems` checks them by default
_STORED = ("*.json", "*.parquet", "*.safetensors", "predictions/*.parquet", "features/*.npz", "gallery/*.webp")


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """The folder of a run or of an analysis. Its files are compared with their checksums when they are read."""

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
        """Return the content of the file KEY: the hash of the inputs of an analysis or of scores; "" without this file."""
        path = self.path / "KEY"
        return path.read_text(errors="replace") if path.is_file() else ""

    def record_checksums(self) -> None:
        """Compute the checksums of all stored files and write them into checksums.json."""
        self.write_checksums({name: file_sha256(self.path / name) for name in self.stored_files()})

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
        """Return whether a finished run's checksums.json "is missing" or "is damaged"; "" if there is no problem.

        An unfinished run, or a folder outside a store, needs no checksums.json.
        """
        in_store = (self.path.parents[1] / MARKER).is_file()
        if not in_store or not (self.path / "DONE").is_file() or self.checksums() is not None:
            return ""
        return "is damaged" if (self.path / FILE).is_file() else "is missing"

    def problems(self, names: Sequence[str] = RECORDS) -> Mapping[str, str]:
        """Check the files `names`; return {file name: problem} of the files with a problem.

        A problem is "is missing", "is damaged" or "is not what was stored" (another checksum). If `missing_checksums` has a
        problem, only this problem is returned. If a folder needs no checksums (unfinished run), missing files are not reported.
        """
        return _problems(self, tuple(names), tuple(_file_state(self.path / name) for name in (*names, FILE)))

    def read_with_problem(self, name: str) -> tuple[bytes, str]:
        """Return the bytes of a file, and the file's problem: "" or a text such as "is not what was stored".

        The returned bytes are the bytes that were compared with the checksum. A missing file has no bytes.
        """
        path = self.path / name
        content = path.read_bytes() if _file_state(path) else b""
        checksum = _known_checksums(self, _file_state(self.path / FILE)).get(name)
        if checksum == bytes_sha256(content):
            return content, ""
        if self.checksums() is None and (problem := self.missing_checksums()):
            return content, f"cannot be checked: {FILE} {problem}"
        return content, self.problems([name]).get(name, "is not what was stored" if checksum else "")

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises StoreError for a file that is missing or damaged, or differs from its checksum."""
        fix = "run the grid again: the file is made again"
        if (self.path / name).is_file() and not self.missing_checksums():
            fix = f"delete it: rm '{self.path / name}', then {fix}"
        return self._read(name, f"run {self.path.name}:", fix)

    def _read(self, name: str, what: str, fix: str) -> bytes:
        """Return the content of a file. Raises StoreError if the file is missing, damaged or changed.

        `what`: the beginning of the error message. `fix`: the fix that the error suggests.
        """
        content, problem = self.read_with_problem(name)
        if problem or not (content or (self.path / name).is_file()):
            raise StoreError(f"{what} {name} {problem or 'is missing'}", str(self.path / name), fix)
        return content

    def table(self, name: str, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return all or some columns of a Parquet file as a data frame. Raises StoreError if it is missing or changed."""
        return table_of(self.path / name, self.read(name), columns)

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file, such as run.json. Raises StoreError if the file is missing, damaged or changed."""
        content = self.read(name)
        try:
            return dict(json.loads(content))
        except (ValueError, TypeError) as error:  # a file without a checksum may have any content
            raise StoreError.unreadable(self.path / name, error) from error

    def facts(self) -> dict[str, Any]:
        """Return the content of a run's env.json, cost.json, seal.json and trained.json: {"env": {...}, "cost": {...}, ...}.

        A missing or damaged file has the content {}. The method `problems` reports damaged files.
        """
        out, problems = dict[str, Any](), self.problems()
        for name in ("env", "cost", "seal", "trained"):
            try:
                out[name] = {} if f"{name}.json" in problems else json_object(self.path / f"{name}.json")
            except (OSError, ValueError):  # missing; or damaged, together with checksums.json
                out[name] = {}
        return out

    def check_weights(self) -> None:
        """Raise StoreError if the weights of a finished run differ from their checksum, or if there are no checksums.

        The file may be large, so it is read in chunks.
        """
        run = f"run {self.path.name}:"
        if reason := self.missing_checksums():
            fix = "run its grid again: the checksums are recorded again, and no run is trained again"
            raise StoreError(f"{run} {FILE} {reason}", str(self.path / FILE), fix)
        if damage := self.problems([WEIGHTS]).get(WEIGHTS):
            fix = f"`bench remove {self.path.name}`, then run its grid again: the run is trained again"
            raise StoreError(f"{run} {WEIGHTS} {damage}", str(self.path / WEIGHTS), fix)

    def discard_changed_files(self) -> list[str]:
        """Delete the files that differ from their checksums; return their names. The caller then makes these files again.

        checksums.json is deleted, too, because the caller may now change files. The caller must hold the run's lease.
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
        """Return the name and the problem of the first damaged table, "" if all are intact. `pictures`: check pictures, too."""
        names = {*(self.checksums() or ()), *(path.name for path in self.path.glob("*.parquet"))}
        checked = sorted(name for name in names if pictures or "/" not in name)
        return next((f"{name} {problem}" for name, problem in self.problems(checked).items()), "")

    def state(self, key: str) -> tuple[str, str]:
        """Return the state of the analysis (done, failed or absent), and the reason ("" if there is none).

        `key`: the hash of the present inputs. An analysis is done if the key in its folder equals `key` and its tables are
        intact. The reason is the damage of a table, or the last line of the file FAILED.
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

    def table(self, name: str, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return all or some columns of a table as a data frame. Raises StoreError if the table is missing or changed.

        `name`: file name without ".parquet".
        """
        file = f"{name}.parquet"
        return table_of(self.path / file, self.read(file), columns)

    def damage(self, names: Sequence[str]) -> str:
        """Return the first problem of the scores as text; "" if the files `names` have checksums, and all files with checksums are intact."""
        checksums = self.checksums()
        if checksums is None:
            return f"{FILE} {'is damaged' if (self.path / FILE).is_file() else 'is missing'}"
        if unlisted := [name for name in names if name not in checksums]:
            return f"{unlisted[0]} has no checksum"
        return next((f"{name} {problem}" for name, problem in self.problems(sorted(checksums)).items()), "")


@dataclass(frozen=True, slots=True)
class ReportFolder(CheckedFolder):
    """The folder `report/<grid>/tables` with the tables of a page."""

    @classmethod
    def of(cls, root: Path, grid: str) -> "ReportFolder":
        """Return the folder of a grid's report in the store at `root`."""
        return cls(root / "report" / grid / "tables")

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises StoreError if the file is missing or changed, or has no checksum.

        The checksums are written last. So tables without checksums may be a mixture of two reports.
        """
        report = f"the report of grid {self.path.parent.name}:"
        fix = f"write it again with `bench report --grid {self.path.parent.name}`"
        content = self._read(name, report, fix)
        if name not in (self.checksums() or ()):
            what = f"{report} {name} has no checksum (`bench report` was interrupted)"
            raise StoreError(what, str(self.path / name), fix)
        return content


def _file_state(path: Path) -> tuple[int, int, int, int] | None:
    """Return device, inode, size and time of a file; None if there is no file with this path (but a folder or a pipe)."""
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


@lru_cache(10_000)
def _known_checksums(folder: CheckedFolder, state: object) -> Mapping[str, str]:  # noqa: ARG001
    """Return {file name: SHA-256}, {} without a readable checksums.json. `state`: its `_file_state`, so that changes are seen."""
    return folder.checksums() or {}


@lru_cache(100_000)
def _problems(folder: CheckedFolder, names: tuple[str, ...], states: tuple[object, ...]) -> Mapping[str, str]:
    """Return {file name: problem} for the files `names` of a folder; see `CheckedFolder.problems`.

    `states`: for each file, then for checksums.json, its device, inode, size and time; None for a missing file. The cache keeps
    the result for equal arguments, so unchanged files are checked only once per process.
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
            continue  # intact: the file need not be parsed, which would be slow for the records of thousands of runs
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
