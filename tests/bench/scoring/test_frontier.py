"""The frontier of value and cost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.scoring.frontier import chance_on_frontier, gain_over_cheaper, pareto

numbers = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
def test_a_run_is_on_the_frontier_unless_another_is_at_least_as_good_in_both_and_better_in_one(
    runs: list[tuple[float, float]],
) -> None:
    found = pareto(np.array([v for v, _ in runs]), np.array([c for _, c in runs]))
    for (value, cost), on_it in zip(runs, found, strict=True):
        beaten = any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in runs)
        assert on_it == (not beaten)


def test_a_run_without_cost_or_value_neither_stands_on_the_frontier_nor_keeps_others_off() -> None:
    found = pareto(np.array([0.9, np.nan, 0.8]), np.array([np.nan, 1.0, 2.0]))
    assert found.tolist() == [False, False, True]


def test_the_chance_to_be_on_the_frontier_counts_replicates() -> None:
    replicates = np.array([[0.8, 0.8, 0.8, np.nan], [0.7, 0.9, 0.9, 0.9]])
    assert chance_on_frontier(replicates, np.array([1.0, 2.0])).tolist() == [1.0, 2 / 3]
    assert np.isnan(chance_on_frontier(np.full((2, 3), np.nan), np.array([1.0, 2.0]))).all()


def test_a_bigger_budget_is_held_against_the_best_of_the_cheaper() -> None:
    value, cost = np.array([0.8, 0.7, 0.85]), np.array([1.0, 2.0, 3.0])
    gain, drawn = gain_over_cheaper(value, np.array([[0.8, 0.82], [0.7, 0.7], [0.85, 0.8]]), cost)
    np.testing.assert_allclose(gain, [np.nan, -0.1, 0.05])
    np.testing.assert_allclose(drawn[2], [0.05, -0.02])
