"""The main results of a grid as lines: the sentences of its page, or why nothing is ranked."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.planning.manifest import Manifest, read_manifest
from bench.results.report_tables import tables
from bench.results.score_runs import score_all
from bench.results.summary import summary
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import Store
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.opening import main_results
from tests.manifests import invented_manifest, invented_run
from tests.unit.bench.results.test_compare_across import MakeRun, make_run, silent, store  # noqa: F401


@pytest.mark.slow
@pytest.mark.parametrize("external", [[], ["west"]])
def test_the_lines_are_the_sentences_of_the_page(store: Store, make_run: MakeRun, external: list[str]) -> None:  # noqa: F811
    manifest = scored(store, make_run, external)
    lines, data = summary(manifest), read(tables(manifest))
    assert " ".join(line.strip() for line in lines if line.startswith("  ")) == " ".join(main_results(data))
    assert all(line.strip() for line in lines)
    assert any("no external hospital was tested" in line for line in lines) is not bool(external)
    assert any("mean external AUROC of" in line for line in lines) is bool(external)


@pytest.mark.slow
def test_one_finding_has_no_mean_and_says_so(store: Store, make_run: MakeRun, tmp_path: Path) -> None:  # noqa: F811
    table = pd.read_csv(tmp_path / "east" / "table.csv")
    table["edema"] = [1, *[0] * (len(table) - 1)]
    table.to_csv(tmp_path / "east" / "table.csv", index=False)
    text = " ".join(" ".join(summary(scored(store, make_run, ["west"]))).split())
    assert "too few findings for a mean gap" in text


def test_without_scores_a_process_that_is_at_work_is_named(tmp_path: Path) -> None:
    """The second of two commands in the same store, while the first trains."""
    opened = Store.open(tmp_path / "runs")
    manifest = invented_manifest(opened, runs=(invented_run("a" * 12),))
    assert summary(manifest) == ["  no run has a score yet"]
    folder = opened.run_dir("a" * 12)
    folder.mkdir(parents=True)
    with lease(folder):
        assert summary(manifest) == ["  no run has a score yet: another process is at work on the runs"]
    (folder / "LOCK").write_text("{}")  # as after kill -9
    assert summary(manifest) == ["  no run has a score yet"]


def scored(store: Store, make_run: MakeRun, external: list[str]) -> Manifest:  # noqa: F811
    """Return a scored grid with one run. The run has no features, as runs of merged bundles."""
    folder = store.run_dir(make_run("one", evaluate_on=external))
    shutil.rmtree(folder / "features")
    pd.DataFrame(columns=list(SCHEMAS["history"][1:]), dtype=float).to_parquet(folder / "history.parquet")
    CheckedFolder(folder).mark_done()
    manifest = replace(read_manifest(store, "one"), bundles=())
    score_all(manifest, silent)
    return manifest
