"""The order of the files of tests."""

import numpy as np

from tests.costs import evenly


def test_a_part_of_the_tests_takes_about_the_same_part_of_the_costs() -> None:
    draw = np.random.default_rng(0)
    costs = {
        i: [
            float(cost)
            for cost in (draw.uniform(50, 150, draw.integers(1, 6)) if i < 40 else np.ones(draw.integers(1, 80)))
        ]
        for i in range(300)
    }
    order = evenly(costs)
    assert sorted(order) == sorted(costs)
    each = np.concatenate([costs[i] for i in order])
    share = each.cumsum() / each.sum()
    tests = np.arange(1, len(each) + 1) / len(each)
    largest = max(sum(cost) for cost in costs.values()) / each.sum()
    assert np.abs(share - tests).max() < 2 * largest
    assert sum(costs[order[0]]) > sum(costs[order[-1]])
    # costly files first, one after another, are what the order avoids
    first = np.concatenate([costs[i] for i in sorted(costs)]).cumsum() / each.sum()
    assert np.abs(first - tests).max() > 0.5


def test_files_of_equal_costs_keep_their_order() -> None:
    assert evenly({name: [1.0, 1.0] for name in "cab"}) == ["c", "a", "b"]
    assert evenly({}) == []
