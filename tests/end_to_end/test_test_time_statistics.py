"""Test-time statistics from the command: compared with ERM on the page, marked, and never ranked."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from bench.planning.manifest import read_manifest
from bench.planning.run import read_run
from bench.store.store import Store, table_facts
from harmonize.errors import ConfigError, StoreError
from tests.conftest import Drawn, bench
from tests.tiny_grids import tiny_with

TITLE = "ERM, test-time statistics (sees external images)"


@pytest.fixture(scope="module")
def finished(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("test_time")
    sweep = "{algorithm: [erm, test_time_statistics], seed: [0, 1], schedule.epochs: 1}"
    path = tiny_with(folder, "adapted", sweep, 4)
    drawn(path, folder)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    return folder


@pytest.mark.grid
def test_only_external_predictions_differ_from_those_of_erm_and_only_erm_is_ranked(finished: Path) -> None:
    """Runs with test-time statistics: their logits, compared with those of ERM."""
    manifest = read_manifest(Store.open(finished / "runs", create=False), "adapted")
    by_key = {(run.config.algorithm, run.config.seed): run for run in manifest.runs}
    assert {run.config.algorithm for run in manifest.ranked} == {"erm"}
    internal, *external = [cohort.name for cohort in manifest.cohorts]
    for seed in (0, 1):
        files = [manifest.store.run_dir(by_key[name, seed].id) / "predictions"
                 for name in ("erm", "test_time_statistics")]  # fmt: skip
        weights = [table_facts(folder / f"{internal}.parquet")["weights"] for folder in files]
        assert weights[0] == weights[1], "the same training"
        for name in (internal, *external):
            ours, theirs = (pd.read_parquet(folder / f"{name}.parquet") for folder in files)
            assert ours.equals(theirs) == (name == internal)


@pytest.mark.grid
def test_the_page_compares_the_algorithm_with_erm_and_says_what_it_sees(finished: Path) -> None:
    page = (finished / "runs/report/adapted/leaderboard.html").read_text()
    soup = BeautifulSoup(page, "html.parser")
    assert TITLE in soup.select_one("#algorithms").get_text()  # type: ignore[union-attr]
    status = soup.select_one("#ranking").get_text()  # type: ignore[union-attr]
    assert status.count(TITLE) == status.count("not ranked: the run had seen images of Hospital B") == 2
    assert "pretrained before training" not in page
    assert "weights that the network loads" not in page
    assert "images seen" in soup.select_one("#exposure, #data-exposure").get_text()  # type: ignore[union-attr]


def adapted_run(folder: Path) -> str:
    manifest = read_manifest(Store.open(folder / "runs", create=False), "adapted")
    return next(run.id for run in manifest.runs if run.config.algorithm != "erm")


@pytest.mark.grid
@pytest.mark.parametrize(("command", "package"), [("predict", "bench"), ("explain", "bench.extensions.heat_maps")])
def test_commands_on_single_images_refuse_the_run_and_name_the_one_to_use(
    command: str, package: str, finished: Path
) -> None:
    pytest.importorskip(package)
    run_id = adapted_run(finished)
    image = min((finished / "runs" / "phantom").glob("*/*/**/*.png"))
    refused = bench(command, run_id, str(image), cwd=finished, code=2).stderr
    assert "batch-norm statistics of this hospital's images" in refused
    assert "algorithm: erm" in refused


@pytest.mark.grid
def test_an_upload_refuses_the_run(finished: Path) -> None:
    hub = pytest.importorskip("bench.extensions.tracking.hub")
    store = Store.open(finished / "runs", create=False)
    run_id = adapted_run(finished)
    with pytest.raises(StoreError, match="needs the images of a hospital"):
        hub.files_of(store, run_id)


@pytest.mark.grid
def test_a_check_finds_no_fault_in_the_run(finished: Path) -> None:
    checked = bench("check", adapted_run(finished), cwd=finished, code=None)
    assert "0 faults" in checked.stdout


@pytest.mark.grid
def test_an_estimate_refuses_the_run_before_any_run_predicts(finished: Path) -> None:
    hospital_logits = pytest.importorskip("bench.extensions.estimates.hospital_logits").hospital_logits
    manifest = read_manifest(Store.open(finished / "runs", create=False), "adapted")
    runs = sorted(manifest.runs, key=lambda run: run.config.algorithm != "erm")
    with pytest.raises(ConfigError, match="batch-norm statistics of this hospital's images"):
        hospital_logits(manifest, runs, [finished / "missing.png"], "cpu", lambda *_: None)


@pytest.mark.grid
def test_a_bundle_states_what_the_run_sees_and_cannot_hide_it(finished: Path, tmp_path: Path) -> None:
    require_stated = pytest.importorskip("bench.extensions.bundles.read_bundle").require_stated
    bundle = tmp_path / "seed0.zip"
    whole = read_manifest(Store.open(finished / "runs", create=False), "adapted")
    of_seed_0 = [run.id for run in whole.runs if run.config.seed == 0]
    bench("export", *of_seed_0, "--grid", "adapted", "-o", str(bundle), "--quiet", cwd=finished)
    bench("merge", str(bundle), "--store", "other", cwd=tmp_path)
    manifest = read_manifest(Store.open(tmp_path / "other", create=False), "adapted")
    assert {run.test_time for run in manifest.runs} == {False, True}
    for run in manifest.runs:
        stored = read_run(manifest.store, run.id)
        assert stored.sees_external_images == run.test_time
        require_stated(run, stored, manifest.cohorts)
        if stored.sees_external_images:
            for hidden in ({"exposure": {}}, {"test_time": False}):
                with pytest.raises(StoreError, match="does not state"):
                    require_stated(replace(run, **hidden), stored, manifest.cohorts)


@pytest.mark.grid
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("evaluate_on: []\nleave_one_out: true\nbase: {train_on: [mimic, chexpert]}\n", "no hospital can be left out"),
        ("tta: [three_views]\n", "cannot have TTA"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_anything_is_made(keys: str, message: str, tmp_path: Path) -> None:
    path = tiny_with(tmp_path, "impossible", "{algorithm: test_time_statistics}", 2 if "leave" in keys else 1, keys)
    assert message in bench("run", "--grid", str(path), "--quiet", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs").exists()
