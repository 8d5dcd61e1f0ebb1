"""Several devices that train one run: the run that one device trains, image by image and pass by pass."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from disturbed import wait_for
from safetensors.torch import load_file
from torch import nn

from bench.executors.local import teams
from bench.store.store import Store
from bench.training import TrainingError, launch_workers
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup, SharedBatchNorm
from harmonize.errors import SetupError
from tests.conftest import Drawn
from tests.forked import Begun
from tests.tiny_grids import TWO, tiny_with

Command = Callable[..., "subprocess.CompletedProcess[str]"]


REGISTRY = """schema: 1
include: shipped
architectures:
  seresnet_dry: {use: "bench.models.se_resnet:se_resnet", with: {depths: [1, 1, 1, 1], widths: [16, 32, 64, 128], dropout: 0.0}}
optimizers:
  sam_over_sgd: {use: "bench.training.optimizers.sam:SAM", with: {base: "torch.optim:SGD", lr: 1.0e-2, momentum: 0.9, rho: 0.05}}
"""
TEAM = (
    "run",
    "--grid",
    "team.yaml",
    "--registry",
    "dry.yaml",
    "--quiet",
    "--workers",
    "2",
)  # dropout differs by member


def write_grid(folder: Path) -> None:
    """Write a grid of two runs whose batches of 32 are cut into passes of 8. Steps follow the gradient: AdamW's
    are as long where it is nearly 0, so that rounding decides their direction."""
    sweeps = "{optimizer: sgd, schedule.ema: 0.9, schedule.clip: 1.0}\n  - {optimizer: sam_over_sgd}"
    keys = f"{TWO}base: {{architecture: seresnet_dry, schedule: {{epochs: 2, micro_batch: 8}}}}\n"
    tiny_with(folder, "team", sweeps, 2, keys)
    (folder / "dry.yaml").write_text(REGISTRY)


@pytest.fixture
def folders(drawn: Drawn, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the cohorts and the grid of this file."""
    made = (tmp_path / "one", tmp_path / "two")
    for folder in made:
        folder.mkdir()
        write_grid(drawn(tiny_with(folder, "drawn", "{seed: [0]}"), folder))
    return made


@pytest.mark.grid
def test_two_processes_train_the_run_that_one_trains_and_predict_every_image_once(
    folders: tuple[Path, Path], command: Command
) -> None:
    """Data-parallel training and prediction, compared with those of one process."""
    one, two = folders
    command(*TEAM, cwd=one)
    command(*TEAM, "--together", "2", cwd=two)
    ids = Store(one / "runs").run_ids()
    assert len(ids) == 2
    assert ids == Store(two / "runs").run_ids(), "how many devices train it is no part of a run"
    for run_id in ids:
        mine, theirs = (Store(folder / "runs").run_dir(run_id) for folder in (two, one))
        assert json.loads((mine / "env.json").read_text())["devices"] == 2
        chosen = json.loads((mine / "run.json").read_text())["config"]["optimizer"]
        # rounding: 1e-5 after these few steps on one processor, 1e-3 on another. SAM's steps uphill turn units on and off
        near = 100 if chosen == "sgd" else 1e6
        weights, expected = load_file(mine / "model.safetensors"), load_file(theirs / "model.safetensors")
        for name, value in expected.items():
            torch.testing.assert_close(
                weights[name], value, rtol=1e-5 * near, atol=1e-5 * near, msg=lambda m, n=name: f"{n}: {m}"
            )
        tables = [pd.read_parquet(folder / "history.parquet") for folder in (mine, theirs)]
        for column in ("train_loss", "val_loss"):
            np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-3 if near == 100 else 2e-2)
        for path in (theirs / "predictions").iterdir():
            found, wanted = pd.read_parquet(mine / "predictions" / path.name), pd.read_parquet(path)
            assert found["image_id"].tolist() == wanted["image_id"].tolist()
            np.testing.assert_allclose(found.iloc[:, 1:], wanted.iloc[:, 1:], atol=1e-4 * near)
        for path in (theirs / "features").iterdir():
            found_, wanted_ = np.load(mine / "features" / path.name), np.load(path)
            assert found_["patient_id"].tolist() == wanted_["patient_id"].tolist()
            np.testing.assert_allclose(found_["feature"], wanted_["feature"], atol=1e-4 * near)


@pytest.mark.grid
def test_a_member_that_dies_is_one_failed_run_that_goes_on_with_the_next_command(
    folders: tuple[Path, Path], command: Command
) -> None:
    """The death of a process of a data-parallel group."""
    folder = folders[0]
    # more epochs: also on a busy machine, the run must not end before its member is found
    keys = f"{TWO}base: {{architecture: seresnet_dry, schedule: {{epochs: 4, micro_batch: 8}}}}\n"
    tiny_with(folder, "team", "{optimizer: sgd}", 1, keys)
    process = Begun((*TEAM, "--together", "2"), folder, os.environ)
    wait_for("*/*/last.pt", folder, process)
    below = psutil.Process(process.pid).children(recursive=True)
    (member,) = (child for child in below if "import member" in " ".join(child.cmdline()))
    member.kill()
    said, error = process.communicate(timeout=300)
    assert process.returncode == 1, said + error
    assert "0 of 1 runs done (0 now), 1 failed" in said
    assert "a process of the data-parallel group died" in said or "exit code 3" in said
    done = command(*TEAM, cwd=folder)
    assert "1 of 1 runs done (1 now), 0 failed" in done.stdout


def test_a_lost_connection_is_named_as_the_death_of_a_process_whose_exit_code_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that dies closes its connections before its exit code can be read."""
    dies = [sys.executable, "-c", "import time; time.sleep(.4); raise SystemExit(3)"]
    monkeypatch.setattr(launch_workers, "_start", lambda _: subprocess.Popen(dies, stdin=subprocess.PIPE))
    monkeypatch.setattr(DataParallelGroup, "join", lambda *_: SINGLE_PROCESS)
    job: Any = SimpleNamespace(others=("cpu",), fail=pytest.fail)
    with (
        pytest.raises(launch_workers.DataParallelError, match="died: Connection closed by peer"),
        launch_workers.launched_group(job, True, torch.device("cpu")),
    ):
        raise RuntimeError("Connection closed by peer")


def test_a_batch_of_one_pass_cannot_be_shared() -> None:
    DataParallelGroup(0, 2).check_batch(32, 16)
    SINGLE_PROCESS.check_batch(32, 32)
    with pytest.raises(TrainingError, match=r"3 devices cannot share a batch of 32 images in micro-batches of 16"):
        DataParallelGroup(0, 3).check_batch(32, 16)
    with pytest.raises(TrainingError, match="micro_batch lower"):
        DataParallelGroup(0, 2).check_batch(32, 32)


def test_devices_are_put_into_teams_and_too_few_are_refused() -> None:
    assert teams(["cpu"] * 3, 1) == [("cpu",)] * 3
    assert teams([f"cuda:{i}" for i in range(8)], 4) == [
        ("cuda:0", "cuda:1", "cuda:2", "cuda:3"), ("cuda:4", "cuda:5", "cuda:6", "cuda:7"),
    ]  # fmt: skip
    with pytest.raises(SetupError, match="more --workers"):
        teams(["cpu"], 2)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_statistics_of_shared_passes_add_up_to_those_of_all_passes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    batches = [torch.randn(6, 4) * (i + 1) + i for i in range(5)]
    whole = nn.BatchNorm1d(4, momentum=0.3)
    whole(torch.randn(6, 4))
    began = {name: value.clone() for name, value in whole.state_dict().items()}
    for batch in batches:
        whole(batch)
    shares = []
    for rank in range(size):
        norm = nn.BatchNorm1d(4, momentum=0.3)
        norm.load_state_dict(began)
        norms = SharedBatchNorm(norm, DataParallelGroup(rank, size))
        with monkeypatch.context() as patch:
            patch.setattr(DataParallelGroup, "all_reduce", lambda *_: None)  # the sum is taken below
            with norms.shared():
                for i, batch in enumerate(batches):
                    if i % size == rank:
                        norm(batch)
                    else:
                        norms.skip()
        assert norm.num_batches_tracked == whole.num_batches_tracked
        shares.append(norm)
    for name in ("running_mean", "running_var"):
        total = sum(getattr(norm, name) for norm in shares)
        torch.testing.assert_close(total, getattr(whole, name))


@pytest.mark.parametrize("num", [0, 1, 7, 100])
def test_every_image_is_shared_out_once(num: int) -> None:
    for size in (1, 2, 3, 8):
        shares = [DataParallelGroup(rank, size).own_slice(num) for rank in range(size)]
        assert [i for share in shares for i in range(num)[share]] == list(range(num))
        assert sorted(i for rank in range(size) for i in DataParallelGroup(rank, size).own_items(range(num))) == list(
            range(num)
        )
