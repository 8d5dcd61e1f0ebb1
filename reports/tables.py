"""The tables a report is made of: one frozen value, one schema, one folder of Parquet files.

Everything on the page is a function of these tables. They hold no patient id, and no image but the small ones of `gallery`.
`reports.schemas.tables` has their columns.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd

from harmonize.errors import StoreError
from reports.schemas.tables import SCHEMAS

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Tables:
    """The named data frames a report is made of, and what holds for all of them.

    meta keys: title, grid, source (name of the internal cohort), phantom (bool), min_count, num_resamples, split (dict),
    shared_patients (int), command, created_from (list of run ids), findings (list), notes (list of str),
    mapping (of the labels), threshold (the rule that the page shows),
    datasets (dict cohort name -> {title, place, and perhaps flow: found -> what each filter took out -> kept -> notes, no_lungs:
    title of a preprocessing with an adaptive region -> share of the images in which no lungs were found}).
    Optional: custom_metrics (list of dicts: name, title, better (higher or lower) of each metric without a kernel),
    analyses (list of dicts: name, run_id or "" for one of the cohorts, options (dict: those that are not at their
    default), state done, failed or absent, reason),
    no_pictures (why the gallery has none, or ""),
    learns (dict run id -> the findings of a run that learns fewer than `findings`), unlearnt (dict run id ->
    list of findings without both classes in training), not_compared (dict cohort name ->
    list of findings that not both it and internal label), duplicates (int: internal images whose pixels occur again in another the internal hospital
    split under another patient).
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

    def save(self, folder: Path) -> None:
        """Write meta.json and one Parquet file per table. Raises StoreError where that cannot be done."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "meta.json").write_text(json.dumps({"schema": SCHEMA, **self.meta}, indent=1, sort_keys=True))
            for name, frame in self.frames.items():
                frame.to_parquet(folder / f"{name}.parquet", index=False)
        except OSError as error:
            fix = "make room, or a folder that can be written to, and write the page again: `bench report`"
            raise StoreError(f"cannot write the tables of the page: {error}", str(folder), fix) from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises StoreError for an absent folder or another schema.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            raise StoreError(
                f"no readable meta.json: {error}", str(folder), "give the folder of tables that `bench report` wrote"
            ) from error
        if meta.pop("schema", None) != SCHEMA:
            raise StoreError("the tables are of another version", str(folder), "write them again with `bench report`")
        return cls(meta, {name: pd.read_parquet(folder / f"{name}.parquet") for name in SCHEMAS})


def rows_of(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Return the rows as tuples of plain values: ten times as fast as asking each column for one cell after the other."""
    return zip(*(table[column].tolist() for column in columns), strict=True)


def records_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings from columns to plain values, as `to_dict("records")` does of such in three times as long."""
    names = [str(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in rows_of(table, *names)]
