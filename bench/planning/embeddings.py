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
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.store.file_integrity import file_sha256
from harmonize.datasets.user_table import is_parquet, read_user_table
from harmonize.errors import CxrError, DatasetError, SetupError

ENDINGS = (".parquet", ".csv")
# names that pandas gives the row numbers of a table, which are no part of a vector
_ROW_NUMBERS = ("", "index", "Unnamed: 0", "__index_level_0__")
_SHAPE_FIX = (
    "write the column image_id and the vectors: number columns, or one column with a list of numbers in each row"
)


@dataclass(frozen=True, slots=True)
class EmbeddingTables:
    """The folder with the tables of one encoder."""

    folder: Path

    @classmethod
    def of(cls, architecture: Entry, weights_dir: Path | None, registry_path: Path) -> Self:
        """Return the tables of a registry entry with the key `embeddings`.

        A relative path begins at `weights_dir` (the folder of --weights) if the folder exists there, else at the folder of
        the registry file. Raises SetupError if the folder does not exist.
        """
        name = str(architecture.facts["embeddings"])
        folders = [root / name for root in (weights_dir, registry_path.parent) if root is not None]
        folder = next((folder for folder in folders if folder.is_dir()), folders[-1])
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
        """Return the number D of numbers in a vector of a cohort's table."""
        return int(self.read(cohort)[1].shape[1])

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
        the cohort, or vectors of another length than the table of the internal cohort.
        """
        width = self.width(internal)
        for cohort, image_id in images.items():
            ids, vector_ND = self.read(cohort)
            where = str(self._file(cohort))
            if vector_ND.shape[1] != width:
                what = f"the vectors of {cohort} have {vector_ND.shape[1]} numbers, those of {internal} have {width}"
                raise DatasetError(what, where, "compute the vectors of all cohorts with the same encoder")
            known = pd.Index(image_id)
            missing = known[~known.isin(ids)]
            if len(missing):
                raise self._missing(cohort, missing, len(known))
            extra = ids[~ids.isin(known)]
            if len(extra):
                what = f"{len(extra):,} of {len(ids):,} rows are of images that are not in {cohort}, e.g. {extra[0]}"
                fix = "remove these rows, or check that the table is that of this cohort"
                raise DatasetError(what, where, fix)

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


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int]) -> tuple["pd.Index[str]", NDArray[np.float32]]:  # noqa: ARG001
    where = str(path)
    try:
        frame = read_user_table(path, dtype={"image_id": str})
    except CxrError:
        raise
    except (OSError, ValueError) as error:
        what = f"cannot read the vectors: {str(error).splitlines()[0][:200]}"
        raise DatasetError(what, where, "give a CSV or Parquet table") from error
    if "image_id" not in frame:
        raise DatasetError("no column image_id", where, "name the column of the image ids image_id")
    ids = _ids(frame["image_id"], where)
    columns = [str(column) for column in frame.columns if column != "image_id"]
    if numbers := [name for name in columns if name in _ROW_NUMBERS]:
        what = f"the column {numbers[0]!r} looks like row numbers, not like a part of the vectors"
        raise DatasetError(what, where, "write the table without the row numbers (pandas: index=False)")
    values = frame.drop(columns="image_id")
    vector_ND = _of_lists(values, where) if _has_lists(values, path) else _of_columns(values, where)
    return ids, _finite(vector_ND, ids, where)


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


def _has_lists(values: pd.DataFrame, path: Path) -> bool:
    return is_parquet(path) and values.shape[1] == 1 and pd.api.types.is_object_dtype(values.dtypes.iloc[0])


def _of_lists(values: pd.DataFrame, where: str) -> NDArray[np.float64]:
    """Return the vectors of the only column, which has a list in each row."""
    lists = values.iloc[:, 0].tolist()
    bad = [i for i, one in enumerate(lists) if not isinstance(one, np.ndarray) or one.dtype.kind not in "fiu"]
    if bad:
        what = f"{len(bad):,} rows have no list of numbers, the first is row {bad[0] + 1}"
        raise DatasetError(what, where, _SHAPE_FIX)
    lengths = {len(one) for one in lists}
    if len(lengths) > 1:
        what = f"the vectors have between {min(lengths)} and {max(lengths)} numbers"
        raise DatasetError(what, where, "give all images vectors of the same length")
    return np.array(lists, np.float64).reshape(len(lists), *lengths or (0,))


def _of_columns(values: pd.DataFrame, where: str) -> NDArray[np.float64]:
    """Return the vectors of a table with a column for each number."""
    if not values.shape[1]:
        raise DatasetError("the table has no vectors", where, _SHAPE_FIX)
    if other := [name for name, kind in values.dtypes.items() if getattr(kind, "kind", "O") not in "fiu"]:
        what = f"{len(other)} of {values.shape[1]} columns have no numbers, the first is {other[0]!r}"
        raise DatasetError(what, where, _SHAPE_FIX)
    return values.to_numpy(np.float64)


def _finite(vector_ND: NDArray[np.float64], ids: "pd.Index[str]", where: str) -> NDArray[np.float32]:
    """Return the vectors in float32. Raises DatasetError if a number is missing, infinite, or too large for float32."""
    with np.errstate(over="ignore"):
        small_ND = vector_ND.astype(np.float32)
    bad = ~np.isfinite(small_ND).all(1)
    if bad.any():
        what = (
            f"the vectors of {int(bad.sum()):,} images have missing or infinite numbers, e.g. {ids[int(bad.argmax())]}"
        )
        raise DatasetError(what, where, "compute these vectors again: each number must be finite")
    return small_ND
