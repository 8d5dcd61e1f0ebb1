"""Effective robustness, and the gain over cheaper runs."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from bench.scoring.across_runs.ablation_tables import frontier, metrics
from bench.scoring.across_runs.all_pairs import pairs
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.robustness import derivatives, fit, leave_one_out, robustness
from tests.drawn_scores import covariances

INTERNAL = np.array([0.86, 0.87, 0.88, 0.89, 0.90])
EXTERNAL = np.array([0.78, 0.80, 0.79, 0.82, 0.83])


def test_the_line_equals_a_published_example() -> None:
    line = fit(INTERNAL, EXTERNAL)
    assert float(line.slope) == pytest.approx(0.8117, abs=5e-5)
    assert float(line.intercept) == pytest.approx(-0.2071, abs=5e-5)
    residual = EXTERNAL - line.expected(INTERNAL)
    np.testing.assert_allclose(residual, [-0.00012, 0.00818, -0.01379, 0.00393, 0.00131], atol=1e-5)


def test_each_run_is_compared_with_the_line_of_the_other_runs() -> None:
    value, expected = leave_one_out(INTERNAL, EXTERNAL)
    for r in range(5):
        others = np.arange(5) != r
        slope, intercept = np.polyfit(logit(INTERNAL[others]), logit(EXTERNAL[others]), 1)
        assert expected[r] == pytest.approx(expit(slope * logit(INTERNAL[r]) + intercept))
        assert value[r] == pytest.approx(EXTERNAL[r] - expected[r])
    columns = np.stack([INTERNAL, INTERNAL], 1), np.stack([EXTERNAL, EXTERNAL[::-1]], 1)
    assert leave_one_out(*columns)[0][:, 0] == pytest.approx(value)


def test_derivatives_give_the_change_of_each_distance() -> None:
    step = 0.001 * np.random.default_rng(0).normal(size=(2, 5))
    by_internal, by_external = derivatives(INTERNAL, EXTERNAL)
    changed, expected = leave_one_out(INTERNAL + step[0], EXTERNAL + step[1])[0], leave_one_out(INTERNAL, EXTERNAL)[0]
    assert changed - expected == pytest.approx(by_internal @ step[0] + by_external @ step[1], abs=3e-4)
    assert np.abs(changed - expected).max() > 1e-3


def table(internal: np.ndarray, external: np.ndarray, noise: float = 0.004) -> tuple[pd.DataFrame, Covariances]:
    """Return gaps of runs and their covariances; patients shift all runs together, and each a little."""
    draw = np.random.default_rng(0)
    ids = [f"run{r}" for r in range(len(internal))]
    rows = [
        (run, d, "macro", h - a, h, a)
        for d in ("there", "external")
        for run, h, a in zip(ids, internal, external, strict=True)
    ]
    gaps = pd.DataFrame(rows, columns=["run_id", "dataset", "finding", "value", "internal", "external"])
    common = draw.normal(size=(2, 300)) * 0.01
    drawn = {}
    for run, h, a in zip(ids, internal, external, strict=True):
        at_internal, there = (
            h + common[0] + noise * draw.normal(size=300),
            a + common[1] + noise * draw.normal(size=300),
        )
        drawn[run] = (
            {"auroc/internal": at_internal}
            | {f"auroc/{d}": there for d in ("there", "external")}
            | {f"gap/{d}": at_internal - there for d in ("there", "external")}
        )
    return gaps, covariances(drawn)


def test_a_run_with_a_smaller_gap_than_the_others_is_above_its_line() -> None:
    internal = np.linspace(0.8, 0.9, 8)
    external = expit(0.9 * logit(internal) - 0.3)
    external[3] += 0.05
    found = robustness(*table(internal, external))
    assert set(found["dataset"]) == {"there", "external"}
    rows = found[found["dataset"] == "there"].set_index("run_id")
    assert rows.loc["run3", "value"] == pytest.approx(0.05, abs=1e-3)
    assert rows.loc["run3", "low"] > 0
    others = rows.drop(index="run3")
    assert (others["low"] < 0).sum() >= 6
    assert (rows["external"] - rows["expected"] - rows["value"]).abs().max() < 1e-12


def test_three_runs_or_equal_internal_aurocs_give_no_line() -> None:
    assert robustness(*table(INTERNAL[:3], EXTERNAL[:3])).empty
    assert robustness(*table(np.full(5, 0.8), EXTERNAL)).empty


def scores(internal: np.ndarray, external: np.ndarray) -> pd.DataFrame:
    rows = []
    for r, (h, a) in enumerate(zip(internal, external, strict=True)):
        for dataset, split, value in (
            ("internal", "val", h),
            ("internal", "test", h),
            ("there", "all", a),
            ("external", "mixed", a),
        ):
            rows.append((f"run{r}", dataset, split, value, value - 0.02, value + 0.02))
    same = {"finding": "macro", "metric": "auroc", "calibrator": "none", "subgroup": "all"}
    return pd.DataFrame(rows, columns=["run_id", "dataset", "split", "value", "low", "high"]).assign(**same)


def test_the_gain_over_the_cheaper_run_has_the_interval_of_the_pair() -> None:
    internal, external = np.array([0.9, 0.8]), np.array([0.80, 0.79])
    made, (_, covariance) = scores(internal, external), table(internal, external, noise=0.02)
    gaps = pd.DataFrame(columns=["run_id", "dataset", "finding", "value", "low", "high"])
    pair = pairs(made, gaps, {}, covariance, "internal").set_index("dataset").loc["external"]
    assert pair["low"] < 0 < pair["value"]
    cost = {"macs": {"run0": 2.0, "run1": 1.0}}
    gain = frontier(cost, *metrics(made, gaps, covariance)["auroc"]).set_index("run_id").loc["run0"]
    assert gain[["gain", "gain_low", "gain_high"]].tolist() == pytest.approx(pair[["value", "low", "high"]].tolist())
