"""Copy the long tables of a report from the store to files, and keep in memory only the rows that the page shows.

All rows of a study of 2,000 runs would need 5 GB of memory, so only the rows of a few runs are read at a time.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.planning.manifest import Manifest
from bench.results.read_predictions import as_frame, load_scores, stacked_scores
from bench.store.store import replacing
from reports.report_data.page_rows import LONG, page_rows
from reports.schemas.tables import SCHEMAS
from reports.tables import SYNTHETIC_KEY, cannot_write

BATCH = 40  # number of runs whose rows are in memory at the same time
TEXTS = {
    "run_id",
    "dataset",
    "split",
    "reference",
    "mapping",
    "subgroup",
    "selection",
    "calibrator",
    "operating_point",
    "external_reference",
    "hospital",
} | {"finding", "metric", "part", "reason", "kind", "goal"}  # the text columns of the long tables


class LongTables:
    """A writer of the long tables of a report.

    At the end of the `with` block, the new files replace older files. folder: the folder for the file `<name>.parquet`
    of each table; with None, nothing is written. synthetic: whether the images of all cohorts are synthetic.
    """

    def __init__(self, folder: Path | None, synthetic: bool) -> None:
        self.folder, self.synthetic = folder, synthetic
        self.written: dict[str, pq.ParquetWriter] = {}
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, where)

    def load(
        self, manifest: Manifest, run_ids: Sequence[str], name: str, shown: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return the score table `name` of several runs.

        If the table is long (in LONG), write all its rows, and return only the rows that the page shows. `shown`: ids of the
        runs whose rows of this table the page shows; None for all runs.
        """
        if name not in LONG:
            return load_scores(manifest, run_ids, name)
        frame = as_frame(list(self._rows_of_page(manifest, run_ids, name, shown)))
        pa.default_memory_pool().release_unused()  # return the memory of the other rows to the operating system
        return frame

    def _rows_of_page(
        self, manifest: Manifest, run_ids: Sequence[str], name: str, shown: Collection[str] | None
    ) -> Iterator[pa.Table]:
        """Write all rows of a long table; yield the rows that the page shows, BATCH runs at a time."""
        texts = [column for column in SCHEMAS[name] if column in TEXTS]
        for start in range(0, len(run_ids), BATCH):
            # Texts stay Arrow dictionaries until only the rows of the page are left: decoding all of them would take longer
            # than reading the files.
            table = stacked_scores(manifest, run_ids[start : start + BATCH], name, texts).select(SCHEMAS[name])
            if table.num_rows:
                self._write(name, table)
            if shown is not None and table.num_rows:
                table = table.filter(pc.is_in(table["run_id"].cast(pa.string()), pa.array(sorted(shown), pa.string())))
            # Data frames have Arrow dictionaries as categories. The millions of rows of `scores` keep them except for the ids,
            # because a category needs a tenth of the memory of a text.
            yield _decoded(page_rows(name, table), ["run_id"] if name == "scores" else texts)

    def append(self, name: str, rows: pd.DataFrame) -> None:
        """Add rows to a table that `load` wrote."""
        if len(rows) and name in self.written:
            self._write(name, _decoded(pa.Table.from_pandas(rows, preserve_index=False).select(SCHEMAS[name])))

    def _write(self, name: str, table: pa.Table) -> None:
        if self.folder is None:
            return
        try:
            self._write_rows(self.folder / f"{name}.parquet", name, table)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _write_rows(self, path: Path, name: str, table: pa.Table) -> None:
        if name not in self.written:
            as_text = pa.Schema.from_pandas(_decoded(table.slice(0, 1)).to_pandas(), preserve_index=False)
            metadata = {**as_text.metadata, SYNTHETIC_KEY: json.dumps(self.synthetic)}
            temporary = self._files.enter_context(replacing(path))
            # Scores rarely repeat, so that dictionaries of them would only cost time: a third of the writing.
            repeated = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
            # with `store_schema`, readers of the file would get Arrow dictionaries instead of texts
            options: dict[str, Any] = {
                "store_schema": False,
                "use_dictionary": repeated,
                "write_statistics": ["run_id"],
            }
            writer = self._files.enter_context(pq.ParquetWriter(temporary, table.schema, **options))
            writer.add_key_value_metadata(metadata)
            self.written[name] = writer
        writer = self.written[name]
        writer.write_table(table.cast(writer.schema).unify_dictionaries())


def _decoded(table: pa.Table, texts: Collection[str] = TEXTS) -> pa.Table:
    """Return a table in which the columns `texts` have texts in place of Arrow dictionaries."""
    fields = [
        field.with_type(field.type.value_type) if field.name in texts and pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, table.schema.metadata))
