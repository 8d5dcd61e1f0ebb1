"""Undominated runs in several goals, their probability, and the goal for heat maps."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.scoring.across_runs.ablation_tables import MetricOfRuns
from bench.scoring.across_runs.frontier import chance_undominated, pareto, undominated
from bench.scoring.across_runs.pareto import goals, maps_on_finding

NUMBERS = arrays(np.float64, (7, 3), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0]))


@given(NUMBERS)
def test_undominated_runs_are_those_that_no_other_run_dominates_in_pairwise_comparison(goal):
    def beats(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    expected = [not any(beats(a, b) for a in goal) for b in goal]
    assert undominated(goal).tolist() == expected
    assert undominated(goal).any()


@given(NUMBERS)
def test_two_goals_give_the_frontier(goal):
    assert undominated(goal[:, :2] * [1, -1]).tolist() == pareto(goal[:, 0], goal[:, 1]).tolist()


def test_a_run_with_a_missing_goal_neither_dominates_nor_is_undominated():
    goal = np.array([[9.0, np.nan], [1.0, 1.0], [0.0, 0.0]])
    assert undominated(goal).tolist() == [False, True, False]


def test_the_probability_counts_replicates_and_equal_runs_are_both_undominated():
    goal = np.array([[1.0, 5.0], [1.0, 5.0], [0.0, 1.0]])
    drawn = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    assert chance_undominated(goal, {0: drawn}).tolist() == [0.75, 0.75, 0.25]
    assert np.isnan(chance_undominated(goal, {0: np.full((3, 4), np.nan)})).all()
    assert np.isnan(chance_undominated(goal, {})).all()


def found(auroc, gap):
    ids = [f"r{k}" for k in range(len(auroc))]
    spread = np.random.default_rng(0).normal(0, 1e-4, 50)
    return {
        name: MetricOfRuns(ids, np.array(v), np.array(v)[:, None] + spread)
        for name, v in (("auroc", auroc), ("gap", gap))
    }


def test_a_run_that_is_best_in_one_goal_is_undominated_and_a_run_that_is_worse_in_all_is_not():
    known = found([0.8, 0.7, 0.6, 0.65], [0.1, 0.02, 0.2, 0.15])
    macs = {"r0": 5e9, "r1": 5e9, "r2": 1e9, "r3": 6e9}
    table = goals(known, macs, {f"r{k}": 1.0 for k in range(4)})
    assert table["goal"].unique().tolist() == ["auroc gap maps macs"]
    assert dict(zip(table["run_id"], table["on_front"], strict=True)) == {
        "r0": True,
        "r1": True,
        "r2": True,
        "r3": False,
    }
    assert table["p_front"].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_without_maps_three_goals_are_compared_and_a_run_without_operations_is_left_out():
    table = goals(found([0.8, 0.7, 0.6], [0.1, 0.2, 0.3]), {"r0": 5e9, "r1": 1e9}, {})
    assert table["goal"].unique().tolist() == ["auroc gap macs"]
    assert table["run_id"].tolist() == ["r0", "r1"]
    assert table["maps"].isna().all()


def test_one_run_or_no_gap_gives_an_empty_table():
    assert goals(found([0.8], [0.1]), {"r0": 1e9}, {}).empty
    assert goals({"auroc": found([0.8, 0.7], [0.1, 0.2])["auroc"]}, {"r0": 1e9, "r1": 1e9}, {}).empty


def test_maps_are_compared_with_the_center_baseline_at_external_hospitals():
    columns = ("run_id", "dataset", "finding", "by", "region", "metric", "value")
    rows = [
        ("r", "internal", "all", "network", "finding", "enrichment", 9.0),
        ("r", "internal", "all", "centre", "finding", "enrichment", 1.0),
        ("r", "a", "all", "network", "finding", "enrichment", 3.0),
        ("r", "a", "all", "centre", "finding", "enrichment", 2.0),
        ("r", "b", "all", "network", "finding", "enrichment", 1.0),
        ("r", "b", "all", "centre", "finding", "enrichment", 2.0),
        ("r", "c", "all", "network", "finding", "enrichment", 4.0),
        ("r", "c", "all", "centre", "finding", "enrichment", np.nan),
        ("r", "a", "Edema", "network", "finding", "enrichment", 99.0),
        ("q", "a", "all", "network", "border", "enrichment", 99.0),
    ]
    assert maps_on_finding(pd.DataFrame(rows, columns=list(columns)), "internal") == {"r": 1.0}
    assert maps_on_finding(pd.DataFrame(columns=list(columns)), "internal") == {}
