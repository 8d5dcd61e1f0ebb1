"""The long tables of a report: written in full while they are read, with only the rows of the page in memory."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.planning.manifest import read_manifest
from bench.results import long_tables, report_tables
from bench.results.report_tables import tables
from bench.results.write_report import write_report
from bench.store.store import Store
from reports.page import render
from reports.report_data import page_rows
from reports.report_data.page_rows import LONG
from reports.tables import Tables
from tests.nonempty import nonempty

pytestmark = pytest.mark.grid


def quiet(*_: object) -> None:
    """Show no progress."""


def test_files_have_all_rows_and_the_page_is_the_same(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_tables, "BATCH", 1)
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    page = write_report(manifest, None, quiet).page
    full, folder = tables(manifest), page.parent / "tables"
    assert page.read_text() == render(full)
    for name in LONG:
        pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), full[name])
        assert pq.read_metadata(folder / f"{name}.parquet").metadata[b"synthetic"] == b"true"
    assert page.read_text() == render(Tables.load(folder))
    other = write_report(manifest, store_copy / "page.html", quiet).page
    assert other.read_text() == page.read_text()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_details_of_runs_that_the_page_does_not_show_are_only_in_files(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (page_rows, report_tables):
        monkeypatch.setattr(module, "DETAILED", 0)
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    with long_tables.LongTables(store_copy / "tables", synthetic=True) as written:
        kept = tables(manifest, long_tables=written)
    full = tables(manifest)
    for name in nonempty(page_rows.DETAILS):
        assert kept[name].empty
        assert len(full[name])
        pd.testing.assert_frame_equal(pd.read_parquet(store_copy / "tables" / f"{name}.parquet"), full[name])


@pytest.mark.parametrize("detailed", [1, 2])
def test_details_are_of_the_first_recipes_of_the_page(detailed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_rows, "DETAILED", detailed)
    rank = {"metric": "auroc", "dataset": "external", "finding": "macro"}
    frames = {
        "ranks": pd.DataFrame([rank | {"run_id": run, "value": 0.8} for run in ("x-seeds", "y-seeds")]),
        "recipes": pd.DataFrame({"recipe_id": ["x-seeds", "x-seeds", "y-seeds"], "run_id": ["x", "x2", "y"]}),
        "runs": pd.DataFrame({"run_id": ["x-seeds", "y-seeds"], "name": ["VGG", "DenseNet"], "what": ["", None]}),
        "scores": pd.DataFrame([rank | {"run_id": "tta", "value": 0.7}]),
    }
    found = page_rows.detailed_ids(frames)
    assert found == {"y-seeds", "y", "tta"} | ({"x-seeds", "x", "x2"} if detailed == 2 else set())
