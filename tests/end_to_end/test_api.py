"""bench.api beyond its docstring examples: light imports, errors, and equality with the commands."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bench import api
from bench.config.run_config import RunConfig, Schedule
from bench.planning.manifest import read_manifest
from bench.results.report_tables import tables
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from harmonize.images.image_header import InMemory

ROOT = str(Path(__file__).parents[2])
CONFIG = {
    "architecture": "seresnet_tiny",
    "channels": 1,
    "optimizer": "adamw",
    "loss": "bce",
    "uncertainty": "u_ignore",
    "preprocessing": "imagenet_64",
    "schedule": {"epochs": 1, "batch_size": 32},
}


def test_importing_the_library_imports_nothing_heavy() -> None:
    script = "import bench.api, sys; print([m for m in ('torch', 'pandas', 'numpy', 'cv2', 'timm', 'streamlit') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_invalid_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for config, message in (
        ({**CONFIG, "architecture": "seresnet_tny"}, "seresnet_tny"),
        ({**CONFIG, "schedules": {}}, "unknown key 'schedules'"),
        ({**CONFIG, "train_on": "nih"}, "'nih' is repeated"),
    ):
        with pytest.raises(ConfigError, match=message) as refused:
            api.run(config, ["nih"], store=tmp_path / "runs")
        assert refused.value.where.startswith("run()")
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        api.run(CONFIG, ["nih"], store=tmp_path / "runs", device="gpu")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="no hospital 'nhi'"):
        api.make_phantom(tmp_path / "made", {"nhi": 3})
    assert not (tmp_path / "made").exists()
    with pytest.raises(StoreError, match="no run store"):
        api.open_grid(tmp_path / "runs")


def test_values_that_no_hint_refuses_are_named(tmp_path: Path) -> None:
    """Each refusal says which argument is wrong."""
    wrong: Any = "a"
    for call, what in (
        (lambda: api.make_phantom(tmp_path / "made", {"nih": wrong}), "images of nih must be a whole number"),
        (lambda: api.make_phantom(tmp_path / "made", {"nih": 2.5}), "images of nih must be a whole number"),  # type: ignore[dict-item]
        (lambda: api.make_phantom(tmp_path / "made", {}), "at least one hospital"),
        (lambda: api.make_phantom(tmp_path / "made", {"nih": 3}, size=wrong), "size is 'a'"),
        (lambda: api.make_phantom(tmp_path / "made", {"nih": 3}, shortcut=wrong), "shortcut is 'a'"),
        (lambda: api.make_phantom(tmp_path / "made", {"nih": 3}, seed=None), "seed is None"),  # type: ignore[arg-type]
        (lambda: api.run(CONFIG, ["nih"], store=tmp_path / "runs", device=3), "no device '3'"),  # type: ignore[arg-type]
        (lambda: api.make_phantom(tmp_path / "made", {3: 4}), "no hospital 3"),  # type: ignore[dict-item]
    ):
        with pytest.raises(ConfigError, match=what):
            call()
    assert not any(tmp_path.iterdir())


@pytest.mark.grid
def test_the_library_reuses_runs_that_the_command_has_trained(finished: Path, tmp_path: Path) -> None:
    """Request the runs of `grids/tiny.yaml` again: nothing is trained, and the page is written."""
    import shutil

    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    (data,) = (tmp_path / "runs" / "phantom").iterdir()
    schedule = Schedule(epochs=2, batch_size=32, lr=6e-3)
    names = {key: CONFIG[key] for key in ("architecture", "optimizer", "loss", "uncertainty", "preprocessing")}
    external = ["mimic", "nih", "padchest", "vindr", "brax"]
    plain = read_manifest(Store.open(finished / "runs", create=False), "tiny")
    config = RunConfig(**names, channels=1, schedule=schedule, split=plain.runs[0].config.split)  # type: ignore[arg-type]
    grid = api.run(
        config, external, data=data, store=tmp_path / "runs", name="again", sweep={"seed": [0, 1]}, min_count=5
    )
    assert api.finished(grid) == api.finished(api.open_grid(finished / "runs", "tiny"))
    stored = pd.read_parquet(finished / "runs" / "scores" / api.finished(grid)[0] / "scores.parquet")
    again = api.score(api.load_logits(grid, api.finished(grid)[0]), grid.settings, run_id=api.finished(grid)[0])
    pd.testing.assert_frame_equal(again.scores, stored, check_dtype=False)
    assert (tmp_path / "runs" / "report" / "again" / "leaderboard.html").is_file()


@pytest.mark.grid
def test_a_plan_trains_nothing_and_shows_its_runs(tmp_path: Path) -> None:
    data = api.make_phantom(tmp_path / "data", {"chexpert": 60, "nih": 30})
    plan = api.plan(
        CONFIG, ["nih"], data=data, store=tmp_path / "runs", name="mine", min_count=2, sweep={"seed": [0, 1]}
    )
    shown = plan._repr_html_()
    assert "grid mine: 2 runs (2 to do), trained on chexpert (" in shown
    assert "tested on nih (30 images)" in shown
    assert all(f"<td>{run.id}</td>" in shown for run in plan.runs)
    assert "seresnet_tiny seed 1" in shown
    assert shown.count("to do</td>") == 2
    assert not plan.store.run_ids()
    assert not (tmp_path / "runs" / "grids").exists()


SCRIPT = f"""
from bench import api
from bench.results import score_runs

print("began")
score_runs.WORTH = 1  # as if predictions were large
data = api.make_phantom("data", {{"chexpert": 60, "nih": 30}})
grid = api.run({CONFIG!r}, ["nih"], data=data, min_count=2, sweep={{"seed": [0, 1]}})
for run_id in api.finished(grid):
    (grid.scores / run_id / "KEY").unlink()
api.render(grid)
print(len(api.finished(grid)))
"""


@pytest.mark.grid
@pytest.mark.slow
@pytest.mark.grid
def test_a_grid_shows_the_ranking_of_its_report_and_errors_name_arguments(finished: Path) -> None:
    grid = api.open_grid(finished / "runs", "tiny")
    table, expected = grid.ranking(), tables(grid)["ranks"]
    expected = expected[
        (expected["dataset"] == "external") & (expected["finding"] == "macro") & (expected["metric"] == "auroc")
    ]
    columns = ["group", "rank_low", "rank_high", "external", "external_low", "external_high"]
    wanted = ["group", "rank_low", "rank_high", "value", "low", "high"]
    np.testing.assert_allclose(table[columns].to_numpy(float), expected[wanted].to_numpy(float))
    shown, gap = grid._repr_html_(), table["gap"][0]
    assert f"{gap:.3f} [{table['gap_low'][0]:.3f}, {table['gap_high'][0]:.3f}]" in shown
    assert "SE-ResNet-10 (tiny), 2 seeds" in shown
    assert "Synthetic images" in shown
    assert len(repr(grid)) < 200
    assert "<table" in api.score(api.load_logits(grid, api.finished(grid)[0]), grid.settings)._repr_html_()
    with pytest.raises(StoreError, match="no grid 'tniy'") as refused:
        api.open_grid(finished / "runs", "tniy")
    assert refused.value.fix.startswith("name one with the argument `name`: ")


def test_a_script_that_does_not_ask_for_its_name_runs_once(tmp_path: Path) -> None:
    """The library in a script without a guard, with processes that score."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": ROOT}
    words = [sys.executable, "script.py"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "began\n2\n", done.stderr


@pytest.mark.grid
def test_an_image_in_memory_gets_the_same_predictions_as_its_file(finished: Path) -> None:
    run_id = api.finished(api.open_grid(finished / "runs"))[0]
    run = api.load_run(finished / "runs", run_id)
    file = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    in_memory = InMemory("memory.png", file.read_bytes())
    table = api.predict(run, [file, in_memory]).table
    from_file, from_memory = (rows["logit"].to_numpy() for _, rows in table.groupby("image", sort=False))
    assert table["image"].unique().tolist() == [str(file), "memory.png"]
    assert (from_file == from_memory).all()
    with pytest.raises(StoreError, match="no run 'none' in the grid"):
        api.load_logits(api.open_grid(finished / "runs"), "none")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with phantoms and a store, in which a run is finished and scored for two grids: first `both`, then `strict`."""
    folder = tmp_path_factory.mktemp("library")
    data = api.make_phantom(folder / "data", {"chexpert": 120, "nih": np.int64(30), "brax": 30}, seed=np.int64(0))  # type: ignore[arg-type, dict-item]
    state = torch.get_rng_state()
    api.run(CONFIG, ["nih", "brax"], data=data, store=folder / "runs", name="both", min_count=2)
    assert torch.equal(torch.get_rng_state(), state)
    sweep = {"seed": np.arange(1)}
    api.run(
        CONFIG, np.array(["nih"]), data=data, store=folder / "runs", name="strict", min_count=np.int64(12), sweep=sweep
    )  # type: ignore[arg-type]
    return folder


@pytest.mark.grid
def test_slips_are_named_before_any_work(study: Path) -> None:
    """Wrong arguments of the functions of `bench.api`."""
    grid, run = (
        api.open_grid(study / "runs", "both"),
        api.load_run(study / "runs", api.open_grid(study / "runs", "both").runs[0].id),
    )
    image = min((study / "data").rglob("nih/**/*.png"))
    memory = InMemory("upload.png", image.read_bytes())
    for call, what in (
        (lambda: api.run(CONFIG, "nih", store=study / "new"), "evaluate_on must be a list"),  # type: ignore[arg-type]
        (lambda: api.predict(run, image), "images must be a list"),  # type: ignore[arg-type]
        (lambda: api.predict(run, [memory, InMemory("upload.png", b"other")]), "two images have the name 'upload.png'"),
        (lambda: api.predict(run, [image, InMemory(str(image), image.read_bytes())]), "two images have the name"),
        (lambda: api.render(grid, study), "the page is a folder"),
    ):
        with pytest.raises(ConfigError, match=what):
            call()
    assert not (study / "new").exists()


@pytest.mark.grid
@pytest.mark.slow
def test_two_threads_can_train_and_then_print(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(seed: int) -> None:
        api.run({**CONFIG, "seed": seed}, ["nih"], data=study / "data", store=tmp_path, name=f"g{seed}", min_count=2)

    state = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, (0, 1)))
    print("still open")
    assert capsys.readouterr().out == "still open\n"
    assert torch.equal(torch.get_rng_state(), state)
    assert len(list((tmp_path / "grids").glob("*.json"))) == 2
    (alone,) = (study / "runs").glob("*/*/model.safetensors")
    assert (tmp_path / alone.relative_to(study / "runs")).read_bytes() == alone.read_bytes()


GUARDED = f"""
from bench import api
import harmonize.cache.build

harmonize.cache.build.POOL_WORTH_S = 0.0
data = api.make_phantom("data", {{"chexpert": 60, "nih": 30}})
api.run({CONFIG!r}, ["nih"], data=data, min_count=2, workers=2)
"""


@pytest.mark.grid
def test_a_script_that_needs_a_guard_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    words, environment = [sys.executable, "script.py"], os.environ | {"PYTHONPATH": ROOT}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert 'put the call below `if __name__ == "__main__":`' in done.stderr
    assert "a decoding process died" in done.stderr


def test_the_home_folder_can_be_named_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert api.make_phantom("~/data", {"nih": 4}) == tmp_path / "home" / "data"
    assert len(api.load_cohort("nih", "~/data").table) == 4
    assert not (tmp_path / "~").exists()
