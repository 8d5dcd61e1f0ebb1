"""Predictions that finished runs lack are made again, with the same bytes; one run that cannot does not stop the others."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer
from bench.models.predict import predict
from bench.store.lease import lease
from bench.store.store import Store

Command = Callable[..., "subprocess.CompletedProcess[str]"]
ALL = ("run", "--grid", "tiny", "--workers", "1")
CPU = torch.device("cpu")


def runs(folder: Path) -> list[Path]:
    store = Store(folder / "runs")
    return [store.run_dir(run_id) for run_id in store.run_ids()]


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.glob("*/*") if p.suffix in {".parquet", ".npz"}}


@pytest.mark.parametrize("size", [64, 7])
def test_when_memory_runs_out_the_network_gets_fewer_images_at_a_time(size: int) -> None:
    class Small(torch.nn.Module):
        def outputs_and_features(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if len(x_NCHW) > size:
                raise torch.OutOfMemoryError
            sums = x_NCHW.sum((2, 3))
            return sums, sums

        def findings(self, output_NO: torch.Tensor) -> torch.Tensor:
            return output_NO

    images = np.random.default_rng(1).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    normalizer = Normalizer(["minmax"], (0.0,) * 3, (1.0,) * 3, 1)
    small, reader, kept = Small(), BatchReader(images, CPU), np.array([3, 69])
    logit_NK, feature_FD = predict(small, normalizer, reader, np.arange(70), CPU, features_of=kept)  # type: ignore[arg-type]
    expected = normalizer(torch.from_numpy(images)).sum((2, 3)).numpy()
    np.testing.assert_allclose(logit_NK, expected, rtol=1e-6)
    np.testing.assert_array_equal(feature_FD, logit_NK[kept].astype(np.float16))


@pytest.mark.grid
def test_what_a_finished_run_lacks_is_made_again_except_by_a_run_that_cannot_or_is_held(
    store_copy: Path, command: Command
) -> None:
    bad, good = runs(store_copy)
    before = {run.name: contents(run) for run in (bad, good)}
    for run in (bad, good):
        (run / "predictions" / "brax.parquet").unlink()
        (run / "features" / "brax.npz").unlink()
    with lease(bad) as held:
        assert held
        said = command(*ALL, cwd=store_copy, code=None)
    assert "1 held by another process" in said.stdout
    assert contents(good) == before[good.name]
    assert not (bad / "predictions" / "brax.parquet").exists()
    weights = load_file(bad / "model.safetensors")
    damaged = {k: v * float("nan") if v.is_floating_point() else v for k, v in weights.items()}
    save_file(damaged, bad / "model.safetensors")
    (bad / "checksums.json").unlink()
    said = command(*ALL, cwd=store_copy, code=None)
    assert "1 of 2 runs done" in said.stdout
    assert "logits on chexpert are not finite numbers" in said.stdout
    assert contents(good) == before[good.name]
