"""The two main results of a grid that has no external hospital: a sentence, never an empty line."""

import shutil

import pytest

from bench.planning.manifest import Manifest, read_manifest
from bench.results.score_runs import score_all
from bench.results.summary import summary
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from tests.unit.bench.results.test_compare_across import MakeRun, make_run, silent, store  # noqa: F401


@pytest.mark.parametrize("external", [[], ["west"]])
def test_a_grid_without_an_external_hospital_says_so(store: Store, make_run: MakeRun, external: list[str]) -> None:  # noqa: F811
    folder = store.run_dir(make_run("one", evaluate_on=external))
    shutil.rmtree(folder / "features")
    CheckedFolder(folder).mark_done()
    # runs of merged bundles have no features
    manifest = Manifest(store, {**read_manifest(store, "one").content, "bundles": {}})
    score_all(manifest, silent)
    lines = summary(manifest)
    assert lines
    assert all(line.strip() for line in lines)
    assert any("no run has a score at an external hospital" in line for line in lines) is not bool(external)
