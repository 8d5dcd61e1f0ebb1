from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import studentized_range

from bench.scoring.across_runs.paired_tests import (
    all_pairs,
    benjamini_hochberg,
    holm,
    p_value,
    pair_tests,
    paired,
    simultaneous,
    simultaneous_own,
    with_own_errors,
)
from bench.scoring.across_runs.ranks import mean_gaps, rank_sets, ranks, tie_groups
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import Draws, covariance, covariances

NUM = 1000


def runs(values: list[float], noise: float = 0.01, shared: float = 0.03) -> tuple[pd.DataFrame, Draws]:
    """Return external AUROCs and draws of them that share the noise of the patients."""
    generator = np.random.default_rng(0)
    common = generator.normal(0, shared, NUM)
    names = [f"run{i}" for i in range(len(values))]
    table = pd.DataFrame(
        {"run_id": names, "dataset": "external", "finding": "macro", "metric": "auroc", "value": values}
        | {"low": np.array(values) - 0.06, "high": np.array(values) + 0.06}
    )
    return table, {
        name: {"auroc/external": value + common + generator.normal(0, noise, NUM), "draws": np.array([7], np.uint32)}
        for name, value in zip(names, values, strict=True)
    }


def test_adjusted_p_values_of_a_worked_example() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02])
    with_gap = np.insert(p, 2, np.nan)
    np.testing.assert_allclose(np.delete(holm(with_gap), 2), holm(p))
    assert np.isnan(holm(with_gap)[2])


def test_indistinguishable_runs_share_a_group_and_the_next_run_starts_another() -> None:
    scores, drawn = runs([0.80, 0.805, 0.70, 0.702, 0.60])
    found = ranks(scores, covariances(drawn))
    assert tuple(found.columns) == SCHEMAS["ranks"]
    assert found["run_id"].tolist() == ["run1", "run0", "run3", "run2", "run4"]
    assert found["group"].tolist() == [1, 1, 2, 2, 3]
    assert found["rank_low"].tolist() == [1, 1, 3, 3, 5]
    assert found["rank_high"].tolist() == [2, 2, 4, 4, 5]
    assert found["p_best"].sum() == pytest.approx(1)
    assert (found.iloc[4][["rank_low", "rank_high"]] == [5, 5]).all()


def test_the_anchor_stays_fixed_along_a_chain_of_similar_runs() -> None:
    # each is 1 standard error of a difference below the one before
    scores, drawn = runs([0.80 - 0.0141 * i for i in range(8)])
    groups = ranks(scores, covariances(drawn))["group"].tolist()
    assert groups[0] == groups[1] == 1
    assert max(groups) >= 2


def test_equal_runs_are_separated_in_at_most_one_sample_of_twenty() -> None:
    generator = np.random.default_rng(5)
    noise = 0.01 * generator.normal(size=(24, 400))
    parted = 0
    for _ in range(300):
        value = np.sort(0.8 + 0.01 * generator.normal(size=24))[::-1]
        parted += tie_groups(pair_tests(value, covariance(noise)).p)[-1] > 1
    assert parted / 300 < 0.08  # adjusted over the 23 below the anchor alone: .25


def test_rank_sets_contain_the_ranks_of_equal_runs_and_agree_with_the_tie_groups() -> None:
    """The interval of the first of ten near-equal runs held in .74 of samples when it was made from ranks in resamples of patients."""
    generator, holds, agree, num = np.random.default_rng(8), 0, 0, 300
    noise, true = 0.01 * generator.normal(size=(10, 400)), 0.8 - 0.0005 * np.arange(10)
    for _ in range(num):
        estimate = true + 0.01 * generator.normal(size=10)
        order = np.argsort(-estimate)
        p = pair_tests(estimate[order], covariance(noise)).p
        low, high = rank_sets(p)
        holds += bool(((low <= order + 1) & (order + 1 <= high)).all())
        group = tie_groups(p)
        anchors = np.flatnonzero(np.diff(group, prepend=0))
        agree += bool((np.diff(low[anchors]) > 0).all())
    assert agree == num
    assert holds / num > 0.92


def test_simulated_rank_intervals_contain_all_true_ranks() -> None:
    table = pd.read_csv(Path(__file__).parents[4] / "benchmarks" / "pairs.csv")
    assert (table["zero_width"] == 0).all()
    for part, num, least in (("difference", 64, 0.92), ("mean gap", 12, 0.93)):
        coverage = table.loc[table["part"] == part, "coverage"]
        assert len(coverage) == num
        assert (coverage >= least).all()
    table = table[table["part"] == "ranks"]
    assert len(table) == 12
    assert (table["simulations"] >= 2000).all()
    assert (table["low"] >= 0.95).all()
    assert (table["false"] <= 0.06).all()


def test_rank_sets_of_ten_populations_are_those_of_the_simultaneous_intervals_of_all_differences() -> None:
    """Values 1 to 10 with a standard error of 1, as in the tests of the R package csranks.

    The oracle is Tukey's studentized range: populations differ if they are 4.47 apart, so from five ranks on.
    """
    value = np.arange(10.0, 0, -1)
    low, high = rank_sets(pair_tests(value, np.eye(10)).p)
    differs = value[:, None] - value > studentized_range.ppf(0.95, 10, np.inf)
    assert low.tolist() == (1 + differs.sum(0)).tolist() == [1, 1, 1, 1, 1, 2, 3, 4, 5, 6]
    assert high.tolist() == (10 - differs.sum(1)).tolist() == [5, 6, 7, 8, 9, 10, 10, 10, 10, 10]


def test_p_values_of_all_pairs_are_those_of_each_pair_adjusted_together() -> None:
    generator = np.random.default_rng(6)
    value = np.array([0.82, 0.80, np.nan, 0.79])
    drawn = generator.normal(0, 0.02, NUM) + generator.normal(0, 0.01, (4, NUM))
    found = pair_tests(value, covariance(drawn)).p
    np.testing.assert_array_equal(found, found.T)
    assert np.isnan(found[2]).all()
    pairs = [(0, 1), (0, 3), (1, 3)]
    differences = [(value[[a]] - value[[b]], (drawn[a] - drawn[b]).std(ddof=1, keepdims=True)) for a, b in pairs]
    single = [p_value(*difference)[0] for difference in differences]
    np.testing.assert_allclose([found[pair] for pair in pairs], holm(np.array(single)), rtol=1e-6)


def test_the_interval_of_a_pair_excludes_0_exactly_if_its_adjusted_p_is_below_the_level() -> None:
    generator = np.random.default_rng(7)
    value = 0.8 + 0.03 * generator.normal(size=30)
    tests = pair_tests(value, covariance(0.01 * generator.normal(size=(30, 500))))
    first, second = np.triu_indices(30, 1)
    clear = np.abs(value[first] - value[second]) > tests.half[first, second]
    assert 0 < clear.sum() < len(clear)
    np.testing.assert_array_equal(clear, tests.p[first, second] < 0.05)


def test_shared_noise_of_patients_does_not_affect_a_paired_comparison() -> None:
    scores, drawn = runs([0.80, 0.77], noise=0.005, shared=0.2)
    assert ranks(scores, covariances(drawn))["group"].tolist() == [1, 2]


def test_the_test_has_enough_resolution_for_many_runs() -> None:
    scores, drawn = runs([0.80] + [0.60] * 200)
    assert ranks(scores, covariances(drawn))["group"].tolist() == [1] + [2] * 200


def test_one_run_is_one_group_and_no_run_is_an_empty_table() -> None:
    scores, drawn = runs([0.8])
    [row] = ranks(scores, covariances(drawn)).to_dict("records")
    assert (row["group"], row["rank_low"], row["rank_high"], row["p_best"]) == (1, 1, 1, 1.0)
    for found, name in (
        (ranks(scores[:0], covariances({})), "ranks"),
        (mean_gaps(pd.DataFrame(columns=SCHEMAS["gaps"]), covariances({})), "mean_gaps"),
    ):
        assert found.empty
        assert tuple(found.columns) == SCHEMAS[name]


def test_a_run_without_a_value_is_not_ranked() -> None:
    scores, drawn = runs([0.8, float("nan"), 0.7])
    assert ranks(scores, covariances(drawn))["run_id"].tolist() == ["run0", "run2"]


def test_copies_of_a_run_tie_and_share_the_first_place() -> None:
    scores, drawn = runs([0.8, 0.8])
    drawn = {**drawn, "run1": drawn["run0"]}
    found = ranks(scores, covariances(drawn))
    assert found["group"].tolist() == [1, 1]
    assert found["p_best"].tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_runs_with_other_patients_are_not_compared() -> None:
    scores, drawn = runs([0.8, 0.7])
    drawn = {**drawn, "run1": {**drawn["run1"], "draws": np.array([8], np.uint32)}}
    with pytest.raises(ValueError, match="2 runs were scored on 2 different groups of patients"):
        ranks(scores, covariances(drawn))


def test_mean_gaps_count_runs_that_are_clearly_worse_and_clearly_better() -> None:
    generator = np.random.default_rng(1)
    rows, drawn = [], {}
    for run, gap in (("a", 0.2), ("b", 0.25), ("c", 0.0), ("d", -0.2)):
        drawn[run] = {"draws": np.array([1], np.uint32)}
        for dataset, more in (("nih", 0.0), ("vindr", 0.1), ("external", 0.05)):
            rows.append(
                {
                    **dict.fromkeys(SCHEMAS["gaps"], 0),
                    "run_id": run,
                    "dataset": dataset,
                    "finding": "macro",
                    "value": gap + more,
                    "low": gap + more - 0.04,
                    "high": gap + more + 0.04,
                }
            )
            drawn[run][f"gap/{dataset}"] = gap + more + generator.normal(0, 0.02, NUM)
    found = mean_gaps(pd.DataFrame(rows), covariances(drawn))
    assert tuple(found.columns) == SCHEMAS["mean_gaps"]
    assert found["dataset"].tolist() == ["vindr", "nih", "external"]
    nih = found.iloc[1]
    assert nih.value == pytest.approx(0.0625)
    assert nih.low < nih.value < nih.high
    assert (nih.num_runs, nih.num_worse, nih.num_better) == (4, 2, 1)


def test_perfect_separations_have_mean_gaps_leads_and_pairs_with_an_interval() -> None:
    run_ids, drawn = ["a", "b", "c"], {}
    for run in run_ids:
        drawn[run] = {"draws": np.array([1], np.uint32), "auroc/external": np.ones(NUM)}
        drawn[run] |= {f"gap/{dataset}": np.zeros(NUM) for dataset in ("nih", "vindr", "external")}
    gaps = pd.DataFrame(
        [
            {**dict.fromkeys(SCHEMAS["gaps"], 0), "run_id": r, "dataset": d, "finding": "macro", "value": 0.0}
            | {"low": -0.1, "high": 0.1}
            for r in run_ids
            for d in ("nih", "vindr", "external")
        ]
    )
    found = mean_gaps(gaps, covariances(drawn))
    np.testing.assert_allclose(found[["low", "high"]], [[-0.1, 0.1]] * 3)  # the patients of all runs are the same
    assert (found["all_low"].to_numpy()[:2] < -0.1).all()
    assert (found[["num_worse", "num_better"]] == 0).all(axis=None)
    scores = gaps[gaps["dataset"] == "external"].assign(metric="auroc", value=1.0, low=0.9, high=1.0)
    ranked = ranks(scores, covariances(drawn))
    # as two independent perfect separations: Tango 1998, no discordant pair
    np.testing.assert_allclose(ranked["lead_high"][:2], 0.1, rtol=1e-6)
    np.testing.assert_allclose(ranked["lead_low"][:2], -0.1, rtol=1e-6)
    assert ranked[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 3]] * 3


def test_errors_of_differences_are_those_of_the_own_intervals_as_far_as_they_do_not_cancel() -> None:
    alone = np.array([[0.01, 0.01, 0.0, 0.01, 0.01], [0.01, 0.02, 0.0, 0.01, 0.01]])
    own = np.array([[0.02, 0.02, 0.03, 0.02, np.nan], [0.02, 0.04, 0.04, 0.02, 0.02]])
    error = np.array([0.005, 0.01, 0.0, 0.0, 0.005])
    np.testing.assert_allclose(with_own_errors(error, own, alone), [0.01, 0.02, 0.05, np.sqrt(8e-4), 0.005])
    np.testing.assert_array_equal(with_own_errors(error[3:4], 0 * own[:, 3:4], alone[:, 3:4]), [0.0])


def test_simultaneous_intervals_are_wider_and_hold_together() -> None:
    errors = np.random.default_rng(2).normal(0, 1, (20, 20_000))
    low, high = simultaneous(np.zeros(20), np.eye(20))
    assert (high > 2.5).all()
    inside = ((errors > low[:, None]) & (errors < high[:, None])).all(0).mean()
    assert inside == pytest.approx(0.95, abs=0.01)
    [single_low], [single_high] = simultaneous(np.zeros(1), np.eye(1))
    assert (single_low, single_high) == pytest.approx((-1.96, 1.96), abs=0.1)


def test_simultaneous_intervals_of_areas_stay_inside_0_and_1_and_are_skewed_like_their_own_intervals() -> None:
    drawn = expit(logit(0.97) + np.random.default_rng(3).normal(0, 0.3, (10, 2000)))
    value, own_low, own_high = np.full(10, 0.97), np.full(10, 0.94), np.full(10, 0.986)
    low, high = simultaneous_own("auroc", value, own_low, own_high, covariance(drawn))
    assert ((low > 0) & (low < own_low) & (own_high < high) & (high < 1)).all()
    assert (0.97 - low > 2 * (high - 0.97)).all()


def test_a_number_without_an_interval_changes_only_the_critical_value() -> None:
    variance = covariance(np.random.default_rng(4).uniform(0.4, 0.9, (3, 1000)))
    value, own_low, own_high = np.array([0.6, 0.7, 0.6]), np.array([0.4, 0.5, 0.4]), np.array([0.8, 0.85, 0.8])
    own_low[2] = np.nan
    low, high = simultaneous_own("auroc", value, own_low, own_high, variance)
    assert np.isnan([low[2], high[2]]).all()
    assert np.isfinite([low[:2], high[:2]]).all()


def test_a_family_of_perfect_separations_has_wider_intervals_than_each_alone() -> None:
    value, own_low = np.ones(5), np.full(5, 0.9)
    low, high = simultaneous_own("auroc", value, own_low, value, np.zeros((5, 5)))
    assert (low < 0.88).all()
    assert (high == 1).all()


def test_a_paired_difference_of_a_run_with_itself_is_zero() -> None:
    value = np.array([0.8])
    same = paired(value, value, np.zeros(1))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    apart = paired(value, np.array([0.7]), np.full(1, 0.01))
    assert apart.low < apart.value < apart.high
    assert apart.p < 1e-6


def test_all_pairs_have_the_values_of_each_single_pair() -> None:
    draw = np.random.default_rng(2)
    value, drawn = draw.normal(size=5), draw.normal(size=(5, 200))
    value[4], drawn[1], drawn[2] = np.nan, np.nan, drawn[0]
    first, second, found = all_pairs(value, covariance(drawn))
    assert list(zip(first, second, strict=True)) == list(combinations(range(5), 2))
    for i, (one, two) in enumerate(zip(first, second, strict=True)):
        alone = paired(value[[one]], value[[two]], (drawn[one] - drawn[two]).std(ddof=1, keepdims=True))
        for numbers, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(numbers[i], expected[0], rtol=1e-9)


def test_unknown_errors_give_no_p_and_no_separate_group() -> None:
    p = pair_tests(np.array([0.9, 0.1]), np.full((2, 2), np.nan)).p
    assert np.isnan(p).all()
    assert tie_groups(p).tolist() == [1, 1]
