"""Whole studies: what runs of many kinds have to say on one page. The demo is run by `tox -e wheel` (tests/wheel/demo.py)."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.store.store import Store
from reports.schemas.criterion import further_scores
from tests.conftest import Drawn
from tests.tiny_grids import SMALL_ANALYSES

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]

MIXED = """
name: mixed
evaluate_on: [mimic]
min_count: 5
split: {train: 0.6, val: 0.2, test: 0.2}
phantom: {source: 320, external: 60, size: 64}
base:
  {train_on: chexpert, architecture: seresnet_tiny, channels: 1, optimizer: adamw, loss: bce, uncertainty: u_ignore,
   preprocessing: imagenet_64, schedule: {epochs: 1, batch_size: 32, lr: 3.0e-3}}
sweeps:
  - {heads: dual_auxiliary, loss: bce_weighted_smooth}
  - {uncertainty: u_multiclass}
  - {loss: aucm, uncertainty: u_ones_smooth}
  - {task: binary, finding: Pleural Effusion}
"""


def test_runs_that_learn_different_things_train_score_and_stand_on_one_page(
    tmp_path: Path, command: Command, drawn: Drawn
) -> None:
    """Heads for device, sex and projection, three classes per finding, AUC margin loss and a network for one finding, in one grid."""
    (tmp_path / "mixed.yaml").write_text(MIXED + SMALL_ANALYSES)
    drawn(tmp_path / "mixed.yaml", tmp_path)
    assert "4 of 4 runs done (4 now)" in command("run", "--grid", "mixed.yaml", "--quiet", cwd=tmp_path).stdout
    report = tmp_path / "runs" / "report" / "mixed"
    listed = pd.read_parquet(report / "tables" / "runs.parquet")
    scored = pd.read_parquet(report / "tables" / "scores.parquet").query("metric == 'auroc' and calibrator == 'none'")
    for run in listed.itertuples():
        config = json.loads(run.config)
        predictions = pd.read_parquet(Store(tmp_path / "runs").run_dir(run.run_id) / "predictions" / "mimic.parquet")
        heads = [name for name in predictions if name.startswith("head:")]
        both = ["head:abnormal", "head:device", "head:projection", "head:sex"]
        assert heads == (both if config["heads"] == "dual_auxiliary" else [])
        learnt = [name for name in predictions if name not in {"image_id", *heads}]
        assert learnt == [config["finding"]] if config["finding"] else len(learnt) == 9
        assert set(scored.loc[scored["run_id"] == run.run_id, "finding"]) <= {*learnt, "macro"}
        assert np.isfinite(
            scored.loc[(scored["run_id"] == run.run_id) & (scored["dataset"] == "external"), "value"]
        ).any()
    page = (report / "leaderboard.html").read_text()
    assert "Only runs that learn all findings are ranked" in page
    assert "trained only for Pleural Effusion: external" in page
    ranks = pd.read_parquet(report / "tables" / "ranks.parquet")
    assert (ranks.groupby(["metric", "dataset", "finding"])["run_id"].nunique() == 3).all()
    further = {score.METRIC for score in further_scores()}
    assert {"auroc", "auprc", "ece", "gap"} | further == set(ranks["metric"])
    assert {"external", "macro"} < {*ranks["dataset"], *ranks["finding"]}
