"""A short run of benchmarks/coverage.py, whose long run is committed beside it."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_clustered_intervals_hold_the_truth_and_tests_keep_their_level_on_simulated_patients() -> None:
    simulate = runpy.run_path(str(BENCHMARKS / "coverage.py"))["simulate"]
    found = simulate(num=60, num_patients=120, num_resamples=200, seed=1).set_index("claim")["share"]
    assert 0.90 <= found["AUROC: bootstrap interval"] <= 0.985
    assert 0.90 <= found["AUROC: analytic interval by patient (Obuchowski)"] <= 0.985
    assert found["AUROC: analytic interval by image (DeLong)"] < 0.85, "images of one patient are not independent"
    assert found["paired bootstrap test, no difference"] <= 0.10


def test_the_committed_table_keeps_what_it_promises() -> None:
    found = pd.read_csv(BENCHMARKS / "coverage.csv").set_index("claim")
    for claim in ("AUROC: bootstrap interval", "macro AUROC: bootstrap interval", "macro gap: bootstrap interval"):
        assert found.loc[claim, "share"] == pytest.approx(0.95, abs=0.02)
    assert found.loc["paired bootstrap test, no difference", "low"] <= 0.05
    assert found.loc["any of 5 findings after Holm, no difference", "low"] <= 0.05
