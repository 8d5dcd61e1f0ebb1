"""Differences between training algorithms and ERM, on studies whose true differences are known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.scoring.across_runs.algorithms import ALL, ERM, TrainedRecipe, algorithms
from bench.scoring.across_runs.recipes import Recipes
from reports.schemas.tables import SCHEMAS
from tests.adjusted import adjusted
from tests.drawn_scores import stored, values

INTERNAL = "a+b"
COHORTS = (
    ("external", "all"),
    ("north", "all"),
    ("south", "all"),
    *((INTERNAL, s) for s in ("test", "test:a", "test:b")),
)
NUM = 300  # draws
PATIENTS, OF_ALGORITHM, SEEDS = 0.02, 0.004, 0.003  # standard deviations: shared by all runs, of a recipe, of a run


def study(
    true: dict[str, float],
    *,
    networks: tuple[str, ...] = ("small",),
    seeds: int = 4,
    inside: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[dict[str, TrainedRecipe], pd.DataFrame, Any]:
    """Return the arguments of `algorithms` for recipes with known true differences from ERM.

    The sampled patients move the AUROC of all runs by the same amount, and that of each recipe by an amount of its own;
    the draws vary in the same way. Each seed moves its own run. `inside`: true difference at the internal cohort.
    """
    rng = rng or np.random.default_rng(0)
    configs, value, drawn, named = {}, {}, {}, {}
    for network in networks:
        for algorithm, difference in {ERM: 0.0, **true}.items():
            sampled = {cohort: rng.normal(0, OF_ALGORITHM) for cohort in COHORTS}
            resampled = {cohort: rng.normal(0, OF_ALGORITHM, NUM) for cohort in COHORTS}
            for seed in range(seeds):
                run = f"{network}-{algorithm}-{seed}"
                configs[run], named[run] = {"of": (network, algorithm), "seed": seed}, (network, algorithm)
                value[run], drawn[run] = {}, {}
                moved = rng.normal(0, SEEDS)
                for cohort in COHORTS:
                    effect = (inside if cohort[0] == INTERNAL else difference) if algorithm != ERM else 0.0
                    value[run][cohort] = 0.8 + effect + sampled[cohort] + moved
                    name = "/".join(("auroc", *(cohort if cohort[1].startswith("test:") else cohort[:1])))
                    drawn[run][name] = value[run][cohort] + resampled[cohort]
    shared = {"auroc" + k.removeprefix("auroc"): rng.normal(0, PATIENTS, NUM) for k in next(iter(drawn.values()))}
    for of in drawn.values():
        of.update({name: of[name] + shared[name] for name in of})
    recipes = Recipes.of_configs(configs, values(drawn))
    covariances = recipes.covariances(stored(drawn))
    rows = [
        (recipe, *cohort, "macro", "auroc", "none", "all", float(np.mean([value[run][cohort] for run in run_ids])))
        for recipe, run_ids in recipes.runs_of.items()
        for cohort in COHORTS
    ]
    names = {cohort: "/".join(("auroc", *(cohort if ":" in cohort[1] else cohort[:1]))) for cohort in COHORTS}
    halves = [1.959964 * float(np.sqrt(covariances.of_score(names[row[1:3]], [row[0]])[0, 0])) for row in rows]
    rows = [(*row, row[-1] - half, row[-1] + half) for row, half in zip(rows, halves, strict=True)]
    columns = ["run_id", "dataset", "split", "finding", "metric", "calibrator", "subgroup", "value", "low", "high"]
    trained = {
        recipe: TrainedRecipe(
            named[run_ids[0]][1], named[run_ids[0]][0], frozenset((seed, "") for seed in range(seeds))
        )
        for recipe, run_ids in recipes.runs_of.items()
    }
    return trained, pd.DataFrame(rows, columns=columns), covariances


def of_mean(table: pd.DataFrame, dataset: str = "external", split: str = "all") -> pd.DataFrame:
    rows = table[(table["setting"] == ALL) & (table["dataset"] == dataset) & (table["split"] == split)]
    return rows.set_index("algorithm")


def test_an_algorithm_that_is_better_by_a_fixed_amount_is_found_and_an_equal_one_is_not() -> None:
    found = of_mean(algorithms(*study({"better": 0.05, "equal": 0.0, "worse": -0.05}), INTERNAL))
    assert found["p_holm"]["better"] < 0.001
    assert found["all_low"]["better"] > 0
    assert found["low"]["better"] < 0.05 < found["high"]["better"]
    assert found["p_holm"]["worse"] < 0.001
    assert found["all_high"]["worse"] < 0
    assert found["p_holm"]["equal"] > 0.05
    assert found["all_low"]["equal"] < 0 < found["all_high"]["equal"]


def test_the_price_inside_is_that_of_each_training_hospital() -> None:
    table = algorithms(*study({"better": 0.05}, inside=-0.03), INTERNAL)
    assert list(zip(table["dataset"], table["split"], strict=True)) == list(COHORTS)
    for dataset, split in COHORTS:
        row = of_mean(table, dataset, split).loc["better"]
        assert row["low"] < (-0.03 if dataset == INTERNAL else 0.05) < row["high"]


def test_intervals_are_those_of_the_paired_difference_and_narrower_than_unpaired_ones() -> None:
    trained, scores, covariances = study({"better": 0.01})
    recipe_of = {of.algorithm: recipe for recipe, of in trained.items()}
    row = of_mean(algorithms(trained, scores, covariances, INTERNAL)).loc["better"]
    covariance = covariances.of_score("auroc/external", [recipe_of[name] for name in ("better", ERM)])
    half = 1.959964 * np.sqrt(covariance.trace() - 2 * covariance[0, 1])
    assert [row["low"], row["high"]] == pytest.approx([row["value"] - half, row["value"] + half], abs=1e-8)
    assert half < 0.6 * 1.959964 * np.sqrt(covariance.trace())  # the shared patients cancel


@pytest.mark.slow
def test_p_values_are_adjusted_over_the_algorithms_like_statsmodels_does() -> None:
    true = {f"a{i}": 0.004 * i for i in range(6)}
    table = algorithms(*study(true, networks=("small", "large")), INTERNAL)
    for _, rows in table.groupby(["setting", "dataset", "split"]):
        assert len(rows) == 6
        np.testing.assert_allclose(rows["p_holm"], adjusted(rows["p"], "holm"), rtol=1e-12)
        excludes_0 = (rows["all_low"] > 0) | (rows["all_high"] < 0)
        assert (excludes_0 == (rows["p_holm"] < 0.05)).all()
        assert (rows["all_low"] <= rows["low"]).all()
        assert (rows["high"] <= rows["all_high"]).all()
    assert (of_mean(table)["p_holm"] < 0.05).any()
    assert (of_mean(table)["p_holm"] > 0.05).any()


def test_several_networks_have_a_mean_over_their_pairs_and_rows_of_their_own() -> None:
    trained, scores, covariances = study({"better": 0.02}, networks=("small", "large"), seeds=3)
    table = algorithms(trained, scores, covariances, INTERNAL)
    assert set(table["setting"]) == {ALL, "small", "large"}
    external = table[table["dataset"] == "external"].set_index("setting")
    assert external["value"][ALL] == pytest.approx(external["value"][["small", "large"]].mean())
    assert external["num_pairs"].to_dict() == {ALL: 2, "small": 1, "large": 1}
    assert external["num_run_pairs"].to_dict() == {ALL: 6, "small": 3, "large": 3}
    recipe_of = {(of.setting, of.algorithm): recipe for recipe, of in trained.items()}
    ids = [recipe_of[n, algorithm] for algorithm in ("better", ERM) for n in ("small", "large")]
    weight = np.array([0.5, 0.5, -0.5, -0.5])
    error = np.sqrt(weight @ covariances.of_score("auroc/external", ids) @ weight)
    assert external["high"][ALL] - external["value"][ALL] == pytest.approx(1.959964 * error, abs=1e-8)


def test_only_runs_with_the_same_seed_count_as_pairs_of_runs() -> None:
    trained, scores, covariances = study({"better": 0.02}, seeds=3)
    one_failed = {
        r: of._replace(folds=frozenset({(0, ""), (2, "")})) if of.algorithm == ERM else of for r, of in trained.items()
    }
    assert set(algorithms(one_failed, scores, covariances, INTERNAL)["num_run_pairs"]) == {2}


def test_without_erm_or_without_equal_settings_the_table_is_empty() -> None:
    trained, scores, covariances = study({"better": 0.02})
    for changed in (
        {r: of for r, of in trained.items() if of.algorithm != ERM},
        {r: of for r, of in trained.items() if of.algorithm == ERM},
        {r: of._replace(setting=of.algorithm) for r, of in trained.items()},
    ):
        table = algorithms(changed, scores, covariances, INTERNAL)
        assert len(table) == 0
        assert tuple(table.columns) == SCHEMAS["algorithms"]


def test_a_hospital_without_a_value_or_influences_has_no_row() -> None:
    trained, scores, covariances = study({"better": 0.02, "equal": 0.0})
    better = next(recipe for recipe, of in trained.items() if of.algorithm == "better")
    scores.loc[(scores["dataset"] == "north") & (scores["run_id"] == better), "value"] = np.nan
    has = covariances.has
    covariances.has = lambda run, name: has(run, name) and not name.endswith("test:a")
    table = algorithms(trained, scores, covariances, INTERNAL)
    assert set(of_mean(table, "north").index) == {"equal"}
    assert "test:a" not in set(table["split"])
    assert set(of_mean(table).index) == {"better", "equal"}


@pytest.mark.slow
def test_intervals_contain_the_true_difference_and_equal_algorithms_rarely_seem_different() -> None:
    rng, num, true = np.random.default_rng(5), 200, 0.006
    covered, wrong = 0, 0
    for _ in range(num):
        table = of_mean(algorithms(*study({"better": true, "x": 0.0, "y": 0.0}, seeds=3, rng=rng), INTERNAL))
        covered += table["low"]["better"] <= true <= table["high"]["better"]
        wrong += bool((table["p_holm"][["x", "y"]] < 0.05).any())
    assert covered / num > 0.91  # 0.95 minus 2.6 standard errors
    assert wrong / num < 0.09
