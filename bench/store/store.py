"""The run store: the only writer below STORE. States are read from files, never from a database.

store.json                     {"schema": 2}, see bench.store.schema
grids/<name>.json              what `bench run` planned: runs, cohorts, settings (enough to score and report again)
cohorts/<cohort>-<id>.parquet  harmonized table;  quarantine-<cohort>.csv
cache/                         decoded images (harmonize.cache.cache);  phantom/  synthetic cohorts
3f/3fa94c1e02bd/               one run: run.json history.parquet last.pt model.safetensors cost.json
                               predictions/*.parquet features/*.npz env.json checksums.json DONE | FAILED  LOCK (bench.store.lease)  log.txt
scores/<run id>/               derived: may be deleted at any time;  report/<grid>/  tables/ and leaderboard.html
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from bench.store.file_integrity import json_object
from bench.store.schema import FILE, SCHEMA, require_present, schema_of
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

State = Literal["absent", "started", "done", "failed"]


def canonical_json(value: Any) -> bytes:
    """Return the one spelling of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def short_hash(content: bytes, digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:digits]


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of runs. Every file appears whole or not at all."""

    root: Path

    @classmethod
    def open(cls, root: Path, create: bool = True, older: bool = False) -> Self:
        """Open a store, making it when absent; without `create`, or with `older`, one of an older schema will do.

        Raises StoreError for another schema, a file in the way or a folder that cannot be written.
        """
        marker = root / FILE
        if not marker.is_file():
            if not create and root.is_file():
                raise StoreError("this is a file, a run store is a folder", str(root), "name the folder with --store")
            if not create:
                raise StoreError("no run store here", str(root), "name it with --store, or make one with `bench run`")
            try:
                root.mkdir(parents=True, exist_ok=True)
                write_bytes(marker, canonical_json({"schema": SCHEMA}))
            except OSError as error:
                raise StoreError(
                    f"cannot make a store: {error}", str(root), "choose a writable folder with --store"
                ) from error
        schema_of(root)
        if create and not older:
            require_present(root)
        return cls(root)

    @property
    def schema(self) -> int:
        """Return the schema of the store, see `bench.store.schema`."""
        return schema_of(self.root)

    def run_dir(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / run_id[:2] / run_id

    def cache_folder(self, root: Path) -> Path:
        """Return the folder of the decoded images of a dataset; two datasets with one name have different roots."""
        return self.root / "cache" / short_hash(str(root.resolve()).encode())

    def state(self, run_id: str) -> State:
        """Return what the files say of a run."""
        folder = self.run_dir(run_id)
        for name, state in (("DONE", "done"), ("FAILED", "failed"), ("run.json", "started")):
            if (folder / name).is_file():
                return state  # type: ignore[return-value]
        return "absent"

    def run_ids(self) -> list[str]:
        """Return the ids of all runs in the store, sorted."""
        return sorted(p.parent.name for p in self.root.glob("[0-9a-f][0-9a-f]/*/run.json"))

    def begin(self, run_id: str, document: bytes) -> Path:
        """Write run.json and return the run's folder; older verdicts stay until somebody holds the run, see `reopen`."""
        folder = self.run_dir(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if short_hash(document) != run_id:
            raise ValueError(f"run.json does not hash to {run_id}")
        write_bytes(folder / "run.json", document)
        return folder

    def reopen(self, run_id: str) -> None:
        """Take older verdicts away; for whoever holds the run's lease, or another's fresh DONE would be lost."""
        for verdict in ("FAILED", "DONE"):
            (self.run_dir(run_id) / verdict).unlink(missing_ok=True)

    def fail(self, run_id: str, text: str) -> None:
        """Record why a run stopped; one that has DONE did not: what ended was a task that had not begun, or was through."""
        if self.state(run_id) != "done":
            write_bytes(self.run_dir(run_id) / "FAILED", text.encode())

    def reason(self, run_id: str) -> str:
        """Return the last line of a failed run's record, or ""."""
        return last_line(self.run_dir(run_id) / "FAILED")

    def first_unfinished(self, run_ids: Sequence[str]) -> str:
        """Return which of these runs is not done, and why; "" when all are done."""
        for run_id in run_ids:
            if (state := self.state(run_id)) != "done":
                reasons = {"absent": "has not begun", "started": "is not finished"}
                return f"needs run {run_id}, which {reasons.get(state) or f'failed: {self.reason(run_id)}'}"
        return ""

    def remark(self, run_id: str) -> str:
        """Return how the training of a run went other than asked for; "" when it did not, or there is no record of it."""
        try:
            return remark(self.read_json(run_id[:2], run_id, "trained.json"))
        except StoreError:
            return ""

    def read_json(self, *parts: str) -> dict[str, Any]:
        """Return a JSON file of the store.

        Raises StoreError when it is absent or damaged.
        """
        path = self.root.joinpath(*parts)
        try:
            return json_object(path)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"cannot read {path.name}: {error}", str(path), "run the grid again with `bench run --grid`"
            ) from error


def remark(trained: Mapping[str, Any]) -> str:
    """Return how a training went other than asked for, or that it was elsewhere, "" when it did not, from the facts in trained.json.

    >>> remark({"stopped": "stopped by its limit of 2 hours after 3 of 8 epochs", "best_epoch": 2})
    'limit reached: stopped by its limit of 2 hours after 3 of 8 epochs'
    """
    words = {"elsewhere": "trained elsewhere", "stopped": "limit reached"}
    said = [f"{word}: {trained[key]}" for key, word in words.items() if key in trained]
    if "micro_batch" in trained:
        said.append(
            f"memory ran out: forward passes, and so batch norm, saw {trained['micro_batch']} images at a time at the end"
        )
    return "; ".join(said)


def last_line(path: Path) -> str:
    """Return the last line of a record that is not blank, "" without any or without the file."""
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def key_in(folder: Path) -> str:
    """Return the key of a folder of scores or of an analysis, "" while it is incomplete."""
    path = folder / "KEY"
    return path.read_text(errors="replace") if path.is_file() else ""


def write_bytes(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that appears whole or not at all."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary name beside `path`; move it there when the block ends well, remove it when it does not.

    Until then nobody else may read it; `mode` says who may afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, frame: Any, facts: Mapping[str, str] | None = None, mode: int = 0o644) -> None:
    """Write a data frame as Parquet, with facts in its file metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    own = {f"unseen.{k}".encode(): v.encode() for k, v in (facts or {}).items()}
    content = pa.BufferOutputStream()  # a file would be written to column by column
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **own}), content)
    write_bytes(path, content.getvalue(), mode)


def read_frame(path: Path) -> "pd.DataFrame":
    """Return what `write_table` wrote: read as one file, for a data set of files brings more to import, and starts threads."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        frame: pd.DataFrame = file.read(use_threads=False).to_pandas(use_threads=False)
    return frame


def read_table(path: Path) -> "pd.DataFrame":
    """Return a Parquet file of the store.

    Raises StoreError when it is missing or damaged.
    """
    try:
        return read_frame(path)
    except (OSError, ValueError, KeyError, TypeError) as error:  # TypeError: columns can be read, but not what they say
        raise StoreError.unreadable(path, error) from error


def table_facts(path: Path) -> dict[str, str]:
    """Return the facts that `write_table` stored, {} for an absent or damaged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {k.decode().removeprefix("unseen."): v.decode() for k, v in metadata.items() if k.startswith(b"unseen.")}


Progress = Callable[[str, int, int], None]  # what is being done, how much is done, of how much
