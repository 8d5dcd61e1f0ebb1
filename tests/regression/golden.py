"""What is compared with the committed tables, and how the tables are made anew:

    python tests/regression/golden.py

Do that only when numbers change on purpose, and say why in CHANGELOG.md.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config.settings import Settings
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from harmonize.labels.findings import FINDINGS

HERE = Path(__file__).parent
GRID, GRID_CSV, SCORING_CSV = HERE / "regression.yaml", HERE / "grid.csv", HERE / "scoring.csv"
KEYS = ["seed", "dataset", "split", "calibrator", "operating_point", "finding", "metric"]
GRID_METRICS = ("auroc", "auprc", "f1", "precision", "sensitivity", "specificity", "brier", "ece", "auroc_gap")
COUNTS = ["n", "num_positive", "num_negative", "num_patients"]


def grid_table(folder: Path) -> pd.DataFrame:
    """Return macro scores, and AUROC per finding, of the grid `regression.yaml` that is finished in `folder`.

    Of the scores that need training, these are enough: `scoring_table` holds every metric, calibrator and threshold rule.
    """
    tables = folder / "runs" / "report" / "regression" / "tables"
    scores = pd.read_parquet(tables / "scores.parquet")
    runs = pd.read_parquet(tables / "runs.parquet")
    seeds = runs[runs["kind"] == "run"].set_index("run_id")["seed"]
    scores = scores[scores["run_id"].isin(seeds.index)]  # without the means over seeds
    scores.insert(0, "seed", scores["run_id"].map(seeds))
    scores = scores[scores["metric"].isin(GRID_METRICS) & scores["calibrator"].isin(["none", "platt"])]
    scores = scores[scores["operating_point"] != "f1_grid"]
    kept = scores[(scores["finding"] == "macro") | (scores["metric"] == "auroc")]
    return kept[[*KEYS, *COUNTS, "value"]].sort_values(KEYS).reset_index(drop=True)


def run_grid(folder: Path) -> None:
    """Train, test and report the grid `regression.yaml` in `folder`."""
    subprocess.run([sys.executable, "-m", "bench.cli", "run", "--grid", str(GRID), "--quiet"], cwd=folder, check=True)


def fixed_scores() -> RunScores:
    """Return the scores of drawn logits with ties, uncertain, unmapped and rare labels: they depend on scoring alone."""
    draw = np.random.default_rng(0)
    parts = []
    for dataset, split, n in (
        ("internal", "val", 150),
        ("internal", "test", 200),
        ("first", "all", 180),
        ("second", "test", 160),
    ):
        state = draw.choice(np.array([1, 0, -1, -2], np.int8), (n, len(FINDINGS)), p=[0.3, 0.3, 0.1, 0.3])
        if dataset == "second":
            state[:, 6] = -3  # a finding it cannot express
            state[:, 8] = np.where(np.arange(n) < 3, 1, 0)  # too few patients
        logit = (draw.normal(0, 1, state.shape) + 1.2 * (state == 1)).round(2).astype(np.float32)
        patients = np.array([f"p{i // 2}" for i in range(n)], object)
        images = np.array([f"{dataset}-{split}-{i}" for i in range(n)], object)
        parts.append(ScoredSplit(dataset, split, "report", images, patients, logit, state))
    return score_run("run", FINDINGS, "internal", parts, Settings())


def scoring_table() -> pd.DataFrame:
    """Return all numbers of `fixed_scores`, intervals too."""
    scores = fixed_scores().scores
    return scores[[*KEYS[1:], *COUNTS, "value", "low", "high"]].sort_values(KEYS[1:]).reset_index(drop=True)


if __name__ == "__main__":
    scoring_table().to_csv(SCORING_CSV, index=False, float_format="%.12g")
    with tempfile.TemporaryDirectory() as name:
        run_grid(Path(name))
        grid_table(Path(name)).to_csv(GRID_CSV, index=False, float_format="%.6g")
