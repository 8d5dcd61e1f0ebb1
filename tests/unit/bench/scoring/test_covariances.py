"""Covariances of scores over runs and recipes, from stored influences of patients."""

import numpy as np
import pytest

from bench.scoring.across_runs.covariances import Covariances, StoredEstimates, draws
from bench.scoring.influence import Estimate, Influence

DRAW = np.random.default_rng(0)
RUNS = ("a", "b", "c")


def estimates(**more: dict[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    """Return estimates at two hospitals with 40 and 30 patients, and their mean."""
    of: dict[str, dict[str, Estimate]] = {}
    for run in RUNS:
        here, there = (Influence({f"{name}/all#1": DRAW.normal(0, 0.1, num)}) for name, num in (("h", 40), ("t", 30)))
        of[run] = {"auroc/h": Estimate(0.8, here), "auroc/t": Estimate(0.7, there)}
        of[run]["auroc/external"] = Estimate(0.75, Influence.mean([here, there]))
    return of | more


def test_covariances_are_the_products_of_influences_summed_over_hospitals() -> None:
    given = estimates()
    found = Covariances.of(given).of_score("auroc/external", ["c", "a"])
    both = Influence.stack([given[run]["auroc/external"].influence for run in ("c", "a")])
    np.testing.assert_allclose(found, both.covariance, rtol=1e-5)
    alone = [StoredEstimates.of(given).variance(run, "auroc/external") for run in ("c", "a")]
    np.testing.assert_allclose(np.diag(found), alone, rtol=1e-5)


def test_the_covariance_of_sums_of_scores_is_that_of_their_influences() -> None:
    given = estimates()
    weights = {"auroc/h": np.array([[1.0, -1, 0], [0, 1, 0]]), "auroc/t": np.array([[0.0, 2, 0], [0, 0, 0]])}
    found = Covariances.of(given).of_combinations(RUNS, weights)
    h, t = ([given[run][f"auroc/{name}"].influence for run in RUNS] for name in "ht")
    expected = Influence.stack([h[0] - h[1] + 2 * t[1], h[1]]).covariance
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_recipe_is_the_mean_of_the_groups_of_runs_that_all_have_the_score() -> None:
    lost = Estimate(float("nan"), Influence({"h/all#1": np.full(40, np.nan)}))
    given = estimates()
    given["c"]["auroc/h"] = lost
    found = Covariances(StoredEstimates.of(given), {"x": [["a", "b"], ["c"]], "y": [["c"]]})
    assert [found.has("x", "auroc/h"), found.has("y", "auroc/h"), found.has("z", "auroc/h")] == [True, False, False]
    assert found.value("x", "auroc/t") == pytest.approx(0.7)
    mean = Influence.mean([given[run]["auroc/h"].influence for run in "ab"])
    assert found.of_score("auroc/h", ["x"])[0, 0] == pytest.approx(mean.error**2, rel=1e-5)


def test_the_covariance_over_seeds_is_added_for_each_recipe() -> None:
    given = StoredEstimates.of(estimates())
    seeds = {"a": 0.5, "b": 0.25}
    with_seeds, without = (
        Covariances(given, {run: [[run]] for run in RUNS}, over_seeds) for over_seeds in (lambda *_: seeds, None)
    )
    added = with_seeds.of_score("auroc/h", RUNS) - without.of_score("auroc/h", RUNS)
    np.testing.assert_allclose(added, np.diag([0.5, 0.25, 0]), atol=1e-12)
    weights = {name: np.eye(3)[:1] for name in ("auroc/h", "auroc/t")}  # the sum of two scores has four covariances
    added = with_seeds.of_combinations(RUNS, weights) - without.of_combinations(RUNS, weights)
    np.testing.assert_allclose(added, [[4 * 0.5]])


def test_other_patients_of_one_split_are_an_error_unless_the_runs_leave_out_different_hospitals() -> None:
    other = {"auroc/h": Estimate(0.8, Influence({"h/all#2": DRAW.normal(0, 0.1, 20)}))}
    given = StoredEstimates.of(estimates(d=other))
    with pytest.raises(ValueError, match="different groups of patients of h/all: score them on the same images first"):
        Covariances(given).of_score("auroc/h", ["a", "d"])
    assert Covariances(given).of_score("auroc/t", ["a", "b"]).shape == (2, 2)
    apart = Covariances(given, left_out={"d": "t"}).of_score("auroc/h", ["a", "d"])
    assert apart[0, 1] == 0
    assert apart[1, 1] > 0


def test_draws_have_the_covariance_also_if_two_runs_are_copies() -> None:
    covariance = np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 0.5]])
    found = draws(covariance, 20_000)
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.03)
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=2e-3)
    assert not draws(np.zeros((2, 2))).any()


def test_no_weighted_sum_has_an_empty_covariance() -> None:
    assert Covariances.of({}).of_combinations([], {}).shape == (0, 0)
