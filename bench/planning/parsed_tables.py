"""Keep the table of a cohort in the store, so that the next command does not parse the files of the dataset again.

Reading 377,000 rows takes 5 s (a CSV file) to 20 s (gzipped files), and comparing the SHA-256 of the files takes 0.1 s. A
kept table is used only if each question about files that reading asked has the same answer as before (see
`harmonize.datasets.file_access`), and if the program and its libraries are the same. Otherwise the files are read again. A
kept table may be deleted at any time.

A file has four Arrow tables (cohort table, quarantine, doubts, questions), then the SHA-256 of these bytes. The facts that
are no table are JSON in the metadata of the first.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

import harmonize
from bench.store.store import write_bytes
from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import Remark
from harmonize.datasets.file_access import Question, has_changed, recorded

_FACTS = b"facts"  # key of the facts in the metadata of the first table
_DIGEST_LENGTH = hashlib.sha256().digest_size


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
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            kept = self._unpacked(self._file.read_bytes())
            if kept is not None:
                return kept
        with recorded() as answers:
            cohort = load(self.spec, self.mapping, self.findings, tables_alone=self.tables_alone)
            identity = cohort.id
        # The table is kept for the next command. This command does not need it, so a full disk is no error.
        with contextlib.suppress(OSError, ValueError, TypeError, pa.ArrowException):
            content = self._packed(cohort, identity, answers)
            if not has_changed(answers) and _are_same(cohort, self._unpacked(content)):
                write_bytes(self._file, content)
        return cohort

    @property
    def _request(self) -> str:
        return repr((self.spec, self.mapping, tuple(self.findings), self.tables_alone))

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.spec.name}-{hashlib.sha256(self._request.encode()).hexdigest()[:12]}.arrow"

    def _packed(self, cohort: Cohort, identity: str, answers: Mapping[Question, str]) -> bytes:
        """Return the content of the file."""
        frames = (cohort.table, cohort.quarantine, cohort.doubts)
        facts = {
            "request": self._request,
            "program": _program(),
            "dtypes": [[str(dtype) for dtype in frame.dtypes] for frame in frames],
            "flow": cohort.flow,
            "phantom": cohort.phantom,
            "remarks": cohort.remarks,
            "id": identity,
        }
        rows = [(*question, answer) for question, answer in answers.items()]
        asked = pa.table([pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)], list("abcd"))
        table, *others = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
        first = table.replace_schema_metadata({**table.schema.metadata, _FACTS: json.dumps(facts).encode()})
        sink = pa.BufferOutputStream()
        for part in (first, *others, asked):
            with pa.ipc.new_stream(sink, part.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
                writer.write_table(part)
        content: bytes = sink.getvalue().to_pybytes()
        return content + hashlib.sha256(content).digest()

    def _unpacked(self, content: bytes) -> Cohort | None:
        """Return the cohort, or None if the file is damaged, or belongs to other files, settings or code."""
        body = memoryview(content)[:-_DIGEST_LENGTH]
        if hashlib.sha256(body).digest() != content[-_DIGEST_LENGTH:]:
            return None
        source = pa.BufferReader(pa.py_buffer(body))
        parts = [pa.ipc.open_stream(source).read_all() for _ in range(4)]
        facts = json.loads(parts[0].schema.metadata[_FACTS])
        if (facts["request"], facts["program"]) != (self._request, _program()):
            return None
        *questions, answers = (column.to_pylist() for column in parts[3].columns)
        if has_changed(dict(zip(zip(*questions, strict=True), answers, strict=True))):
            return None
        table, quarantine, doubts = map(_frame, parts[:3], facts["dtypes"])
        flow = {str(name): int(number) for name, number in facts["flow"].items()}
        spec, phantom, remarks = self.spec, bool(facts["phantom"]), tuple(Remark(*texts) for texts in facts["remarks"])
        cohort = Cohort(spec.name, spec.layout, spec.root, table, quarantine, flow, phantom, spec, doubts, remarks)
        cohort.__dict__["id"] = str(facts["id"])  # the value of the cached property
        return cohort


def _frame(table: pa.Table, dtypes: Sequence[str]) -> pd.DataFrame:
    """Return the table with these dtypes, and with columns that can be written to."""
    frame: pd.DataFrame = table.to_pandas().copy()
    changes = {name: dtype for name, own, dtype in zip(frame, frame.dtypes, dtypes, strict=True) if str(own) != dtype}
    return frame.astype(changes) if changes else frame


def _are_same(cohort: Cohort, other: Cohort | None) -> bool:
    """Return whether two cohorts have equal frames: Arrow does not keep every object that a column can have."""
    return other is not None and all(
        _are_equal(getattr(cohort, name), getattr(other, name)) for name in ("table", "quarantine", "doubts")
    )


def _are_equal(frame: pd.DataFrame, other: pd.DataFrame) -> bool:
    if not (frame.equals(other) and frame.dtypes.equals(other.dtypes) and frame.index.equals(other.index)):
        return False
    objects = [name for name in frame if pd.api.types.is_object_dtype(frame[name])]
    return all(frame[name].map(type).equals(other[name].map(type)) for name in objects)


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
