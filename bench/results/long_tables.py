"""Copy the long tables of a report from the store to files, and keep in memory only the rows that the page shows.

All rows of a study of 2,000 runs would need 5 GB of memory, so only the rows of a few runs are read at a time.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.planning.manifest import Manifest
from bench.results.read_predictions import as_frame, load_scores, stacked_scores
from bench.store.store import replacing
from reports.report_data.page_rows import LONG, page_rows
from reports.schemas.tables import SCHEMAS
from reports.tables import SYNTHETIC_KEY, cannot_write

BATCH = 40  # number of runs whose rows are in memory at the same time


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

    def load(self, manifest: Manifest, run_ids: Sequence[str], name: str) -> pd.DataFrame:
        """Return the score table `name` of several runs.

        If the table is long (in LONG), write all its rows, and return only the rows that the page shows.
        """
        if name not in LONG:
            return load_scores(manifest, run_ids, name)
        kept = []
        for start in range(0, len(run_ids), BATCH):
            table = stacked_scores(manifest, run_ids[start : start + BATCH], name).select(SCHEMAS[name])
            if table.num_rows:
                self._write(name, table)
            kept.append(page_rows(name, table))
        frame = as_frame(kept)
        pa.default_memory_pool().release_unused()  # return the memory of the other rows to the operating system
        return frame

    def append(self, name: str, rows: pd.DataFrame) -> None:
        """Add rows to a table that `load` wrote."""
        if len(rows) and name in self.written:
            self._write(name, pa.Table.from_pandas(rows, preserve_index=False).select(SCHEMAS[name]))

    def _write(self, name: str, table: pa.Table) -> None:
        if self.folder is None:
            return
        try:
            self._write_rows(self.folder / f"{name}.parquet", name, table)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _write_rows(self, path: Path, name: str, table: pa.Table) -> None:
        if name not in self.written:
            schema = pa.Schema.from_pandas(table.slice(0, 0).to_pandas(), preserve_index=False)
            schema = schema.with_metadata({**schema.metadata, SYNTHETIC_KEY: json.dumps(self.synthetic)})
            temporary = self._files.enter_context(replacing(path))
            self.written[name] = self._files.enter_context(pq.ParquetWriter(temporary, schema))
        writer = self.written[name]
        writer.write_table(table.cast(writer.schema))
