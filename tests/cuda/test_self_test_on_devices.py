"""The self-test of `bench check --device`, with a grid: all of it on a GPU, one network and a small grid on the CPU."""

from pathlib import Path

import pytest
import torch

from bench.diagnostics import device_check


@pytest.mark.grid
@pytest.mark.filterwarnings("default")  # of the compiler
def test_a_device_passes_its_self_test(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if device.type == "cpu":
        monkeypatch.setattr(device_check, "FAMILIES", ("swinv2_tiny",))
    checks, _ = device_check.examine_device(str(device), lambda *_: None)
    assert [check for check in checks if check.level != "ok"] == []
    assert checks[-1].found.startswith("4 of 4 runs done" if device.type == "cuda" else "2 of 2 runs done")
