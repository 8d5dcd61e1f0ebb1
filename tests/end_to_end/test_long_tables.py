"""The long tables of a report: written in full while they are read, with only the rows of the page in memory."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.planning.manifest import read_manifest
from bench.results import long_tables
from bench.results.report_tables import tables
from bench.results.write_report import write_report
from bench.store.store import Store
from reports.page import render
from reports.report_data.page_rows import LONG
from reports.tables import Tables

pytestmark = pytest.mark.grid


def quiet(*_: object) -> None:
    """Show no progress."""


def test_files_have_all_rows_and_the_page_is_the_same(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_tables, "BATCH", 1)
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    page = write_report(manifest, None, quiet)
    full, folder = tables(manifest), page.parent / "tables"
    assert page.read_text() == render(full)
    for name in LONG:
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), full[name])
        assert pq.read_metadata(folder / f"{name}.parquet").metadata[b"synthetic"] == b"true"
    assert page.read_text() == render(Tables.load(folder))
    other = write_report(manifest, store_copy / "page.html", quiet)
    assert other.read_text() == page.read_text()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
