"""Effects of factors from pairs of runs, and importance of factors from a validated surrogate model."""

import itertools

import numpy as np
import pytest

from bench.scoring.across_runs.ablation import factors, one_factor, references, surrogate
from bench.scoring.across_runs.paired_tests import pair_tests
from tests.drawn_scores import covariance

DRAW = np.random.default_rng(0)


def full_grid() -> list[dict[str, object]]:
    axes = {"loss": ["bce", "focal"], "optimizer": ["adamw", "sgd", "sam"], "size": [64, 96], "seed": [0, 1]}
    return [dict(zip(axes, levels, strict=True)) for levels in itertools.product(*axes.values())]


def test_factors_are_the_fields_that_differ_without_the_seed() -> None:
    configs = full_grid()
    assert factors(configs) == ["loss", "optimizer", "size"]
    assert references([*configs, {**configs[-1], "seed": 2}])["optimizer"] == "sam"


def test_the_effect_of_a_level_is_the_mean_of_its_pairs() -> None:
    configs = full_grid()
    value = np.array([0.8 + 0.03 * (c["loss"] == "focal") - 0.02 * (c["optimizer"] == "sgd") for c in configs])
    patients = DRAW.normal(0, 0.01, 400)  # what the patients do is shared by all runs
    variance = covariance(patients + DRAW.normal(0, 0.001, (len(value), 400)))
    found = {(e.factor, e.level): e for e in one_factor(configs, value, variance)}
    assert set(found) == {("loss", "focal"), ("optimizer", "sgd"), ("optimizer", "sam"), ("size", "96")}
    loss = found["loss", "focal"]
    assert (loss.value, loss.num_pairs, loss.reference) == (pytest.approx(0.03), 12, "bce")
    assert loss.low < 0.03 < loss.high
    assert loss.high - loss.low < 0.005  # paired: the patients cancel
    assert found["size", "96"].value == pytest.approx(0)
    assert found["optimizer", "sgd"].p < 1e-6
    assert found["optimizer", "sam"].p > 0.05


def test_an_effect_of_one_pair_has_the_adjusted_interval_of_this_pair_among_all_recipes() -> None:
    configs: list[dict[str, object]] = [{"loss": loss} for loss in ("bce", "focal", "asl", "mae")]
    value = np.array([0.80, 0.83, 0.81, 0.79])
    variance = covariance(np.random.default_rng(1).normal(0, 0.01, (4, 400)))
    tests = pair_tests(value, variance)
    for run, effect in enumerate(one_factor(configs, value, variance), start=1):
        assert effect.num_pairs == 1
        assert [effect.all_low, effect.all_high] == pytest.approx(effect.value + tests.half[run, 0] * np.array([-1, 1]))
        assert effect.all_low < effect.low < effect.high < effect.all_high
    full = full_grid()
    many = one_factor(full, np.arange(24.0), 1e-4 * np.eye(24))
    assert all(np.isnan([effect.all_low, effect.all_high]).all() for effect in many)


def test_runs_that_differ_in_two_factors_are_not_a_pair_and_missing_values_are_left_out() -> None:
    configs: list[dict[str, object]] = [
        {"loss": "bce", "size": 64},
        {"loss": "focal", "size": 96},
        {"loss": "bce", "size": 96},
    ]
    value = np.array([0.8, 0.9, np.nan])
    assert one_factor(configs, value, np.zeros((3, 3))) == []


@pytest.mark.slow
def test_the_surrogate_identifies_the_factor_that_matters() -> None:
    configs = full_grid()
    value = np.array([0.8 + 0.05 * (c["loss"] == "focal") for c in configs]) + DRAW.normal(0, 0.002, len(configs))
    found = surrogate(configs, value)
    assert found.r2 > 0.5
    assert max(found.importance, key=found.importance.__getitem__) == "loss"
    assert found.importance["loss"] == pytest.approx(0.025, abs=0.006)  # half of the step, on both sides of the mean


@pytest.mark.slow
def test_a_factor_of_many_numbers_is_one_column_and_is_explained() -> None:
    draw, axes = (
        np.random.default_rng(1),
        {"loss": ["bce", "focal"], "lr": [0.001 * (1 + i / 1000) for i in range(160)]},
    )
    configs = [dict(zip(axes, levels, strict=True)) for levels in itertools.product(*axes.values())] * 2
    value = np.array([0.8 + 0.05 * (c["loss"] == "focal") for c in configs]) + draw.normal(0, 0.01, len(configs))
    found = surrogate(configs, value)  # with a column for each number, TreeSHAP refused its own sums
    assert found.importance["loss"] == pytest.approx(0.025, abs=0.004)
    assert found.importance["lr"] < 0.01
    assert len(found.shap["lr"]) == len(configs)


@pytest.mark.slow
def test_a_surrogate_without_predictive_value_reports_no_importance() -> None:
    configs = full_grid()
    found = [surrogate(configs, np.random.default_rng(i).normal(0.8, 0.01, len(configs))) for i in range(5)]
    assert all(one.r2 < 0.2 for one in found)
    assert all(one.importance == {} for one in found)
    assert np.isnan(surrogate(configs[:4], np.full(4, 0.8)).r2)
    assert np.isnan(surrogate(configs, np.full(len(configs), 0.8)).r2)
