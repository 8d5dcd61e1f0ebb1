"""`bench compare` states the verdict that the stored leaderboard has on the same two runs."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bench.results.compare_two_runs import verdicts_on_page
from bench.scoring.across_runs.paired_runs import GAP
from bench.scoring.metrics_of_split import AUROC, Key
from bench.store.checked_folders import ReportFolder
from harmonize.errors import StoreError
from reports.schemas.tables import SCHEMAS

TABLE = pd.DataFrame(
    {
        "dataset": ["internal", "internal", "nih", "external"],
        "split": ["test", "expert_test", "all", "mixed"],
        "finding": "macro",
        "difference": [0.05, 0.01, 0.04, 0.03],
    }
)


@pytest.fixture
def grid(tmp_path: Path) -> SimpleNamespace:
    """A grid whose leaderboard has three differences b - a: clear, unclear, and one of older scores."""
    rows = [
        ("b", "a", "external", "auroc", -0.03, -0.04, -0.02, -0.05, -0.01),
        ("b", "a", "internal", "auroc", -0.05, -0.06, -0.04, -0.11, 0.01),
        ("b", "a", "nih", "auroc", -0.02, -0.03, -0.01, -0.03, -0.01),
        ("b", "c", "external", "auroc", 0.01, 0.005, 0.015, 0.0, 0.02),
    ]
    folder = tmp_path / "report" / "demo" / "tables"
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=list(SCHEMAS["pairs"])).to_parquet(folder / "pairs.parquet")
    ReportFolder(folder).record_checksums()
    return SimpleNamespace(store=SimpleNamespace(root=tmp_path), name="demo")


def test_the_verdict_on_a_pool_is_that_of_the_mean_over_its_hospitals(grid: SimpleNamespace) -> None:
    """The table of a pool has a split for each of its hospitals, such as "test:mimic"."""
    of_hospitals = TABLE.iloc[:1].loc[[0, 0]].assign(split=["test:mimic", "test:nih"], difference=[0.07, 0.03])
    pool = pd.concat([TABLE, of_hospitals], ignore_index=True)
    assert verdicts_on_page(grid, ("a", "b"), AUROC, pool) == {
        "external": "higher",
        "internal": "unclear after correction for multiple comparisons",
    }


def test_the_verdict_follows_the_interval_over_all_pairs_and_older_differences_are_left_out(
    grid: SimpleNamespace,
) -> None:
    assert verdicts_on_page(grid, ("a", "b"), AUROC, TABLE) == {
        "external": "higher",
        "internal": "unclear after correction for multiple comparisons",
    }
    reversed_table = TABLE.assign(difference=-TABLE["difference"])
    assert verdicts_on_page(grid, ("b", "a"), AUROC, reversed_table)["external"] == "lower"


@pytest.mark.parametrize("damage", ["value", "no table"])
def test_a_changed_table_of_the_report_is_refused_by_name(damage: str, grid: SimpleNamespace) -> None:
    folder = ReportFolder.of(grid.store.root, "demo")
    path = folder.path / "pairs.parquet"
    frame = pd.read_parquet(path)
    frame.assign(low=frame["low"] + 0.1).to_parquet(path) if damage == "value" else path.write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"the report of grid demo: pairs\.parquet is") as refused:
        verdicts_on_page(grid, ("a", "b"), AUROC, TABLE)
    assert refused.value.where == str(path)
    assert "bench report --grid demo" in refused.value.fix


def test_a_report_that_was_killed_before_it_wrote_its_checksums_is_refused(grid: SimpleNamespace) -> None:
    """Without checksums, nobody can tell whether all tables are of one report."""
    path = ReportFolder.of(grid.store.root, "demo").path
    (path / "checksums.json").unlink()
    with pytest.raises(StoreError, match=r"the report of grid demo: pairs\.parquet has no checksum") as refused:
        verdicts_on_page(grid, ("a", "b"), AUROC, TABLE)
    assert refused.value.where == str(path / "pairs.parquet")
    assert "bench report --grid demo" in refused.value.fix


def test_other_metrics_other_runs_and_a_store_without_report_have_no_verdict(
    grid: SimpleNamespace, tmp_path: Path
) -> None:
    assert verdicts_on_page(grid, ("a", "b"), Key("ece"), TABLE) == {}
    assert verdicts_on_page(grid, ("a", "b"), GAP, TABLE) == {}
    assert verdicts_on_page(grid, ("a", "d"), AUROC, TABLE) == {}
    nowhere = SimpleNamespace(store=SimpleNamespace(root=tmp_path / "none"), name="demo")
    assert verdicts_on_page(nowhere, ("a", "b"), AUROC, TABLE) == {}
