"""The frontier of value and cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scoring.across_runs.frontier import device_hours, gain_over_cheaper, pareto
from tests.nonempty import nonempty

numbers = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
def test_a_run_is_on_the_frontier_unless_another_is_at_least_as_good_in_both_and_better_in_one(
    runs: list[tuple[float, float]],
) -> None:
    found = pareto(np.array([v for v, _ in runs]), np.array([c for _, c in runs]))
    for (value, cost), on_it in nonempty(zip(runs, found, strict=True)):
        beaten = any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in runs)
        assert on_it == (not beaten)


def test_a_run_without_cost_or_value_is_not_on_the_frontier_and_excludes_no_other_run() -> None:
    found = pareto(np.array([0.9, np.nan, 0.8]), np.array([np.nan, 1.0, 2.0]))
    assert found.tolist() == [False, False, True]


def test_a_run_is_compared_with_the_best_cheaper_run() -> None:
    value, cost = np.array([0.8, 0.7, 0.85]), np.array([1.0, 2.0, 3.0])
    covariance = np.array([[0.0002, 0, -0.0005], [0, 0, 0], [-0.0005, 0, 0.00125]])
    gain = gain_over_cheaper(value, covariance, cost, None)
    np.testing.assert_allclose(gain.value, [np.nan, -0.1, 0.05])
    # the difference from the first run, not the second, has the variance .0002 + .00125 + 2 * .0005 = .07² / 2
    assert gain.high[2] - gain.value[2] == pytest.approx(1.959964 * 0.07 / np.sqrt(2))


def test_hours_are_those_on_the_most_frequent_device() -> None:
    seconds = {"a": 7200.0, "b": 3600.0, "c": 1800.0, "d": np.nan, "e": 60.0}
    devices = {"a": "NVIDIA H200", "b": "NVIDIA H200", "c": "cpu (1 thread)", "d": "NVIDIA H200", "e": ""}
    assert device_hours(seconds, devices) == {"a": 2.0, "b": 1.0}
    assert device_hours({}, {}) == {}
