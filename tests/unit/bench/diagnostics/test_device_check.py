"""`bench check --device`: the self-test of a GPU, rehearsed on the CPU, and devices that it refuses."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.diagnostics import device_check
from bench.diagnostics.device_check import CPU, DisagreementError, examine_device, training_step, usable_device
from harmonize.errors import ConfigError, SetupError

Command = Callable[..., SimpleNamespace]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One network instead of each family, short measurements, no compiler, and a grid that does not exist."""
    monkeypatch.setattr(device_check, "FAMILIES", ("swinv2_tiny",))
    monkeypatch.setattr(device_check, "SIZES", {"cpu": ("seresnet_tiny", 64, 4, "nowhere", 0.0)})
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_test_that_fails_keeps_its_text_and_the_others_go_on(here: Command, tmp_path: Path) -> None:
    done = here("check", "--device", "cpu", "--quiet", cwd=tmp_path, code=1)
    assert "BAD  grid nowhere, two runs at a time: RuntimeError: exit code 2 of bench run --grid nowhere" in done.stdout
    assert "ok   training of swinv2_tiny in bf16, sgd: largest difference" in done.stdout
    assert "1 fault, 0 warnings" in done.stdout
    report = json.loads((tmp_path / "check-cpu.json").read_text())
    assert done.stdout.splitlines()[-1] == report["summary"]
    assert "; failed: grid nowhere, two runs at a time; trained images/s in bf16 " in report["summary"]
    assert "no grid 'nowhere'" in report["tracebacks"]["grid nowhere, two runs at a time"], "what the command wrote"
    assert len(report["checks"]) == 8
    gain = r"compilation takes [\d.e-]+ s and saves (no time|time from step [\d,]+ on)"
    step = r"; a step takes [\d.e+]+ ms, compiled [\d.e+]+ ms; "
    assert re.search(step + gain, report["checks"]["compiled training of seresnet_tiny"])
    assert all(value > 0 for value in report["measured"].values())
    assert f"; torch {torch.__version__}; cpu: cpu (1 thread); 7 of 8 ok; " in report["summary"]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_wrong_gradients_and_numbers_that_are_none_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    device_check._losses_on_cpu("swinv2_tiny", "sgd")

    def without_step(*arguments: object) -> object:
        step = training_step(*arguments)  # type: ignore[arg-type]
        step.set_lr(0.0)
        return step

    monkeypatch.setattr(device_check, "training_step", without_step)
    levels = {check.what: check.level for check in examine_device("cpu", lambda *_: None)[0]}
    assert levels["training of swinv2_tiny in fp32, sgd"] == "fault"
    for found in (1.2, math.nan, math.inf):
        with pytest.raises(DisagreementError, match="bound 0"):
            device_check._near([1.0, found], 1.0, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", device_check.FAMILIES)
def test_the_loss_of_each_network_falls_so_that_wrong_gradients_are_noticed(name: str) -> None:
    losses = device_check._losses_on_cpu(name, "sgd")
    assert np.min(losses) < (1 - 2 * device_check.NEAR_LOSS["fp32"]) * losses[0]


@pytest.mark.parametrize(
    ("memory", "what", "fix"),
    [
        ((70e9, 80e9), "other processes use 10.0 GB of cuda:0", "nvidia-smi"),
        ((3e9, 4e9), "cuda:0 has 3.0 GB of free memory, and the test needs 4 GB", "nvidia-smi"),
        (RuntimeError("CUDA error: no kernel image\nmore"), "cannot use cuda:0: CUDA error: no kernel image", "driver"),
        (RuntimeError("CUDA error: out of memory\nmore"), "cannot use cuda:0: CUDA error: out of memory", "nvidia-smi"),
    ],
)
def test_a_gpu_that_is_used_small_or_unknown_to_torch_is_refused(
    memory: object, what: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def memory_of(_: torch.device) -> object:
        if isinstance(memory, Exception):
            raise memory
        return memory

    monkeypatch.setattr(device_check, "first_device", lambda name: name)
    monkeypatch.setattr(device_check, "_memory_of", memory_of)
    with pytest.raises(SetupError) as error:
        usable_device("cuda:0")
    assert error.value.what.endswith(what)
    assert fix in error.value.fix


def test_a_device_that_is_not_here_is_refused_with_exit_code_2(here: Command, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        assert "no CUDA device is available" in here("check", "--device", "cuda:0", cwd=tmp_path, code=2).stderr
    if not torch.backends.mps.is_available():
        assert "cannot use mps" in here("check", "--device", "mps", cwd=tmp_path, code=2).stderr
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        usable_device("tpu")
    assert "only valid without --device" in here("check", "--device", "cpu", "--quick", cwd=tmp_path, code=2).stderr
    assert usable_device("cpu") == CPU
