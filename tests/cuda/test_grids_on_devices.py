"""A grid on a GPU, as a user starts it: its worker processes have not used the GPU before."""

from pathlib import Path

import pandas as pd
import torch

from bench.runs.provenance import device_name
from tests.conftest import bench


def test_a_grid_runs_on_a_gpu_from_training_to_the_page(gpu: torch.device, tmp_path: Path) -> None:
    done = bench("run", "--grid", "tiny", "--device", str(gpu), "--quiet", cwd=tmp_path)
    assert "2 of 2 runs done (2 now), 0 failed" in done.stdout
    tables = tmp_path / "runs" / "report" / "tiny" / "tables"
    runs = pd.read_parquet(tables / "runs.parquet")
    of_runs = runs[runs["kind"] == "run"]
    assert set(of_runs["device"]) == {device_name(gpu, 1)}
    costs = pd.read_parquet(tables / "costs.parquet")
    assert (costs.loc[costs["run_id"].isin(of_runs["run_id"]), "peak_memory_bytes"] > 0).all()
