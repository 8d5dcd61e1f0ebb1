import numpy as np
import pandas as pd
import pytest

from bench.scoring.across_runs.agreement import agreement, taus
from bench.scoring.across_runs.recipes import seed_groups, seed_variance
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import Draws, covariances, stored

NUM = 500
COHORTS = ("internal", "first", "second", "external")


def study(skill: list[float], noise: float, flip: bool = False, patients: float = 0.0) -> tuple[pd.DataFrame, Draws]:
    """Return scores of runs and draws of them; the AUROC of a run is its skill; with `flip`, cohort `second` ranks them in reverse."""
    draw = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = []
    drawn: dict[str, dict[str, np.ndarray]] = {}
    shared = {name: draw.normal(0, patients, NUM) for name in COHORTS}
    for i, value in enumerate(skill):
        run = f"r{i}"
        drawn[run] = {}
        for name in COHORTS:
            at = 1 - value if flip and name == "second" else value
            split = "test" if name == "internal" else "all"
            rows.append((run, name, split, "macro", "auroc", "none", at))
            drawn[run][f"auroc/{name}"] = at + shared[name] + draw.normal(0, noise, NUM)
        rows.append((run, "internal", "val", "macro", "auroc", "none", 0.99))
    columns = ["run_id", "dataset", "split", "finding", "metric", "calibrator", "value"]
    return pd.DataFrame(rows, columns=columns).assign(subgroup="all"), drawn


def found_in(scores: pd.DataFrame, drawn: Draws) -> pd.DataFrame:
    return agreement(scores, covariances(drawn), "internal")


def test_the_rank_correlation_of_a_worked_example() -> None:
    internal, external = [0.86, 0.87, 0.88, 0.89, 0.90], [0.78, 0.80, 0.79, 0.82, 0.83]
    assert taus(np.array([internal, external]))[0, 1] == pytest.approx(0.8)


def test_ties_and_constant_rankings() -> None:
    found = taus(np.array([[1.0, 1, 2, 3], [1, 2, 2, 3], [5, 5, 5, 5]]))
    assert found[0, 1] == pytest.approx(
        4 / 5
    )  # 4 of the 6 pairs are concordant; each ranking has 5 pairs without a tie
    assert np.isnan(found[2]).all()


def test_a_cohort_without_a_value_of_a_run_has_no_correlation_and_does_not_affect_others() -> None:
    found = taus(np.array([[0.1, 0.2, 0.3], [0.1, np.nan, 0.2], [0.3, 0.4, 0.5]]))
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert found[0, 2] == found[2, 0] == 1


def test_cohorts_that_agree_have_tau_1_and_those_that_disagree_minus_1() -> None:
    found = found_in(*study([0.6, 0.7, 0.8, 0.9], 1e-6, flip=True))
    assert tuple(found.columns) == SCHEMAS["agreement"]
    assert list(zip(found["first"], found["second"], strict=True)) == [
        ("internal", "first"),
        ("internal", "second"),
        ("first", "second"),
    ]
    assert found["tau"].tolist() == [1, -1, -1]
    assert (found["low"] == found["tau"]).all()
    assert (found["num_runs"] == 4).all()


def test_noise_gives_a_wide_interval_and_two_runs_have_no_correlation() -> None:
    found = found_in(*study([0.80, 0.801, 0.802, 0.803, 0.804], 0.05))
    assert (found["high"] - found["low"] > 0.9).all()
    few = found_in(*study([0.7, 0.8], 0.01))
    assert few["tau"].isna().all()
    assert (few["num_runs"] == 2).all()
    assert found_in(*study([], 0.01)).empty


def test_the_interval_counts_pairs_of_runs_that_are_clear_in_both_cohorts() -> None:
    """Of 60 samples in which the true tau is 1 and runs are close, percentiles of tau held it in none."""
    found = found_in(*study([0.6, 0.7, 0.701, 0.9], 0.002)).iloc[0]
    # 5 of 6 pairs are clear; the other may have either order
    assert [found["tau"], found["low"], found["high"]] == pytest.approx([1, 4 / 6, 1])
    close = found_in(*study([0.80, 0.801, 0.802, 0.803, 0.804], 0.05, flip=True))
    assert (close["low"] == -1).all()
    assert (close["high"] == 1).all()


def test_variance_over_seeds_and_over_patients_are_separated() -> None:
    skill = [0.80, 0.82, 0.84, 0.86]
    recipes = {"r": ["r0", "r1", "r2", "r3"]}
    scores, drawn = study(skill, 0.0, patients=0.01)
    found = seed_variance(recipes, scores, stored(drawn), "internal")
    assert tuple(found.columns) == SCHEMAS["seeds"]
    assert found["dataset"].tolist() == ["internal", "first", "second", "external"]
    assert set(found["run_id"]) == {"r"}
    assert found["seed_sd"].to_numpy() == pytest.approx(np.std(skill, ddof=1))
    assert found["patient_sd"].to_numpy() == pytest.approx(0.01, rel=0.1)


def test_one_seed_has_no_variance() -> None:
    scores, drawn = study([0.8, 0.82], 0.01)
    assert seed_variance({"r0": ["r0"], "r1": ["r1"]}, scores, stored(drawn), "internal").empty


def test_runs_that_differ_only_in_the_seed_are_one_group() -> None:
    base = {"architecture": "a", "schedule": {"lr": 0.1}}
    configs = {
        "x": {**base, "seed": 0},
        "y": {**base, "seed": 1},
        "z": {**base, "schedule": {"lr": 0.2}, "seed": 0},
    }
    assert seed_groups(configs) == [["x", "y"], ["z"]]
    assert seed_groups({"y": configs["y"], "x": configs["x"]}) == [["x", "y"]]  # in the order of the seeds
    assert seed_groups({"x": configs["x"], "again": configs["x"], "y": configs["y"]}) == [["x", "y"], ["again"]]
