"""The main job, as a user starts it: processes, files, faults."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from disturbed import WITH_IMAGES, kill, wait_for, with_data, with_parts

from bench.store.store import Store, short_hash, table_facts
from tests.forked import Begun, lead_process_group
from tests.nonempty import nonempty

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]

TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"


def runs(folder: Path) -> list[Path]:
    store = Store(folder / "runs")
    return [store.run_dir(run_id) for run_id in store.run_ids()]


def scores(folder: Path) -> pd.DataFrame:
    found = [pd.read_parquet(p) for p in sorted((folder / "runs" / "scores").glob("*/scores.parquet"))]
    return pd.concat(found, ignore_index=True)


def test_a_grid_without_data_ends_in_a_page_that_says_it_is_synthetic(finished: Path) -> None:
    page = (finished / "runs" / "report" / "tiny" / "leaderboard.html").read_text()
    assert "On synthetic images" in page
    assert len(runs(finished)) == 2
    assert all((run / "DONE").is_file() for run in runs(finished))


def test_every_image_of_every_cohort_is_predicted_once_under_one_seal(finished: Path) -> None:
    for run in nonempty(runs(finished)):
        seal = json.loads((run / "seal.json").read_text())
        assert seal["weights_before"] == seal["weights_after"]
        assert seal["preprocessing_before"] == seal["preprocessing_after"] == ""  # no table was learned
        internal = hashlib.sha256((run / "predictions" / "chexpert.parquet").read_bytes()).hexdigest()
        assert seal["internal_logits_before"] == seal["internal_logits_after"] == internal
        for name in ("chexpert", "mimic", "nih", "padchest", "vindr", "brax"):
            path = run / "predictions" / f"{name}.parquet"
            assert table_facts(path)["weights"] == seal["weights_before"]
            predictions = pd.read_parquet(path)
            assert predictions["image_id"].is_unique
            assert np.isfinite(predictions.drop(columns="image_id").to_numpy()).all()
            (table,) = (finished / "runs" / "cohorts").glob(f"{name}-*.parquet")
            known = pd.read_parquet(table, columns=["image_id"])["image_id"]
            assert predictions["image_id"].isin(known).all()
            if name != "chexpert":
                assert len(predictions) == len(known)


def test_a_run_folder_is_named_by_what_is_in_it(finished: Path) -> None:
    for run in nonempty(runs(finished)):
        assert short_hash((run / "run.json").read_bytes()) == run.name


def test_scores_and_page_come_from_the_store_alone_and_are_the_same_bytes(store_copy: Path, here: Command) -> None:
    store = store_copy / "runs"
    files = [store / "report" / "tiny" / "leaderboard.html", *(store / "scores").glob("*/*")]
    before = {p: p.read_bytes() for p in files}
    for part in ("phantom", "cache", "scores", "report"):
        shutil.rmtree(store / part)
    here("score", "--quiet", cwd=store_copy)
    here("report", "--quiet", cwd=store_copy)
    assert {p: p.read_bytes() for p in files} == before


@pytest.mark.parametrize(
    "lost",
    [
        ["features/nih.npz", "cost.json"],
        ["seal.json", "env.json"],
        pytest.param(["predictions/mimic.parquet"], marks=pytest.mark.thorough),  # as with features
    ],
)
def test_what_is_lost_of_a_run_is_made_again_without_training(lost: list[str], store_copy: Path, here: Command) -> None:
    files = [run / name for run, name in zip(runs(store_copy), lost, strict=False)]  # of each run, one file is lost
    models = {run / "model.safetensors" for run in runs(store_copy)}
    before = {path: path.stat().st_mtime_ns for path in models}
    for file in files:
        file.unlink()
    said = here("run", "--grid", "tiny", cwd=store_copy).stderr
    for run, file in zip(runs(store_copy), files, strict=False):
        assert run.name in said
        assert file.is_file()
    assert {path: path.stat().st_mtime_ns for path in models} == before


def test_a_damaged_score_table_is_made_again(store_copy: Path, here: Command) -> None:
    path = next((store_copy / "runs" / "scores").glob("*/scores.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    here("score", "--quiet", cwd=store_copy)
    assert path.read_bytes() == whole


def test_a_run_without_predictions_on_a_cohort_is_listed_and_does_not_block_the_page(
    store_copy: Path, here: Command
) -> None:
    run = runs(store_copy)[0]
    (run / "predictions" / "brax.parquet").unlink()
    here("report", "--quiet", cwd=store_copy)
    tables = store_copy / "runs" / "report" / "tiny" / "tables"
    listed = pd.read_parquet(tables / "runs.parquet").set_index("run_id")
    assert listed.loc[run.name, "reason"] == "no predictions on brax"
    assert len(pd.read_parquet(tables / "ranks.parquet")) == 1


WITH_ONE_WORKER = ("run", "--grid", "tiny", "--quiet", "--workers", "1")


@pytest.mark.thorough  # random moments (tests/faults/test_faults.py) and an interrupt (tests of the executors) do the same
@pytest.mark.parametrize("moment", ["*/*/last.pt", "*/*/predictions/nih.parquet"])
def test_a_grid_killed_in_mid_work_goes_on_to_the_same_bytes(
    moment: str, finished: Path, tmp_path: Path, here: Command
) -> None:
    with_parts(finished, tmp_path, ["phantom"])
    process = Begun(WITH_ONE_WORKER, tmp_path, os.environ, lead_process_group)
    wait_for(moment, tmp_path, process)
    kill(process, tmp_path)
    assert not all((run / "DONE").is_file() for run in runs(tmp_path)) or len(runs(tmp_path)) < 2
    here("run", "--grid", "tiny", "--quiet", cwd=tmp_path)
    for run in runs(finished):
        other = Store(tmp_path / "runs").run_dir(run.name)
        for path in (run / "predictions").iterdir():
            pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(other / "predictions" / path.name))
        assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    pd.testing.assert_frame_equal(scores(tmp_path), scores(finished))


def test_a_run_that_fails_is_listed_with_its_reason_and_the_others_finish(store_copy: Path, here: Command) -> None:
    text = TINY.read_text().replace("- {seed: [0, 1]}", "- {seed: [0, 1]}\n  - {optimizer: sgd, schedule.lr: 1.0e+30}")
    (store_copy / "broken.yaml").write_text(text.replace("expect: {runs: 2,", "expect: {runs: 3,"))
    done = here("run", "--grid", "broken.yaml", "--quiet", cwd=store_copy, code=1)
    assert "2 of 3 runs done (0 now), 1 failed" in done.stdout
    assert "TrainingError" in done.stdout
    page = (store_copy / "runs" / "report" / "tiny" / "leaderboard.html").read_text()
    assert "TrainingError" in page


def test_bad_images_are_quarantined_counted_and_never_scored(store_copy: Path, here: Command) -> None:
    """Broken image files in a whole grid."""
    data = with_data(store_copy, store_copy / "data", "nih")
    images = sorted((data / "nih").rglob("*.png"))
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:300])
    images[2].write_bytes(b"")
    here("run", "--grid", "tiny", "--data", "data", "--quiet", cwd=store_copy)
    bad = pd.read_csv(store_copy / "runs" / "cohorts" / "quarantine-nih.csv")
    assert len(bad) == 3
    assert bad["reason"].str.len().gt(0).all()
    cohorts = pd.read_parquet(store_copy / "runs" / "report" / "tiny" / "tables" / "cohorts.parquet").set_index(
        "dataset"
    )
    assert (cohorts.loc["nih", "absent"], cohorts.loc["nih", "unreadable"]) == (1, 2)
    for run in runs(store_copy):
        assert not pd.read_parquet(run / "predictions" / "nih.parquet")["image_id"].isin(bad["image_id"]).any()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("root", "brax"),
        ("column", "Patient ID"),
        ("grid", "seresnet_tiny"),
    ],
)
def test_a_wrong_request_is_answered_in_one_message_before_anything_trains(
    damage: str, what: str, finished: Path, tmp_path: Path, command: Command
) -> None:
    data, grid = with_data(finished, tmp_path / "data", "nih"), "tiny"
    if damage == "root":
        (data / "brax").unlink()
    if damage == "column":
        (entries,) = (data / "nih").glob("Data_Entry*.csv")
        entries.write_text(entries.read_text().replace("Patient ID", "Patient"))
    if damage == "grid":
        grid = "typo.yaml"
        (tmp_path / grid).write_text(
            TINY.read_text().replace("architecture: seresnet_tiny", "architecture: seresnet_tny")
        )
    done = command("run", "--grid", grid, "--data", "data", "--quiet", cwd=tmp_path, code=2)
    assert "error:" in done.stderr
    assert "where:" in done.stderr
    assert "fix:" in done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("*/*/run.json"))


def test_a_dry_run_prints_the_plan_and_changes_no_run(finished: Path, command: Command) -> None:
    done = command("run", "--grid", "tiny", "--dry-run", "--quiet", cwd=finished)
    assert "nothing was run (--dry-run)" in done.stdout
    assert done.stdout.count("seresnet_tiny") == 2


def test_a_batch_larger_than_the_training_set_is_named(store_copy: Path, command: Command) -> None:
    large = (
        (Path(__file__).parents[2] / "grids" / "tiny.yaml").read_text().replace("batch_size: 32", "batch_size: 5000")
    )
    (store_copy / "large.yaml").write_text(large)
    said = command("run", "--grid", "large.yaml", "--dry-run", "--quiet", cwd=store_copy).stdout
    assert "schedule.batch_size is 5,000, but the training set has 1" in said


def test_runs_with_another_number_of_epochs_train_from_the_beginning(store_copy: Path, command: Command) -> None:
    def said(*changes: tuple[str, str]) -> str:
        text = (Path(__file__).parents[2] / "grids" / "tiny.yaml").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (store_copy / "tiny.yaml").write_text(text)
        return command("run", "--grid", "tiny.yaml", "--dry-run", "--quiet", cwd=store_copy).stdout

    epochs = re.search(r"epochs: \d+", (Path(__file__).parents[2] / "grids" / "tiny.yaml").read_text())
    assert epochs
    line = "2 of 2 runs differ from stored runs only in schedule.epochs"
    assert line in said((epochs[0], "epochs: 7"))
    assert line not in said()  # these runs are done
    assert line not in said((epochs[0], "epochs: 7"), ("batch_size: 32", "batch_size: 16"))
    for path in (store_copy / "runs").glob("*/*/model.safetensors"):
        path.unlink()
        (path.parent / "DONE").unlink()
    assert "only in schedule.epochs" not in said()  # interrupted runs continue


def test_the_page_says_nothing_about_where_the_store_lies(store_copy: Path, command: Command) -> None:
    command("report", "--grid", "tiny", "--store", str(store_copy / "runs"), "--quiet", cwd=store_copy)
    page = store_copy / "runs" / "report" / "tiny" / "leaderboard.html"
    assert page.stat().st_mtime_ns > (store_copy / "runs" / "grids" / "tiny.json").stat().st_mtime_ns  # written here
    assert str(store_copy) not in page.read_text()


def test_components_of_a_recipe_are_means_over_its_seeds_and_add_up_to_its_gap(finished: Path) -> None:
    folder = finished / "runs" / "report" / "tiny" / "tables"
    parts, gaps = (pd.read_parquet(folder / f"{name}.parquet") for name in ("decomposition", "gaps"))
    recipes = pd.read_parquet(folder / "recipes.parquet")
    (recipe,), members = set(recipes["recipe_id"]), set(recipes["run_id"])
    macro = parts[(parts["finding"] == "macro") & (parts["dataset"] == "external") & (parts["metric"] == "auroc")]
    by_part = macro[macro["run_id"] == recipe].set_index("part")["value"]
    over_seeds = macro[macro["run_id"].isin(members)].groupby("part")["value"].mean()
    pd.testing.assert_series_equal(by_part.sort_index(), over_seeds.sort_index(), check_names=False)
    gap = gaps[(gaps["finding"] == "macro") & (gaps["dataset"] == "external") & (gaps["run_id"] == recipe)]
    assert by_part["gap"] == pytest.approx(gap["value"].iloc[0], abs=1e-9)
    assert by_part.drop("gap").sum() == pytest.approx(by_part["gap"], abs=1e-9)


def test_no_patient_id_is_on_the_page_or_in_its_tables(finished: Path) -> None:
    (table,) = (finished / "runs" / "cohorts").glob("padchest-*.parquet")
    patients = pd.read_parquet(table, columns=["patient_id"])["patient_id"].unique()
    report = finished / "runs" / "report" / "tiny"
    text = (report / "leaderboard.html").read_text() + "".join(
        pd.read_parquet(p).to_csv() for p in (report / "tables").glob("*.parquet")
    )
    assert not [p for p in patients if str(p) in text]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(below: list[int]) -> None:
    """No process of these is left after two minutes."""
    for _ in range(1200):
        if not any(alive(pid) for pid in below):
            return
        time.sleep(0.1)
    raise AssertionError("a worker goes on without its parent")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_grid_stops_cleanly_and_says_how_to_go_on(
    number: signal.Signals, code: int, finished: Path, tmp_path: Path
) -> None:
    with_parts(finished, tmp_path, WITH_IMAGES)
    arguments = [sys.executable, "-m", "bench.cli", *WITH_ONE_WORKER]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored, by children, too
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for("*/*/LOCK", tmp_path, process)
    below = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    if number == signal.SIGINT:  # a terminal sends Ctrl-C to the workers, too
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code
    assert said.endswith("interrupted; run the same command again to resume\n")
    assert "Traceback" not in said
    assert_gone(below)
    assert list((tmp_path / "runs").glob("*/*/run.json"))
    assert not list((tmp_path / "runs").glob("*/*/LOCK"))


def test_workers_do_not_outlive_a_killed_parent(finished: Path, tmp_path: Path) -> None:
    with_parts(finished, tmp_path, WITH_IMAGES)
    arguments = [sys.executable, "-m", "bench.cli", *WITH_ONE_WORKER]  # with a fork server of its own
    process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("*/*/run.json", tmp_path, process)
    below = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert below
    process.kill()
    process.wait()
    assert_gone(below)


def test_a_page_is_not_replaced_where_its_tables_cannot_be_written(store_copy: Path, here: Command) -> None:
    report = store_copy / "runs" / "report" / "tiny"
    before = (report / "leaderboard.html").read_bytes()
    shutil.rmtree(report / "tables")
    (report / "tables").write_text("in the way")
    (report / "leaderboard.html").write_bytes(before + b"<!-- older -->")
    failed = here("report", "--grid", "tiny", "--quiet", cwd=store_copy, code=2)
    assert "tables" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (report / "leaderboard.html").read_bytes() == before + b"<!-- older -->"
