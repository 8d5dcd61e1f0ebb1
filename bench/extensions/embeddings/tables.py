"""Tables of vectors that the owner of an encoder computed, for encoders that nobody else may run.

An architecture with the key `embeddings: FOLDER` has no network in this project. FOLDER has one table for each cohort,
COHORT.parquet or COHORT.csv: the column `image_id`, and the vector of the image as number columns or as one list column.

Legend: N images, D numbers of a vector.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.planning.run import path_of_entry
from bench.store.file_integrity import file_sha256
from harmonize.datasets.csvrows import check_columns, column_names
from harmonize.datasets.user_table import is_parquet, read_user_table
from harmonize.errors import CxrError, DatasetError, SetupError
from harmonize.labels.findings import labels_yaml, space

ENDINGS = (".parquet", ".csv")
# Maximum number of rows, and of rows times numbers of a vector, of a Parquet table: 8 GiB in float32, which is enough for
# 900,000 images with 2,386 numbers. The limits are necessary because a file of 1 kB can state a billion equal rows.
MAX_ROWS = 10_000_000
MAX_NUMBERS = 2**31
_BATCH_NUMBERS = 2**20  # numbers that are read at once
_BATCH_COLUMNS = 64  # number columns that are read at once
_BUFFER_BYTES = 2**16  # of a column of a Parquet file
# names that pandas gives the row numbers of a table, which are no part of a vector
_ROW_NUMBERS = ("", "index", "Unnamed: 0", "__index_level_0__")
# column names, as `_plain` writes them, that state labels or patients: as a part of the vectors, they would give the answer away
_NO_PARTS = (
    *(
        "label",
        "labels",
        "target",
        "targets",
        "row",
        "rownumber",
        "patient",
        "patientid",
        "subjectid",
        "study",
        "studyid",
    ),
    *(
        "age",
        "patientage",
        "sex",
        "patientsex",
        "gender",
        "race",
        "ethnicity",
        "view",
        "viewposition",
        "split",
        "device",
    ),
)
_SHAPE_FIX = (
    "write the column image_id and the vectors: number columns, or one column with a list of numbers in each row"
)


@dataclass(frozen=True, slots=True)
class EmbeddingTables:
    """The folder with the tables of one encoder."""

    folder: Path

    @classmethod
    def of(cls, architecture: Entry, weights_dir: Path | None, registry_path: Path) -> Self:
        """Return the tables of a registry entry with the key `embeddings`. Raises SetupError if the folder does not exist."""
        folder = path_of_entry(architecture, "embeddings", weights_dir, registry_path, Path.is_dir)
        if not folder.is_dir():
            fix = "put the tables of the vectors there, or correct `embeddings:` of its registry entry"
            raise SetupError(f"no folder with the embeddings of {architecture.name}", str(folder), fix)
        return cls(folder.resolve())

    @property
    def sha256(self) -> str:
        """Return a hash of the names and contents of all tables of the folder."""
        paths = sorted(path for path in self.folder.iterdir() if path.suffix in ENDINGS)
        digest = hashlib.sha256()
        for path in paths:
            digest.update(f"{path.name}\0{_sha256(path, _stamp(path))}\0".encode())
        return digest.hexdigest()

    def width(self, cohort: str) -> int:
        """Return the number D of numbers in a vector of a cohort's table, without reading the vectors."""
        return self._layout(cohort).width

    def read(self, cohort: str) -> tuple["pd.Index[str]", NDArray[np.float32]]:
        """Return the image ids [N] and the vectors [N, D] of a cohort's table.

        Raises DatasetError for a missing or unreadable table, repeated or missing ids, and vectors that are not finite
        numbers or differ in length.
        """
        path = self._file(cohort)
        return _read(path, _stamp(path))

    def of_images(self, cohort: str, image_id: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of these images of a cohort. Raises DatasetError if images have no vector."""
        ids, vector_ND = self.read(cohort)
        position = ids.get_indexer(pd.Index(image_id))
        if (position < 0).any():
            raise self._missing(cohort, pd.Index(image_id)[position < 0], len(image_id))
        return vector_ND[position]

    def check(self, internal: str, images: Mapping[str, Sequence[str]]) -> None:
        """Check the tables of all cohorts. `images`: cohort -> ids of its images. `internal`: the internal cohort.

        Raises DatasetError as `read` does, and if a table has no vector for an image, vectors of images that are not in
        the cohort, or vectors of another length or with other column names than the table of the internal cohort.
        """
        for cohort, image_id in images.items():
            ids, _ = self.read(cohort)
            self._check_columns(internal, cohort)
            where = str(self._file(cohort))
            known = pd.Index(image_id)
            missing = known[~known.isin(ids)]
            if len(missing):
                raise self._missing(cohort, missing, len(known))
            extra = ids[~ids.isin(known)]
            if len(extra):
                what = f"{len(extra):,} of {len(ids):,} rows are of images that are not in {cohort}, e.g. {extra[0]}"
                fix = "remove these rows, or check that the table is that of this cohort"
                raise DatasetError(what, where, fix)

    def _check_columns(self, internal: str, cohort: str) -> None:
        """Raise DatasetError unless the number columns of a cohort have the names and the order of the internal cohort's.

        A list column has no names for its numbers.
        """
        first, own, where = self._layout(internal), self._layout(cohort), str(self._file(cohort))
        if own.width != first.width:
            what = f"the vectors of {cohort} have {own.width} numbers, those of {internal} have {first.width}"
            raise DatasetError(what, where, "compute the vectors of all cohorts with the same encoder")
        if first.is_list or own.is_list or own.names == first.names:
            return
        i = next(i for i, (mine, its) in enumerate(zip(own.names, first.names, strict=True)) if mine != its)
        what = f"vector column {i + 1} of {cohort} is {own.names[i]!r}, that of {internal} is {first.names[i]!r}"
        fix = "write the same columns in the same order in all tables, and no columns besides image_id and the vectors"
        raise DatasetError(what, where, fix)

    def _layout(self, cohort: str) -> "_Layout":
        path = self._file(cohort)
        return _layout(path, _stamp(path))

    def _missing(self, cohort: str, missing: "pd.Index[str]", num_images: int) -> DatasetError:
        what = f"{len(missing):,} of {num_images:,} images of {cohort} have no vector, e.g. {missing[0]}"
        fix = (
            "add their vectors, or list these images under `exclude` in the data file: then no model is tested on them"
        )
        return DatasetError(what, str(self._file(cohort)), fix)

    def _file(self, cohort: str) -> Path:
        """Return the path of a cohort's table. Raises DatasetError unless the folder has exactly one."""
        files = [path for ending in ENDINGS if (path := self.folder / f"{cohort}{ending}").is_file()]
        if len(files) == 1:
            return files[0]
        names = " and ".join(path.name for path in files)
        what = f"{cohort} has two tables of vectors, {names}" if files else f"{cohort} has no table of vectors"
        fix = "remove one of the tables" if files else f"add {cohort}.parquet or {cohort}.csv"
        raise DatasetError(what, str(self.folder), fix)


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file. Results for a file are kept only while both stay the same."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@cache
def _sha256(path: Path, stamp: tuple[int, int]) -> str:  # noqa: ARG001  (a part of the key of the cache)
    return file_sha256(path)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a table states about its vectors before its rows are read."""

    names: tuple[str, ...]  # the columns of the vectors
    width: int  # D
    is_list: bool  # whether the vectors are lists in one column


@cache
def _layout(path: Path, stamp: tuple[int, int]) -> _Layout:  # noqa: ARG001
    """Return the layout of a table. Raises DatasetError for columns that cannot be image ids and vectors."""
    where = str(path)
    with _refusing(where):
        if not is_parquet(path):
            try:
                columns = column_names(path)
            except UnicodeDecodeError as error:
                with path.open("rb") as binary:
                    raise DatasetError.not_utf8(path, binary) from error
            names = _of_vectors(columns, where)
            return _Layout(names, len(names), False)
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            check_columns(file.metadata.num_columns, path)
            schema = file.schema_arrow
            index = (schema.pandas_metadata or {}).get("index_columns", [])  # pandas' row numbers
            names = _of_vectors([name for name in schema.names if name == "image_id" or name not in index], where)
            if len(names) == 1 and _is_list(schema.field(names[0]).type):
                if not _is_number(schema.field(names[0]).type.value_type):
                    raise DatasetError(f"the lists of the column {names[0]!r} have no numbers", where, _SHAPE_FIX)
                layout = _Layout(names, _first_length(file, names[0]), True)
            else:
                _require_numbers({name: _is_number(schema.field(name).type) for name in names}, where)
                layout = _Layout(names, len(names), False)
            _check_size(file.metadata.num_rows, layout.width, where)
            return layout


def _of_vectors(columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the columns of a table except `image_id`. Raises DatasetError for names that are no part of a vector."""
    if "image_id" not in columns:
        raise DatasetError("no column image_id", where, "name the column of the image ids image_id")
    if twice := [name for name, number in Counter(columns).items() if number > 1]:
        raise DatasetError(f"the column {twice[0]!r} occurs twice", where, "give each column a name of its own")
    names = tuple(name for name in columns if name != "image_id")
    if numbers := [name for name in names if name in _ROW_NUMBERS]:
        what = f"the column {numbers[0]!r} looks like row numbers, not like a part of the vectors"
        raise DatasetError(what, where, "write the table without the row numbers (pandas: index=False)")
    findings = {_plain(finding) for own in labels_yaml()["spaces"] for finding in space(own)}
    for name in names:
        if _plain(name) in _NO_PARTS or any(finding in _plain(name) for finding in findings):
            what = f"the column {name!r} looks like a label or a fact about patients, not like a part of the vectors"
            raise DatasetError(what, where, "remove the column: a network would read its answer there")
    if not names:
        raise DatasetError("the table has no vectors", where, _SHAPE_FIX)
    return names


def _plain(name: str) -> str:
    """Return a name in lower case, without spaces and punctuation."""
    return "".join(mark for mark in name.casefold() if mark.isalnum())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _first_length(file: pq.ParquetFile, name: str) -> int:
    """Return the length of the list in the first row, 0 if there is none."""
    first = next(file.iter_batches(1, columns=[name]), None)
    return len(first.column(0)[0]) if first and len(first) and first.column(0)[0].is_valid else 0


def _check_size(num_rows: int, width: int, where: str) -> None:
    """Raise DatasetError for a Parquet table that is too large for memory, whatever the size of its file."""
    if num_rows > MAX_ROWS:
        fix = "write one row for each image of the cohort"
        raise DatasetError(f"the table has {num_rows:,} rows, the maximum is {MAX_ROWS:,}", where, fix)
    if num_rows * width > MAX_NUMBERS:
        what = (
            f"the vectors have {num_rows:,} x {width:,} = {num_rows * width:,} numbers, the maximum is {MAX_NUMBERS:,}"
        )
        fix = f"with {num_rows:,} images, give vectors of at most {MAX_NUMBERS // num_rows:,} numbers, or use fewer images"
        raise DatasetError(what, where, fix)


def _require_numbers(numbers: Mapping[str, bool], where: str) -> None:
    """Raise DatasetError if a column has no numbers. `numbers`: column -> whether it has."""
    if other := [name for name, is_number in numbers.items() if not is_number]:
        what = f"{len(other)} of {len(numbers)} columns have no numbers, the first is {other[0]!r}"
        raise DatasetError(what, where, _SHAPE_FIX)


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn the errors of a file that cannot be read into DatasetError."""
    try:
        yield
    except CxrError:
        raise
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        what = f"cannot read the vectors: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
        raise DatasetError(what, where, "give a CSV or Parquet table") from error


# the tables of one run are read one after the other; a second table of 4 GB in memory would be too much
@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int]) -> tuple["pd.Index[str]", NDArray[np.float32]]:
    where, layout = str(path), _layout(path, stamp)
    with _refusing(where):
        ids, vector_ND = _of_parquet(path, layout) if is_parquet(path) else _of_csv(path, layout)
    bad = ~_finite_rows(vector_ND)
    if bad.any():
        what = (
            f"the vectors of {int(bad.sum()):,} images have missing or infinite numbers, e.g. {ids[int(bad.argmax())]}"
        )
        raise DatasetError(what, where, "compute these vectors again: each number must be finite")
    return ids, vector_ND


def _of_csv(path: Path, layout: _Layout) -> tuple["pd.Index[str]", NDArray[np.float32]]:
    frame = read_user_table(path, dtype={"image_id": str})
    ids, values = _ids(frame.pop("image_id"), str(path)), frame
    numbers = [getattr(kind, "kind", "O") in "fiu" for kind in values.dtypes]
    _require_numbers(dict(zip(layout.names, numbers, strict=True)), str(path))
    with np.errstate(over="ignore"):
        return ids, values.to_numpy(np.float32)


def _of_parquet(path: Path, layout: _Layout) -> tuple["pd.Index[str]", NDArray[np.float32]]:
    """Read a Parquet table in batches, into an array in float32.

    Few columns at a time, because each column that is read needs a page of 1 MB. A buffer and no `pre_buffer`, because
    pyarrow otherwise reads a row group at once, which may be the whole file. So 200,000 x 1,024 numbers (0.76 GiB) need
    0.94 GiB with all imports.
    """
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        ids = _ids(file.read(["image_id"]).column("image_id").to_pandas(), str(path))
        vector_ND = np.empty((len(ids), layout.width), np.float32)
        num_rows = max(1, _BATCH_NUMBERS // max(1, layout.width if layout.is_list else _BATCH_COLUMNS))
        for first in range(0, len(layout.names), _BATCH_COLUMNS):
            names, start = layout.names[first : first + _BATCH_COLUMNS], 0
            for batch in file.iter_batches(num_rows, columns=list(names)):
                part_ND = vector_ND[start : start + len(batch)]
                with np.errstate(over="ignore"):  # too large for float32: infinite, and then refused
                    if layout.is_list:
                        part_ND[:] = _of_lists(batch.column(0), start, layout, str(path))
                    else:
                        for i, name in enumerate(names, first):
                            part_ND[:, i] = batch.column(name).to_numpy(zero_copy_only=False)
                start += len(batch)
            if start != len(ids):
                raise ValueError(f"the column {names[0]!r} has {start:,} rows, image_id has {len(ids):,}")
    return ids, vector_ND


def _of_lists(column: pa.Array, start: int, layout: _Layout, where: str) -> NDArray[np.float32]:
    """Return the vectors of a batch of lists. `start`: number of rows before the batch."""
    if column.null_count:
        row = start + int(column.is_null().to_numpy(zero_copy_only=False).argmax()) + 1
        raise DatasetError(f"row {row:,} has no list of numbers", where, _SHAPE_FIX)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if (lengths != layout.width).any():
        what = f"the vectors have between {min(lengths.min(), layout.width)} and {max(lengths.max(), layout.width)} numbers"
        raise DatasetError(what, where, "give all images vectors of the same length")
    vector_ND: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return vector_ND.reshape(len(column), layout.width)


def _finite_rows(vector_ND: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each row whether all its numbers are finite."""
    rows = max(1, _BATCH_NUMBERS // max(1, vector_ND.shape[1]))
    parts = [np.isfinite(vector_ND[i : i + rows]).all(1) for i in range(0, len(vector_ND), rows)]
    return np.concatenate(parts) if parts else np.ones(0, bool)


def _ids(column: "pd.Series[str]", where: str) -> "pd.Index[str]":
    """Return the image ids of a table as text. Raises DatasetError for missing and repeated ids, and for fractions."""
    if column.isna().any():
        what = f"{int(column.isna().sum()):,} rows have no image_id, the first is row {int(column.isna().argmax()) + 1}"
        raise DatasetError(what, where, "give each row the id of its image")
    if pd.api.types.is_float_dtype(column):
        raise DatasetError("the image ids are numbers with fractions", where, "write the ids as text")
    ids = pd.Index(column.astype(str))
    if ids.has_duplicates:
        twice = ids[ids.duplicated()]
        what = f"{len(twice):,} rows repeat an image, e.g. {twice[0]}"
        raise DatasetError(what, where, "give one row per image")
    return ids
