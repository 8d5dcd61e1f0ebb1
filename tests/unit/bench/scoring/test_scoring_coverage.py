"""A short run of benchmarks/score_coverage.py; the results of its long run are committed next to it."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from tests.calibration_oracle import ece

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"


def simulated(monkeypatch: pytest.MonkeyPatch, num: int, worlds: str) -> pd.Series:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    simulate = runpy.run_path(str(BENCHMARKS / "score_coverage.py"))["simulate"]
    return simulate(num=num, num_patients=120, seed=1, worlds=worlds).set_index("claim")["found"]


@pytest.mark.slow
def test_clustered_intervals_cover_the_truth_and_tests_keep_their_level_on_simulated_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = simulated(monkeypatch, 60, "findings")
    assert 0.90 <= found["AUROC: bootstrap interval"] <= 0.985
    assert 0.90 <= found["AUROC: analytic interval by patient (Obuchowski)"] <= 0.985
    assert found["AUROC: analytic interval by image (DeLong)"] < 0.85, "images of one patient are not independent"
    assert found["paired bootstrap test: false difference"] <= 0.10


@pytest.mark.slow
def test_equal_runs_share_a_group_and_different_runs_are_separated_on_simulated_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = simulated(monkeypatch, 20, "runs")
    assert found["24 equal runs in several tie groups: false difference"] <= 0.2
    assert found["runs of AUROC 0.90 and 0.71 share no tie group"] >= 0.9


@pytest.mark.slow
def test_simulated_causes_of_a_gap_are_identified_and_sum_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulated(monkeypatch, 40, "gap")
    assert found["AUROC gap, sum of components minus gap: largest difference"] < 1e-6
    assert found["AUROC gap, case mix: mean estimate"] == pytest.approx(0.0706, abs=0.03)
    assert found["AUROC gap, labels: mean estimate"] == pytest.approx(0.0905, abs=0.02)
    assert found["AUROC gap, case mix: interval"] >= 0.85


@pytest.mark.slow
def test_intervals_of_ece_allow_for_its_bias_on_simulated_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulated(monkeypatch, 20, "ece")
    for run in ("calibrated run (0.000)", "nearly calibrated run (0.049)", "over-confident run (0.083)"):
        assert found[f"ECE, {run}: interval"] >= 0.8
        assert found[f"ECE, {run}: interval"] >= found[f"ECE, {run}: percentile interval instead"]
    assert found["ECE, calibrated run (0.000): percentile interval instead"] < 0.1


@pytest.mark.slow
def test_intervals_of_a_drift_allow_for_the_bias_of_both_errors_on_simulated_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = simulated(monkeypatch, 10, "drift")
    for kind in ("drift", "macro drift"):
        claim = f"{kind} of ECE, calibrated run becomes over-confident (0.083)"
        assert found[f"{claim}: interval"] >= 0.8
        assert found[f"{claim}: interval"] >= found[f"{claim}: bias of the difference instead"]
        assert found[f"{claim}: percentile interval instead"] < 0.6


@pytest.mark.slow
def test_the_true_components_are_those_of_a_very_large_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The integrals against scikit-learn on 600,000 images of one normal per stratum."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import planted

    part = planted.THERE.draw("there", 170_000, np.random.default_rng(0))
    densities = planted.THERE.densities()
    assert roc_auc_score(part.state[:, 0], part.logit[:, 0]) == pytest.approx(planted.area(*densities), abs=0.004)
    error = ece(part.state[:, 0], expit(part.logit[:, 0].astype(np.float64)))
    assert error == pytest.approx(planted.calibration_error(*densities, planted.THERE.labelled), abs=0.004)
    precision = planted.precision(*densities, planted.THERE.labelled)
    assert average_precision_score(part.state[:, 0], part.logit[:, 0]) == pytest.approx(precision, abs=0.006)


def test_the_committed_table_meets_its_criteria() -> None:
    table = pd.read_csv(BENCHMARKS / "coverage.csv").set_index("claim")
    assert table["command"].str.match(r"python benchmarks/score_coverage.py --simulations 1000 ").all()
    for claim in ("AUROC: bootstrap interval", "macro AUROC: bootstrap interval", "macro gap: bootstrap interval"):
        assert table.loc[claim, "found"] == pytest.approx(0.95, abs=0.02)
    # only a few patients are missed at small thresholds: docs/extensions/decisions.md states what other intervals would contain
    for claim, rival, found in (
        ("net benefit minus treating all", "normal", 0.899),
        ("share of missed images", "percentile", 0.88),
        ("sensitivity", "percentile", 0.889),
        ("npv", "percentile", 0.889),
    ):
        assert table.loc[f"{claim} at t = 0.1: {rival} interval instead", "found"] == pytest.approx(found, abs=0.02)
    of_decisions = table.index[table["command"].str.contains("--worlds (?:benefit|triage)")]
    assert len(of_decisions) == 87
    table = table.drop(claim for claim in of_decisions if claim.endswith(" instead"))
    # a guarantee is an upper limit; a rule that counts images breaks it
    rates = table[table.index.str.startswith("triage") & (table["measure"] == "mean")]
    counts_images = rates.index.str.contains("images counted instead")
    assert ((rates["found"] > rates["nominal"]) == counts_images).all()
    assert counts_images.sum() == 2
    table = table.drop(rates.index)
    of_intervals = table.loc[(table["measure"] == "share") & (table["nominal"] == 0.95), "found"]
    of_intervals = of_intervals[~of_intervals.index.str.contains(r"by image \(DeLong\)|ECE")]
    assert of_intervals.min() >= 0.93
    # too wide, where one or two patients decide, as docs/extensions/decisions.md states
    assert set(of_intervals.index[of_intervals > 0.98]) == {
        "sensitivity at t = 0.1: interval",
        "share of missed images at t = 0.1: interval",
        "standardized net benefit at t = 0.1: interval",
        "macro standardized net benefit at t = 0.1: interval",
        "macro standardized net benefit at t = 0.5: interval",
        "net benefit minus treating all at t = 0.1: interval",
        "triage, exchangeable patients, stated 0.05: interval of the miss rate",
    }
    # start of the claims -> number of them, and the least share; of the errors themselves, calibrated runs have the fewest
    worlds = {("ECE,", "macro ECE,"): (6, 0.85), ("drift", "macro drift"): (8, 0.95), ("ECE gap",): (4, 0.95)}
    for starts, (number, least) in worlds.items():
        shares = table.loc[[c for c in table.index if c.startswith(starts) and c.endswith(": interval")], "found"]
        assert len(shares) == number
        assert (shares >= least).all(), starts
        for claim, found in shares.items():
            others = [c for c in table.index if c.startswith(claim[:-8]) and c.endswith(" instead")]
            assert found >= table.loc[others, "found"].max()
            assert others
    assert (table.loc[table["nominal"] == 0.05, "low"] <= 0.05).all()
    assert table.loc["runs of AUROC 0.90 and 0.71 share no tie group", "found"] >= 0.99
    assert (table.loc[table["measure"] == "largest", "found"] < 1e-6).all()
    means = table[table["measure"] == "mean"]
    assert ((means["found"] - means["nominal"]).abs() < 0.01).all(), "bias"
