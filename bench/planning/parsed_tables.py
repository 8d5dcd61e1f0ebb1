"""Keep the table of a cohort in the store, so that the next command does not parse the files of the dataset again.

Reading 377,000 rows takes 5 s (a CSV file) to 20 s (gzipped files). A kept table is used only if the program, its libraries and
the files of the dataset are the same, as path, size and time of the last change tell, and if the same images are on disk.
Otherwise the files are read again. A kept table may be deleted at any time.

A file has three Arrow tables (cohort table, quarantine, doubts), then the SHA-256 of these bytes. The facts that are no table are
JSON in the metadata of the first.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

import harmonize
from bench.store.store import write_bytes
from harmonize.cohorts.cohort import ABSENT, Cohort, load
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import TABLE, Remark, adapter
from harmonize.datasets.image_files import are_files
from harmonize.datasets.table import table_files
from harmonize.images.image_header import IMAGE_ENDINGS

_FACTS = b"facts"  # key of the facts in the metadata of the first table
_DIGEST_LENGTH = hashlib.sha256().digest_size
_DEPTH = 2  # levels of folders with tables, or with lists of images that an adapter reads, below the root of a dataset


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """A cohort that is read from `folder` if it was kept there and nothing has changed, else from its dataset.

    The other fields are the arguments of `harmonize.cohorts.cohort.load`.
    """

    folder: Path
    spec: CohortSpec
    mapping: str
    findings: Sequence[str]
    tables_alone: bool = False

    def cohort(self) -> Cohort:
        """Return the cohort. Raises the errors of `load`."""
        key = self.key()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            kept = self._unpacked(self._file.read_bytes(), key)
            if kept is not None:
                return kept
        cohort = load(self.spec, self.mapping, self.findings, tables_alone=self.tables_alone)
        # The table is kept for the next command. This command does not need it, so a full disk is no error.
        with contextlib.suppress(OSError, ValueError, TypeError, pa.ArrowException):
            content = _packed(cohort, key)
            if self.key() == key:  # nothing has changed while the files were read
                write_bytes(self._file, content)
        return cohort

    def key(self) -> str:
        """Return a hash that changes with the arguments, the program, and `files`: their paths, sizes and times of change."""
        digest = hashlib.sha256(repr((self._request, _program())).encode())
        for path in self.files():
            digest.update(f"{path}\0{_stamp(path)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def files(self) -> Iterator[str]:
        """Yield the paths of all files, except images, that reading the cohort may open, and of the folders that it may list.

        The time of a folder changes when a file in it is added or removed.
        """
        spec = self.spec
        lists = (*spec.exclude, *(value for _, value in spec.split if isinstance(value, Path)))
        yield from map(str, (*lists, *(folder / "phantom.json" for folder in (spec.root, spec.root.parent))))
        if spec.layout == TABLE:
            tables = (path for _, path in table_files(spec.root, spec.table))
            yield from map(str, (*tables, Path(spec.mapping), spec.root / spec.mapping))
        else:
            yield from _entries(str(spec.root), getattr(adapter(spec.layout), "folder_levels", _DEPTH))

    @property
    def _request(self) -> str:
        return repr((self.spec, self.mapping, tuple(self.findings), self.tables_alone))

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.spec.name}-{hashlib.sha256(self._request.encode()).hexdigest()[:12]}.arrow"

    def _unpacked(self, content: bytes, key: str) -> Cohort | None:
        """Return the cohort, or None if the file is damaged or has another key, or if other images are on disk."""
        body = memoryview(content)[:-_DIGEST_LENGTH]
        if hashlib.sha256(body).digest() != content[-_DIGEST_LENGTH:]:
            return None
        source = pa.BufferReader(pa.py_buffer(body))
        parts = [pa.ipc.open_stream(source).read_all() for _ in range(3)]
        facts = json.loads(parts[0].schema.metadata[_FACTS])
        if facts["key"] != key:
            return None
        table, quarantine, doubts = map(_frame, parts, facts["dtypes"])
        flow = {str(name): int(number) for name, number in facts["flow"].items()}
        spec = self.spec
        phantom = bool(facts["phantom"])
        remarks = tuple(Remark(*texts) for texts in facts["remarks"])
        cohort = Cohort(spec.name, spec.layout, spec.root, table, quarantine, flow, phantom, spec, doubts, remarks)
        cohort.__dict__["id"] = str(facts["id"])  # the value of the cached property
        return cohort if self._has_its_images(cohort) else None

    def _has_its_images(self, cohort: Cohort) -> bool:
        """Return whether the images of a kept cohort are still on disk, and the absent images are still absent."""
        absent = cohort.quarantine.loc[cohort.quarantine["reason"] == ABSENT, "path"]
        on_disk = are_files(cohort.root, cohort.table["path"])
        complete = bool(on_disk.all()) or (self.tables_alone and not on_disk.any())
        return complete and not are_files(cohort.root, absent).any()


def _entries(folder: str, depth: int) -> Iterator[str]:
    """Yield a folder, and its files and folders down to `depth` levels, in a fixed order; no images."""
    yield folder
    try:
        with os.scandir(folder) as entries:
            # isdir: `entry.is_dir` raises OSError for a loop of links
            inside = sorted((e.name, os.path.isdir(e.path) if e.is_symlink() else e.is_dir()) for e in entries)  # noqa: PTH112
    except OSError:  # no folder, or unreadable
        return
    for name, is_folder in inside:
        if is_folder and depth > 1:
            yield from _entries(f"{folder}/{name}", depth - 1)
        elif not name.lower().endswith(IMAGE_ENDINGS):  # other files of a dataset may be tables
            yield f"{folder}/{name}"


def _stamp(path: str) -> tuple[int, int] | None:
    """Return size and time of the last change of a file or folder, None if it is missing."""
    try:
        found = os.stat(path)  # noqa: PTH116  (three times as fast as Path.stat)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _packed(cohort: Cohort, key: str) -> bytes:
    """Return the content of the file of a cohort."""
    frames = (cohort.table, cohort.quarantine, cohort.doubts)
    facts = {
        "key": key,
        "dtypes": [[str(dtype) for dtype in frame.dtypes] for frame in frames],
        "flow": cohort.flow,
        "phantom": cohort.phantom,
        "remarks": cohort.remarks,
        "id": cohort.id,
    }
    table, *others = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
    first = table.replace_schema_metadata({**table.schema.metadata, _FACTS: json.dumps(facts).encode()})
    sink = pa.BufferOutputStream()
    for part in (first, *others):
        with pa.ipc.new_stream(sink, part.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(part)
    content: bytes = sink.getvalue().to_pybytes()
    return content + hashlib.sha256(content).digest()


def _frame(table: pa.Table, dtypes: Sequence[str]) -> pd.DataFrame:
    """Return the table with these dtypes, and with columns that can be written to."""
    frame: pd.DataFrame = table.to_pandas().copy()
    changes = {name: dtype for name, own, dtype in zip(frame, frame.dtypes, dtypes, strict=True) if str(own) != dtype}
    return frame.astype(changes) if changes else frame


@cache
def _program() -> str:
    """Return a hash of all code that reads a cohort: the files of `harmonize`, this file, and the library versions."""
    digest = hashlib.sha256(
        repr((sys.version, pd.__version__, np.__version__, pa.__version__, yaml.__version__)).encode()
    )
    folder = Path(harmonize.__file__).parent
    for path in (*sorted(folder.rglob("*.py")), *sorted(folder.rglob("*.yaml")), Path(__file__)):
        digest.update(repr((path.name, path.read_bytes())).encode())
    return digest.hexdigest()
