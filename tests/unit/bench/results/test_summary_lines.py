"""The two main results of a grid: never an empty line, and never a number without its interval or a reason."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.planning.manifest import Manifest, read_manifest
from bench.results.read_predictions import load_scores
from bench.results.score_runs import score_all
from bench.results.summary import summary
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import claim, lease
from bench.store.store import Store, canonical_json
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests.manifests import invented_manifest, invented_run
from tests.unit.bench.results.test_compare_across import MakeRun, make_run, silent, store  # noqa: F401


@pytest.mark.slow
@pytest.mark.parametrize("external", [[], ["west"]])
def test_a_grid_without_an_external_hospital_says_so(store: Store, make_run: MakeRun, external: list[str]) -> None:  # noqa: F811
    lines = summary(scored(store, make_run, external))
    assert lines
    assert all(line.strip() for line in lines)
    assert any("no external hospital was tested" in line for line in lines) is not bool(external)
    assert any("best internal macro AUROC" in line for line in lines) is not bool(external)


@pytest.mark.slow
def test_a_number_of_two_patients_has_an_interval(store: Store, make_run: MakeRun, tmp_path: Path) -> None:  # noqa: F811
    few = tmp_path / "west" / "table.csv"
    table = pd.read_csv(few)
    table[["edema", "cardiomegaly"]] = 0
    table.loc[:3, ["edema", "cardiomegaly"]] = 1  # two patients
    table.to_csv(few, index=False)
    text = " ".join(" ".join(summary(scored(store, make_run, ["west"]))).split())
    assert len(re.findall(r"\d \[-?0\.\d{3}, 0\.\d{3}\]", text)) == 2


@pytest.mark.slow
def test_a_mean_that_leaves_out_a_finding_says_so(store: Store, make_run: MakeRun, tmp_path: Path) -> None:  # noqa: F811
    table = pd.read_csv(tmp_path / "east" / "table.csv")
    table["edema"] = [1, *[0] * (len(table) - 1)]
    table.to_csv(tmp_path / "east" / "table.csv", index=False)
    text = " ".join(" ".join(summary(scored(store, make_run, ["west"]))).split())
    assert "mean over 1 of 9 findings lowest AUROC" in text
    assert re.search(r"lowest AUROC left out: 0\.\d{3}, Edema at ", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("external", "beginning"), [([], "  best internal macro AUROC"), (["west"], "    its internal AUROC")]
)
def test_an_internal_result_is_that_of_the_test_split(
    store: Store,  # noqa: F811
    make_run: MakeRun,  # noqa: F811
    external: list[str],
    beginning: str,
) -> None:
    manifest = scored(store, make_run, external)
    [run_id] = [run.id for run in manifest.ranked]
    scores, gaps = (load_scores(manifest, [run_id], name) for name in ("scores", "gaps"))
    for split, value in (("test", 0.523), ("val", 0.907)):  # the epoch was selected by the split val
        rows = scores["dataset"].eq(manifest.source) & scores["split"].eq(split)
        assert rows.any()
        scores.loc[rows, ["value", "low", "high"]] = value, 0.4, 0.95
    recipes = pd.DataFrame([{"recipe_id": run_id, "run_id": run_id}], columns=SCHEMAS["recipes"])
    lines = summary(manifest, Tables({}, {"scores": scores, "gaps": gaps, "recipes": recipes}))
    found = [line for line in lines if line.startswith(beginning)]
    assert len(found) == 1
    assert "0.523" in found[0]


def test_without_scores_a_process_that_is_at_work_is_named(tmp_path: Path) -> None:
    """The second of two commands in the same store, while the first trains."""
    opened = Store.open(tmp_path / "runs")
    manifest = invented_manifest(opened, runs=(invented_run("a" * 12),))
    assert summary(manifest) == ["  no run has a score yet"]
    folder = opened.run_dir("a" * 12)
    folder.mkdir(parents=True)
    with lease(folder):
        assert summary(manifest) == ["  no run has a score yet: another process is at work on the runs"]
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    (folder / "LOCK").write_bytes(canonical_json(claim() | {"pid": dead.pid}))  # as after kill -9
    assert summary(manifest) == ["  no run has a score yet"]


def scored(store: Store, make_run: MakeRun, external: list[str]) -> Manifest:  # noqa: F811
    """Return a scored grid with one run. The run has no features, as runs of merged bundles."""
    folder = store.run_dir(make_run("one", evaluate_on=external))
    shutil.rmtree(folder / "features")
    CheckedFolder(folder).mark_done()
    manifest = replace(read_manifest(store, "one"), bundles=())
    score_all(manifest, silent)
    return manifest
