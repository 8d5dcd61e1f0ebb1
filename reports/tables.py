"""Load and save the tables of a report: data frames as Parquet files and metadata as JSON, in one folder.

The page is made from these tables alone. The tables contain no patient ids. They contain no images except the small
pictures in the tables `gallery` and `marker_example`. `reports.schemas.tables` lists the columns of all tables.
"""

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmonize.disk_space import DiskFullError
from harmonize.errors import StoreError
from reports.schemas.tables import SCHEMAS

SCHEMA = 2
SYNTHETIC_KEY = "synthetic"  # key in Parquet metadata and JSON files: whether the images of all cohorts are synthetic


def cannot_write(folder: Path, error: OSError) -> StoreError:
    """Return the StoreError for tables that cannot be written to a folder; `error` is the cause."""
    full = DiskFullError.of(error, folder)
    problem, fix = (full.strerror, full.fix) if full else (error, "use a writable folder, then run the command again")
    return StoreError(f"cannot write the tables of the report: {problem}", str(folder), fix)


@dataclass(frozen=True, slots=True)
class Tables:
    """The data frames of a report by name (`frames`), and the metadata of the report (`meta`).

    A table that is not given is empty. Raises ValueError for an unknown table or wrong columns. Keys of meta:
        title, grid: title of the study and name of its grid
        command: the shell command that runs the grid
        source: name of the internal cohort
        phantom: whether all cohorts are synthetic
        settings: the settings of scoring, see `Settings` of bench/config/settings.py
        split: name of each internal split -> its share of the patients, 0 to 1
        created_from: ids of the scored runs
        findings: names of the scored findings; notes: sentences about the study
        datasets: cohort name -> dict with title and place, optionally with short, flow, notes, no_lungs, approximate
            short (name for sentences and narrow columns, if the title is long)
            flow (numbers of images: listed, excluded by each filter, kept)
            approximate (findings that the cohort's own labels match only approximately)
            no_lungs (title of a preprocessing that crops to the lungs -> share of images without detected lungs)
    Optional keys:
        useful: AUROC from which a model is useful at a new hospital
        page_date: day of the page, for the footer
        date: day on which the last scored run was finished, such as 2026-11-22 (UTC)
        software: dict with version and repository (web address) of the software that collected the tables
        links: configuration key -> registry entry -> dict with the web addresses paper, code and weights
        analyses: for each analysis, a dict with name, run_id ("" for an analysis of the cohorts), options other than
            the defaults, state (done, failed or absent), reason
        search: trials, seed and over (key -> kind and bounds, or values) of the grid's search; missing without a search
        learns: run id -> findings for which the run was trained; only for runs that were trained for fewer findings
            than `findings`
        unlearnt: run id -> findings that are present in all or in none of the run's training images
        bundles: run id -> for each verified bundle with this run, a dict with file and signed_by (the signer; "" if no
            signature was checked)
        stated: facts that the submitters of merged bundles state, and that nobody could check
        compared: which cohorts were compared, to find shared patients and images; {} if this is not stated
            patients (external cohorts whose patient ids were compared with the ids of the internal cohort)
            images (whether images were compared)
            external (for each two external cohorts, a dict with cohorts, num_images, images and patients, as in
            `reports.sentences.data.overlap`)
            left_out (for each external cohort that another external cohort contains, a dict with cohorts, num_images,
            images and title: see `ReportData.left_out`)
        pool: names of the training hospitals if there are several
        leave_one_out: whether the runs leave out different hospitals of the pool
        test_images: number of images behind the headline scores
        failed: name and reason of each part that could not be made; missing if there is none
        duplicates: number of internal images that have a duplicate of another patient in another internal split
    """

    meta: dict[str, Any]
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.frames) - set(SCHEMAS)
        if unknown:
            raise ValueError(f"unknown tables {sorted(unknown)}")
        for name, columns in SCHEMAS.items():
            frame = self.frames.get(name)
            if frame is None:
                self.frames[name] = pd.DataFrame(columns=list(columns))
            elif list(frame.columns) != list(columns):
                raise ValueError(f"table {name!r} has columns {list(frame.columns)}, not {list(columns)}")

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.frames[name]

    @property
    def synthetic(self) -> bool:
        """Return whether the images of all cohorts are synthetic."""
        return bool(self.meta.get("phantom"))

    def save(self, folder: Path, written: Container[str] = ()) -> None:
        """Write meta.json and one Parquet file per table into the folder.

        The metadata of each Parquet file state whether the images are synthetic. `written`: names of tables that are
        already in the folder; they are not written again.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "meta.json").write_text(json.dumps({"schema": SCHEMA, **self.meta}, indent=1, sort_keys=True))
            for name, frame in self.frames.items():
                if name in written:
                    continue
                table = pa.Table.from_pandas(frame, preserve_index=False)
                metadata = {**table.schema.metadata, SYNTHETIC_KEY: json.dumps(self.synthetic)}
                pq.write_table(table.replace_schema_metadata(metadata), folder / f"{name}.parquet")
        except OSError as error:
            raise cannot_write(folder, error) from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the tables of a folder that `save` wrote.

        Raises StoreError if meta.json is missing or damaged, or has another schema version.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            fix = "use a folder of tables written by `bench report`"
            raise StoreError(f"no readable meta.json: {error}", str(folder), fix) from error
        if meta.pop("schema", None) != SCHEMA:
            fix = "write them again with `bench report`"
            raise StoreError("the tables have another schema version", str(folder), fix)
        return cls(meta, {name: pd.read_parquet(folder / f"{name}.parquet") for name in SCHEMAS})


def rows_of(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as tuples of Python values of these columns; this is ten times as fast as reading single cells.

    Equal texts are one object, which saves a quarter of a gigabyte on a page of 2,000 runs.
    """
    return zip(*(_values(table[column]) for column in columns), strict=True)


def _values(column: "pd.Series[Any]") -> Iterable[Any]:
    if not isinstance(column.dtype, pd.StringDtype):
        return column.tolist()
    code, texts = pd.factorize(column, use_na_sentinel=False)
    return map(texts.tolist().__getitem__, code.tolist())


def text(value: object) -> str:
    """Return a cell of a table as text; null becomes ""."""
    return value if isinstance(value, str) else ""


def records_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each row of a table as a dict: column name -> Python value.

    This function is three times as fast as `to_dict("records")` of pandas.
    """
    names = [str(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in rows_of(table, *names)]
