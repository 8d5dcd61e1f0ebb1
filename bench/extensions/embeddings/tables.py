"""Tables of vectors that the owner of an encoder computed, for encoders that nobody else may run.

An architecture with the key `embeddings: FOLDER` has no network in this project. FOLDER has one table for each cohort,
COHORT.parquet or COHORT.csv: the column `image_id`, and the vector of the image as number columns or as one list column.

Legend: N images, D numbers of a vector.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.planning.run import path_of_entry
from bench.store.file_integrity import file_sha256
from harmonize.errors import DatasetError, SetupError
from harmonize.labels.findings import labels_yaml, space

ENDINGS = (".parquet", ".csv")
# names of columns, as `_plain` writes them, that are no part of a vector: row numbers of pandas; labels and facts about patients,
# which would give the answer away
_NO_PARTS = {
    *("", "index", "unnamed0", "indexlevel0", "row", "rownumber", "label", "labels", "target", "targets", "split"),
    *("patient", "patientid", "subjectid", "study", "studyid", "age", "patientage", "sex", "patientsex", "gender"),
    *("race", "ethnicity", "view", "viewposition", "device"),
}
_SHAPE_FIX = (
    "write the column image_id and the vectors: number columns, or one column with a list of numbers in each row"
)


class Vectors(NamedTuple):
    """The content of a table. `names`: the number columns; () for one list column, whose numbers have no names."""

    ids: "pd.Index[str]"
    vector_ND: NDArray[np.float32]
    names: tuple[str, ...]


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
        """Return the number D of numbers in a vector of a cohort's table. Raises DatasetError as `read` does."""
        width: int = self.read(cohort).vector_ND.shape[1]
        return width

    def read(self, cohort: str) -> Vectors:
        """Return the image ids [N] and the vectors [N, D] of a cohort's table.

        Raises DatasetError for a missing or unreadable table, columns that are no part of a vector, repeated ids, and vectors
        that are not finite numbers or differ in length.
        """
        path = self._file(cohort)
        return _read(path, _stamp(path))

    def of_images(self, cohort: str, image_id: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of these images of a cohort. Raises DatasetError if images have no vector."""
        return self.read(cohort).vector_ND[self._rows(cohort, image_id)]

    def _rows(self, cohort: str, image_id: Sequence[str]) -> NDArray[np.intp]:
        """Return the rows of these images in a cohort's table. Raises DatasetError if images have no vector."""
        images = pd.Index(image_id)
        row: NDArray[np.intp] = self.read(cohort).ids.get_indexer(images)
        if len(missing := images[row < 0]):
            what = f"{len(missing):,} of {len(images):,} images of {cohort} have no vector, e.g. {missing[0]}"
            fix = "add their vectors, or list these images under `exclude` in the data file: then no model is tested on them"
            raise DatasetError(what, str(self._file(cohort)), fix)
        return row

    def check(self, internal: str, images: Mapping[str, Sequence[str]]) -> None:
        """Check the tables of all cohorts. `images`: cohort -> ids of its images. `internal`: the internal cohort.

        Raises DatasetError as `read` does, and if a table has no vector for an image, or vectors of another length or with
        other column names than the table of the internal cohort. Vectors of other images are left out.
        """
        first_names = self.read(internal).names
        for cohort, image_id in images.items():
            names = self.read(cohort).names or first_names  # a list column has no names
            if self.width(cohort) != self.width(internal) or (first_names and names != first_names):
                what = f"the vectors of {cohort} and of {internal} differ in their columns or in their length"
                fix = "compute all vectors with the same encoder, and write the same columns in the same order"
                raise DatasetError(what, str(self._file(cohort)), fix)
            self._rows(cohort, image_id)

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


# the tables of one run are read one after the other; a second table of 4 GB in memory would be too much
@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int]) -> Vectors:  # noqa: ARG001
    where = str(path)
    try:
        table = _table(path)
        ids: pd.Index[str] = pd.Index(table.column("image_id").cast(pa.string()).to_pandas())
        table = table.drop_columns("image_id")
        _check_names(table.column_names, where)
        is_list = table.num_columns == 1 and pa.types.is_nested(table.schema.types[0])
        with np.errstate(over="ignore"):  # a number that is too large for float32 becomes infinite, and is then refused
            vector_ND = _of_lists(table.column(0)) if is_list else _of_columns(table)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        what = f"cannot read the vectors: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
        raise DatasetError(what, where, _SHAPE_FIX) from error
    if ids.has_duplicates:
        raise DatasetError(f"a row repeats the image {ids[ids.duplicated()][0]}", where, "give one row per image")
    bad = ~np.isfinite(vector_ND).all(1)
    if bad.any():
        what = (
            f"the vectors of {int(bad.sum()):,} images have missing or infinite numbers, e.g. {ids[int(bad.argmax())]}"
        )
        raise DatasetError(what, where, "compute these vectors again: each number must be finite")
    return Vectors(ids, vector_ND, () if is_list else tuple(table.column_names))


def _table(path: Path) -> pa.Table:
    """Read a table without pandas' row numbers."""
    if path.suffix == ".csv":
        as_text = pcsv.ConvertOptions(
            column_types={"image_id": pa.string()}, null_values=[""], strings_can_be_null=True
        )
        return pcsv.read_csv(path, convert_options=as_text)
    with pq.ParquetFile(path) as file:
        table = file.read()
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return table.drop_columns([name for name in index if name in table.column_names and name != "image_id"])


def _check_names(columns: Sequence[str], where: str) -> None:
    """Raise DatasetError for columns that cannot be parts of vectors."""
    findings = {_plain(finding) for own in labels_yaml()["spaces"] for finding in space(own)}
    for name in columns:
        if _plain(name) in _NO_PARTS or any(finding in _plain(name) for finding in findings):
            what = f"the column {name!r} looks like row numbers, a label or a fact about patients, not like a part of the vectors"
            raise DatasetError(what, where, "remove the column: a network would read its answer there")


def _plain(name: str) -> str:
    """Return a name in lower case, without spaces and punctuation."""
    return "".join(mark for mark in name.casefold() if mark.isalnum())


def _of_columns(table: pa.Table) -> NDArray[np.float32]:
    """Return the vectors of number columns. Raises ValueError if a column has no numbers, or if there is no column."""
    vector_ND = np.empty((table.num_rows, table.num_columns), np.float32)
    for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise ValueError(f"the column {name!r} has no numbers")
        vector_ND[:, i] = column.to_numpy()
    if not table.num_columns:
        raise ValueError("the table has no column beside image_id")
    return vector_ND


def _of_lists(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return the vectors of a column of lists. Raises ValueError or TypeError for lists that differ in length or have no numbers."""
    widths = pc.list_value_length(column).unique().to_pylist()
    if len(widths) != 1 or widths[0] is None:
        raise ValueError("lists are missing, or differ in length")
    numbers: NDArray[np.float32] = pc.list_flatten(column).to_numpy().astype(np.float32, copy=False)
    return numbers.reshape(len(column), widths[0])
