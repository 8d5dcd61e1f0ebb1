"""Estimators that learn from labeled hospitals, and that none of them sees labels of the hospital that it estimates."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.extensions.estimates import from_hospitals
from bench.extensions.estimates.expected_scores import left_out
from bench.extensions.estimates.from_hospitals import KnownValues, combination, mean_gap, robustness_line
from tests.extensions.estimates.hospitals import ENTRIES, entry, known

Array = NDArray[np.float64]
FROM_HOSPITALS = [e for e in ENTRIES.values() if e.facts["given"] == "hospitals"]


def error(name: str, values: KnownValues) -> float:
    return float(np.nanmean(np.abs(left_out(entry(name), values) - values.truth)))


def test_the_mean_gap_is_the_internal_value_plus_the_mean_change() -> None:
    inside = np.array([[0.9, 0.8]])
    truth = np.array([[[0.8, 0.75]], [[0.7, np.nan]]])
    assert mean_gap(KnownValues(inside, truth, {}), {}) == pytest.approx(np.array([[0.75, 0.75]]))
    assert from_hospitals.internal(KnownValues(inside, truth, {}), {}) is inside
    assert mean_gap(KnownValues(np.array([[0.1]]), np.array([[[0.0]], [[0.2]]]) - 0.3, {}), {}).item() == 0.0
    assert np.isnan(mean_gap(KnownValues(inside, np.full((2, 1, 2), np.nan), {}), {})).all()


def test_the_robustness_line_predicts_hospitals_that_are_on_a_line() -> None:
    inside = expit(np.linspace(0.5, 2.0, 9))[:, None]
    slopes, falls = np.array([0.8, 1.2]), np.array([0.3, 0.6])
    truth = np.stack([expit(s * logit(inside) - f) for s, f in zip(slopes, falls, strict=True)])
    found = robustness_line(KnownValues(inside, truth, {}), {})
    assert found == pytest.approx(expit(logit(inside) - 0.45), abs=1e-9)
    few = KnownValues(inside[:7], truth[:, :7], {})
    assert np.isnan(robustness_line(few, {})).all()


def test_runs_whose_score_is_0_or_1_are_not_on_the_robustness_line() -> None:
    inside = expit(np.linspace(0.5, 2.0, 12))[:, None]
    truth = expit(logit(inside) - 0.5)[None].copy()
    inside[0], truth[0, 1], truth[0, 2], truth[0, 3] = 1.0, 1.0, 0.0, np.nan
    found = robustness_line(KnownValues(inside, truth, {}), {})
    assert np.isnan(found[0, 0])
    assert found[1:] == pytest.approx(expit(logit(inside[1:]) - 0.5), abs=1e-9)
    truth[0, 4] = 1.0  # seven runs are left
    assert np.isnan(robustness_line(KnownValues(inside, truth, {}), {})).all()


def test_the_combination_is_the_mean_gap_if_no_estimator_helps() -> None:
    for seed in range(8):
        noise = np.random.default_rng(seed)
        values = known(num_hospitals=6, seed=seed, told=0.0)
        useless = KnownValues(values.internal, values.truth, {"cbpe": noise.uniform(0, 1, values.truth.shape)})
        here = {"cbpe": noise.uniform(0, 1, values.internal.shape)}
        found, base = combination(useless, here), mean_gap(useless, here)
        if np.array_equal(found, base):
            break
    else:
        pytest.fail("noise changed the mean gap each time")
    same = KnownValues(values.internal, values.truth, {"cbpe": np.full(values.truth.shape, 0.7)})
    assert np.array_equal(combination(same, {"cbpe": np.full(values.internal.shape, 0.2)}), mean_gap(same, {}))
    assert np.array_equal(combination(KnownValues(values.internal, values.truth, {}), {}), base)


def test_an_estimator_that_does_not_help_changes_the_error_little() -> None:
    worse = []
    for seed in range(10):
        values = known(num_hospitals=8, seed=seed, told=0.0)
        worse.append(error("combination", values) - error("mean_gap", values))
    assert np.mean(worse) < 0.01


def test_the_combination_is_better_than_the_mean_gap_if_an_estimator_sees_the_fall() -> None:
    for seed in range(4):
        values = known(num_hospitals=8, seed=seed, noise=0.005)
        assert error("combination", values) < 0.5 * error("mean_gap", values)


def test_the_combination_equals_a_ridge_regression_over_rows_written_out() -> None:
    values = known(num_hospitals=5, seed=2, noise=0.01)
    here = {"cbpe": values.estimates["cbpe"].mean(0) - 0.03}
    labeled, x, y = values.estimates["cbpe"], [], []
    for r, k in np.ndindex(values.internal.shape):
        x += list(labeled[:, r, k] - labeled[:, r, k].mean())
        y += list(values.truth[:, r, k] - values.truth[:, r, k].mean())
    change = here["cbpe"] - labeled.mean(0)
    squares, n = np.dot(x, x), len(x)
    possible = []
    for penalty in (0.03, 0.1, 0.3, 1.0, 3.0):
        slope = np.dot(x, y) / (squares + penalty * n * squares / n)  # the penalty is on standardized columns
        possible.append(mean_gap(values, here) + slope * change)
    found = combination(values, here)
    assert min(np.abs(found - each).max() for each in possible) < 1e-12


def test_an_estimator_without_values_in_many_cells_is_not_used() -> None:
    values = known(num_hospitals=8, seed=1)
    holes = values.estimates["cbpe"].copy()
    holes[0] = np.nan
    holed = KnownValues(values.internal, values.truth, {"cbpe": holes})
    here = {"cbpe": values.estimates["cbpe"][1]}
    assert np.array_equal(combination(holed, here), mean_gap(holed, here))
    none_here = combination(values, {"cbpe": np.full(values.internal.shape, np.nan)})
    assert np.array_equal(none_here, mean_gap(values, {}))


@pytest.mark.parametrize("num_hospitals", [0, 1, 2, 3])
@pytest.mark.parametrize("each", FROM_HOSPITALS, ids=lambda e: e.name)
def test_few_hospitals_and_findings_without_labels_are_no_error(each, num_hospitals: int) -> None:
    values = known(num_hospitals=max(num_hospitals, 1), num_runs=9)
    truth = values.truth[:num_hospitals].copy()
    truth[:, :, 1] = np.nan
    few = KnownValues(values.internal, truth, {"cbpe": values.estimates["cbpe"][:num_hospitals]})
    found = each.load()(few, {"cbpe": values.estimates["cbpe"][0]}, **each.options)
    assert found.shape == values.internal.shape
    if each.name != "internal":
        assert np.isnan(found[:, 1]).all()
        assert np.isfinite(found[:, 0]).all() == (num_hospitals > 0)
    assert left_out(each, few).shape == truth.shape


def replaced(values: KnownValues, hospital: int, change: Callable[[Array], Array]) -> KnownValues:
    truth = values.truth.copy()
    truth[hospital] = change(truth[hospital])
    return KnownValues(values.internal, truth, values.estimates)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_truth_of_the_hospital_that_is_left_out_has_no_effect_on_its_estimates(name: str) -> None:
    values = known(num_hospitals=6, num_runs=9, noise=0.01)
    changes: list[Callable[[Array], Array]] = [
        lambda truth: np.random.default_rng(0).permutation(truth, axis=0),
        lambda truth: 1 - truth,
        np.zeros_like,
        lambda truth: np.full_like(truth, np.nan),
    ]
    before = left_out(entry(name), values)
    assert before.shape == values.truth.shape
    for hospital in range(6):
        for change in changes:
            after = left_out(entry(name), replaced(values, hospital, change))
            assert np.array_equal(after[hospital], before[hospital], equal_nan=True)
    # the other hospitals' truth has an effect, so the comparison can fail
    if entry(name).facts["given"] == "hospitals" and name != "internal":
        after = left_out(entry(name), replaced(values, 0, lambda truth: 1 - truth))
        assert not np.array_equal(after[1], before[1])
