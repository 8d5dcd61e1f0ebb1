"""The run store: a folder with the files listed below. The state of a run follows from the files in its folder.

store.json                     {"schema": 1}; a store of another schema is refused
grids/<name>.json              manifest of a grid: its planned runs, cohorts and settings (enough to score and report again)
cohorts/<cohort>-<id>.parquet  table of a cohort after harmonization;  NAME.parquet.sha256  its checksum;  quarantine-<cohort>.csv
                               copies-<cohort>.csv patients-<cohort>.csv (bench.planning.overlap)
                               shared-<cohort>+<cohort>.csv patients-<cohort>+<cohort>.csv compared-<key>.json
                               (bench.planning.external_overlap)
cache/                         decoded images (harmonize.cache.cache);  phantom/  synthetic cohorts
3f/3fa94c1e02bd/               one run: run.json history.parquet last.pt model.safetensors cost.json
                               predictions/*.parquet features/*.npz env.json checksums.json DONE | FAILED  LOCK (bench.store.lease)  log.txt
scores/<run id>/               scores of a run; can be deleted at any time, because `bench score` makes them again
report/<grid>/                 tables/ leaderboard.html  report.json (bench.results.report_state)
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from bench.store.file_integrity import bytes_sha256, json_object
from bench.store.unfinished_files import SUFFIX, prefix, remove_once
from harmonize.disk_space import DiskFullError
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1  # increase this number when the format of stored files changes
MARKER = "store.json"
State = Literal["absent", "started", "done", "failed"]


def canonical_json(value: Any) -> bytes:
    """Return a value as JSON in one fixed form: sorted keys, no spaces, ASCII. So equal values give equal bytes and hashes.

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def short_hash(content: bytes, digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256 of `content`."""
    return bytes_sha256(content)[:digits]


@dataclass(frozen=True, slots=True)
class Store:
    """The store in the folder `root`. Files are written so that another process sees each file complete or not at all."""

    root: Path

    @classmethod
    def open(cls, root: Path, create: bool = True) -> Self:
        """Open the store in the folder `root`. With `create`, make the store if the folder has none.

        Raises StoreError for a store of another schema, for a missing store without `create`, and for a store that cannot be
        created.
        """
        try:
            str(root.absolute()).encode()
        except UnicodeEncodeError as error:  # Parquet files cannot be written there
            shown = str(root.absolute()).encode(errors="backslashreplace").decode()
            fix = "rename the folder, or give another with --store"
            raise StoreError("the path is not UTF-8", shown, fix) from error
        marker = root / MARKER
        if not marker.is_file():
            if not create and root.is_file():
                raise StoreError("this is a file, but a run store is a folder", str(root), "give a folder with --store")
            if not create:
                fix = "give another folder with --store, or make one with `bench run`"
                raise StoreError(f"the folder has no run store: it has no {MARKER}", str(root), fix)
            try:
                root.mkdir(parents=True, exist_ok=True)
                write_bytes(marker, canonical_json({"schema": SCHEMA}))
            except OSError as error:
                fix = "choose a writable folder with --store"
                raise StoreError(f"cannot create a store: {error}", str(root), fix) from error
        _check_schema(marker)
        return cls(root)

    def run_dir(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / run_id[:2] / run_id

    def cache_folder(self, root: Path) -> Path:
        """Return the folder for the decoded images of a dataset. `root`: the folder of the dataset itself.

        The folder's name is a hash of the path `root`, because different datasets may have the same name.
        """
        return self.root / "cache" / short_hash(str(root.resolve()).encode())

    def state(self, run_id: str) -> State:
        """Return the state of a run: done (it has a file DONE), failed (FAILED), started (only run.json) or absent."""
        folder = self.run_dir(run_id)
        for name, state in (("DONE", "done"), ("FAILED", "failed"), ("run.json", "started")):
            if (folder / name).is_file():
                return state  # type: ignore[return-value]
        return "absent"

    def run_ids(self) -> list[str]:
        """Return the ids of all runs in the store, sorted."""
        return sorted(p.parent.name for p in self.root.glob("[0-9a-f][0-9a-f]/*/run.json"))

    def has_grid(self, name: str) -> bool:
        """Return whether the store has the manifest of a grid, which `bench run` writes when it plans the grid."""
        return (self.root / "grids" / f"{name}.json").is_file()

    def phantom_dir(self, key: str) -> Path:
        """Return the folder of the synthetic cohorts with certain settings. `key`: the hash of the settings."""
        return self.root / "phantom" / key

    def begin(self, run_id: str, document: bytes) -> Path:
        """Write `document` as run.json and return the run's folder. An old file DONE or FAILED stays until `reopen`.

        Raises ValueError if the hash of `document` is not the run id.
        """
        folder = self.run_dir(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if short_hash(document) != run_id:
            raise ValueError(f"run.json does not hash to {run_id}")
        write_bytes(folder / "run.json", document)
        return folder

    def reopen(self, run_id: str) -> None:
        """Delete the files DONE and FAILED of a run.

        The caller must hold the run's lease. Otherwise a DONE that another process has just written could be lost.
        """
        for marker in ("FAILED", "DONE"):
            (self.run_dir(run_id) / marker).unlink(missing_ok=True)

    def fail(self, run_id: str, text: str) -> None:
        """Write the file FAILED of a run with the reason of the failure.

        A run with the file DONE stays done: its files are complete, even if the task that made them was lost.
        """
        if self.state(run_id) != "done":
            write_bytes(self.run_dir(run_id) / "FAILED", text.encode())

    def reason(self, run_id: str) -> str:
        """Return why a run failed: the last line of its file FAILED, "" if the run has no file FAILED."""
        return last_line(self.run_dir(run_id) / "FAILED")

    def first_unfinished(self, run_ids: Sequence[str], names: Mapping[str, object] | None = None) -> str:
        """Return a text that names the first of the runs that is not done, with the reason; "" if all are done.

        `names`: {run id: name of the run for the text}.
        """
        for run_id in run_ids:
            if (state := self.state(run_id)) != "done":
                reasons = {"absent": "has not begun", "started": "is not finished"}
                name = f" ({names[run_id]})" if names and run_id in names else ""
                return f"needs run {run_id}{name}, which {reasons.get(state) or f'failed: {self.reason(run_id)}'}"
        return ""

    def read_json(self, *parts: str) -> dict[str, Any]:
        """Return the JSON object in a file of the store. `parts`: the file's path from the store's folder.

        Raises StoreError if the file is missing or damaged.
        """
        path = self.root.joinpath(*parts)
        try:
            return json_object(path)
        except (OSError, ValueError) as error:
            fix = "run the grid again with `bench run --grid`"
            raise StoreError(f"cannot read {path.name}: {error}", str(path), fix) from error


def _check_schema(marker: Path) -> None:
    """Raise StoreError if store.json is damaged, or has another schema than this version writes."""
    try:
        schema = json_object(marker).get("schema")
    except (OSError, ValueError) as error:
        fix = f'write {{"schema": {SCHEMA}}} into it'
        raise StoreError(f"{MARKER} is unreadable: {error}", str(marker), fix) from error
    if type(schema) is not int or schema != SCHEMA:
        what = f"the store has schema {schema}, this version uses schema {SCHEMA}"
        raise StoreError(what, str(marker), "run its grids again in a new store: give another folder with --store")


def last_line(path: Path) -> str:
    """Return the last non-blank line of a file, without spaces at the ends of the line; "" for an empty or missing file."""
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def write_bytes(path: Path, content: bytes | memoryview, mode: int = 0o644) -> None:
    """Write a file atomically: other processes see the file complete or not at all. Raises DiskFullError or OSError."""
    with replacing(path, mode, needed=len(content)) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644, *, needed: int = 0) -> Iterator[Path]:
    """Yield the path of an empty temporary file in the folder of `path`; the block writes into this file.

    At the end of the block, this file replaces `path`. After an error in the block, it is removed; if this process is
    killed, it stays until another process writes into the folder.

    Only the owner can read the temporary file. `mode`: permissions of the final file. `needed`: size of the file in
    bytes for the error message, 0 if unknown. Raises DiskFullError if the disk is full.
    """
    try:
        with _temporary(path) as temporary:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
    except OSError as error:
        if full := DiskFullError.of(error, path, needed):
            raise full from error
        raise


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file in the folder of `path`; remove it at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix(path), suffix=SUFFIX)
    os.close(descriptor)
    try:
        remove_once(path.parent.absolute())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def write_table(path: Path, frame: Any, facts: Mapping[str, str] | None = None, mode: int = 0o644) -> str:
    """Write a data frame as Parquet and return the SHA-256 of the file (64 hex digits).

    `facts`: texts that are stored in the metadata of the file; `table_facts` reads them. `mode`: permissions of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {f"unseen.{k}".encode(): v.encode() for k, v in (facts or {}).items()}
    # the table is written to memory first, so that the file is written at once and not column by column
    content = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata}), content)
    written = content.getvalue()
    write_bytes(path, written, mode)
    return bytes_sha256(written)


def read_table(path: Path) -> "pd.DataFrame":
    """Return the data frame in a Parquet file that `write_table` wrote. Raises StoreError if the file is missing or damaged.

    This function does not compare the file with a checksum; `CheckedFolder.table` does.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError.unreadable(path, error) from error
    return table_of(path, content)


def table_of(path: Path, content: bytes, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return all or some columns of a Parquet file as a data frame, given the bytes of the file.

    The function uses `ParquetFile`, because `pq.read_table` would import more modules and start threads. `path` is only named in
    the error message. Raises StoreError if the bytes are damaged or a column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            frame: pd.DataFrame = file.read(columns, use_threads=False).to_pandas(use_threads=False)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:  # TypeError: damaged column metadata
        raise StoreError.unreadable(path, error) from error
    return frame if columns is None else frame[list(columns)]


def table_facts(path: Path) -> dict[str, str]:
    """Return the facts that `write_table` stored in the metadata of a Parquet file; {} for a missing or damaged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        facts = {key.decode(): value.decode() for key, value in metadata.items() if key.startswith(b"unseen.")}
    except (OSError, ValueError, pa.ArrowException):  # ValueError: damaged text
        return {}
    return {key.removeprefix("unseen."): value for key, value in facts.items()}
