"""Recipes: means over seeds, with intervals over patients and seeds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import polygamma
from scipy.stats import t as student

from bench.scoring.across_runs.recipes import MANY_RUNS, NORMAL_QUANTILE, SCORE_KEY, Recipes, prior_degrees
from bench.scoring.metric_bounds import BOUNDS, DIFFERENCE, bounds_of

Drawn = dict[str, dict[str, NDArray[np.float64]]]
TRUE, PATIENTS = 0.8, 0.008


def study(
    draw: np.random.Generator, sizes: list[int], seed_sd: list[float], num: int = 400
) -> tuple[list[list[str]], pd.DataFrame, Drawn]:
    """Return groups of runs, their scores and their replicates; all runs share the patients and have the same true score."""
    groups = [[f"{recipe}.{seed}" for seed in range(size)] for recipe, size in enumerate(sizes)]
    error, resampled = draw.normal(0, PATIENTS), draw.normal(0, PATIENTS, num)
    value = {run: TRUE + error + draw.normal(0, sd) for group, sd in zip(groups, seed_sd, strict=True) for run in group}
    half = NORMAL_QUANTILE * PATIENTS
    rows = [(run, name, v, v - half, v + half, 7) for run, v in value.items() for name in ("external", "nih")]
    draws = np.zeros(1, np.uint32)
    replicates = {
        run: {"auroc/external": v + resampled, "auroc/nih": v + resampled, "draws": draws} for run, v in value.items()
    }
    table = pd.DataFrame(rows, columns=["run_id", "dataset", "value", "low", "high", "n"])
    return groups, table.assign(metric=DIFFERENCE), replicates


def test_a_recipe_is_the_mean_of_its_runs_with_an_interval_over_patients_and_seeds() -> None:
    groups, rows, replicates = study(np.random.default_rng(1), [3, 3], [0.02, 0.02], 4000)
    recipes = Recipes.of(groups, replicates)
    assert list(recipes.runs_of) == ["0.0-seeds", "1.0-seeds"]
    found = recipes.averaged(rows, ["dataset"]).set_index(["run_id", "dataset"])
    assert found["n"].tolist() == [7] * 4
    values = rows[rows["dataset"] == "nih"].set_index("run_id")["value"]
    variance = [values[group].var(ddof=1) for group in groups]
    pooled = float(np.mean(variance))
    for recipe, group, own in zip(recipes.runs_of, groups, variance, strict=True):
        row = found.loc[(recipe, "nih")]
        assert row["value"] == pytest.approx(values[group].mean())
        weight = 2 / (2 + recipes.prior)
        moderated = weight * own + (1 - weight) * pooled
        over_seeds = student.isf(0.025, min(recipes.prior + 2, 4)) * np.sqrt(moderated / 3)
        half = np.hypot(NORMAL_QUANTILE * PATIENTS, over_seeds)
        assert row["high"] - row["value"] == pytest.approx(half)
        assert row["value"] - row["low"] == pytest.approx(half)
        drawn = recipes.replicates(replicates)[recipe]
        assert drawn["auroc/nih"].std() * NORMAL_QUANTILE == pytest.approx(half, rel=0.1)
        # scores of two hospitals that agree for every run agree in every replicate
        assert drawn["auroc/nih"] == pytest.approx(drawn["auroc/external"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "seed_sd"),
    [
        ([2, 2], [0.02] * 2),
        pytest.param([3] * 6, [0.02] * 6, marks=pytest.mark.thorough),  # between its neighbors
        pytest.param([1, 3, 3, 2], [0.02] * 4, marks=pytest.mark.thorough),
        ([3] * 6, [0.005, 0.01, 0.03] * 2),
    ],
)
def test_the_interval_of_a_recipe_covers_its_mean_over_all_seeds_and_patients(
    sizes: list[int], seed_sd: list[float]
) -> None:
    draw, averaged, resampled = np.random.default_rng(2), [], []
    for _ in range(250):
        groups, rows, replicates = study(draw, sizes, seed_sd)
        recipes = Recipes.of(groups, replicates)
        table = recipes.averaged(rows[rows["dataset"] == "external"], ["dataset"])
        averaged += ((table["low"] <= TRUE) & (table["high"] >= TRUE)).tolist()
        drawn = np.stack([of["auroc/external"] for of in recipes.replicates(replicates).values()])
        low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
        resampled += ((low <= TRUE) & (high >= TRUE)).tolist()
    assert 0.92 < np.mean(averaged) < 0.985
    assert 0.92 < np.mean(resampled) < 0.985


def test_with_many_runs_the_deviations_keep_their_spread_and_the_correlation_of_two_hospitals() -> None:
    draw = np.random.default_rng(8)
    groups = [[f"{recipe}.{seed}" for seed in range(3)] for recipe in range(MANY_RUNS // 3 + 1)]
    replicates: Drawn = {}
    for run in (run for group in groups for run in group):
        shared, own = draw.normal(0, 0.02, 2)
        values = {"auroc/external": shared, "auroc/nih": shared + own}
        replicates[run] = {name: np.full(4000, TRUE + value) for name, value in values.items()}
        replicates[run]["draws"] = np.zeros(1, np.uint32)
    recipes = Recipes.of(groups, replicates)
    assert np.isinf(recipes.prior)  # the pooled variance counts alone
    drawn = recipes.replicates(replicates)["0.0-seeds"]
    external, nih = drawn["auroc/external"], drawn["auroc/nih"]
    assert external.std() == pytest.approx(0.02 / np.sqrt(3), rel=0.1)
    assert nih.std() == pytest.approx(0.02 * np.sqrt(2 / 3), rel=0.1)
    assert np.corrcoef(external, nih)[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.07)


def test_without_seeds_a_recipe_is_its_run() -> None:
    groups, rows, replicates = study(np.random.default_rng(3), [1, 1], [0.02] * 2)
    recipes = Recipes.of(groups, replicates)
    assert not recipes.has_seeds
    assert list(recipes.runs_of) == ["0.0", "1.0"]
    assert recipes.averaged(rows, ["dataset"]).empty
    assert recipes.replaced(rows, rows.iloc[:0]).equals(rows)
    assert recipes.replicates(replicates)["1.0"].keys() == replicates["1.0"].keys()


def test_two_runs_alone_are_averaged_but_say_too_little_about_seeds() -> None:
    groups, rows, replicates = study(np.random.default_rng(4), [2, 1], [0.05] * 2)
    recipes = Recipes.of(groups, replicates)
    assert not recipes.has_seeds
    assert recipes.joined == {"0.0-seeds": ("0.0", "0.1")}
    found = recipes.averaged(rows, ["dataset"])
    of_runs = rows[rows["run_id"].isin(["0.0", "0.1"]) & (rows["dataset"] == "nih")]
    assert found[found["dataset"] == "nih"][["low", "high"]].to_numpy() == pytest.approx(
        of_runs[["low", "high"]].mean().to_numpy()[None]
    )


def test_a_run_without_other_seeds_gets_the_scatter_of_the_other_recipes() -> None:
    groups, rows, replicates = study(np.random.default_rng(5), [1, 4], [0.02] * 2)
    recipes = Recipes.of(groups, replicates)
    table = recipes.averaged(rows, ["dataset"]).set_index("run_id")
    width = (table["high"] - table["low"]).groupby("run_id").min()
    assert width["0.0-seeds"] > 1.2 * width["1.0-seeds"]


def test_a_row_that_a_run_lacks_is_left_out_and_a_missing_number_stays_missing() -> None:
    groups, rows, replicates = study(np.random.default_rng(6), [2, 2], [0.02] * 2)
    rows.loc[(rows["run_id"] == "0.0") & (rows["dataset"] == "nih"), ["value", "low", "high"]] = np.nan
    rows = rows[(rows["run_id"] != "1.0") | (rows["dataset"] != "nih")]
    found = Recipes.of(groups, replicates).averaged(rows, ["dataset"]).set_index(["run_id", "dataset"])
    assert ("1.0-seeds", "nih") not in found.index
    assert np.isnan(found.loc[("0.0-seeds", "nih"), ["value", "low", "high"]].astype(float)).all()


@given(st.floats(1.0, 60.0), st.integers(0, 1000))
@settings(max_examples=20)
def test_the_prior_degrees_are_those_that_the_variances_were_drawn_with(prior: float, seed: int) -> None:
    draw, own = np.random.default_rng(seed), 6.0
    true = prior / draw.chisquare(prior, 40_000)
    found = prior_degrees(true * draw.chisquare(own, 40_000) / own, np.full(40_000, own))
    assert polygamma(1, found / 2) == pytest.approx(polygamma(1, prior / 2), abs=0.06, rel=0.1)


def test_equal_and_missing_variances_have_no_prior_but_the_pooled_variance() -> None:
    assert prior_degrees(np.full(5, 0.1), np.full(5, 2.0)) == np.inf
    assert prior_degrees(np.array([0.0, np.nan, 1.0]), np.full(3, 2.0)) == np.inf
    assert np.isfinite(prior_degrees(np.array([1e-12, 1.0, 1e12]), np.full(3, 8.0)))


def test_the_interval_of_a_share_lies_between_0_and_1_and_near_the_plain_one_far_from_the_ends() -> None:
    groups, rows, replicates = study(np.random.default_rng(7), [3, 3], [0.02] * 2)
    recipes = Recipes.of(groups, replicates)
    plain, shares = recipes.averaged(rows, ["dataset"]), recipes.averaged(rows, ["dataset"], metric="auroc")
    assert shares[["low", "high"]].to_numpy() == pytest.approx(plain[["low", "high"]].to_numpy(), abs=0.02)
    near_one = rows.assign(value=rows["value"] + 0.17, low=rows["low"] + 0.17, high=0.999)
    assert (recipes.averaged(near_one, ["dataset"], metric="auroc")["high"] < 1).all()
    assert (recipes.averaged(near_one, ["dataset"])["high"] > 1).any()


@pytest.mark.parametrize("metric", [*BOUNDS, "auroc_spread", "brier_resolution_spread"])
def test_an_interval_ends_at_the_bounds_of_its_metric_and_contains_its_value(metric: str) -> None:
    """Runs that scatter widely near both bounds: in the column `metric`, or named for tables without it."""
    low, high = bounds_of(metric)
    groups, rows, replicates = study(np.random.default_rng(13), [3, 3], [0.2] * 2)
    recipes, range_ = Recipes.of(groups, replicates), high - low
    for value in (low + 0.01 * range_, high - 0.01 * range_, low, high):
        number = (value + range_ * (rows["value"] - rows["value"].mean())).clip(low, high)
        wide = rows.assign(value=number, low=(number - 0.2).clip(lower=low), high=(number + 0.2).clip(upper=high))
        for found in (
            recipes.averaged(wide.assign(metric=metric), ["dataset"]),
            recipes.averaged(wide.drop(columns="metric"), ["dataset"], metric=metric),
        ):
            assert ((low <= found["low"]) & (found["low"] <= found["value"])).all()
            assert ((found["value"] <= found["high"]) & (found["high"] <= high)).all()


def test_a_table_without_a_metric_is_not_averaged() -> None:
    groups, rows, replicates = study(np.random.default_rng(14), [3, 3], [0.02] * 2)
    with pytest.raises(KeyError, match="metric"):
        Recipes.of(groups, replicates).averaged(rows.drop(columns="metric"), ["dataset"])


def test_a_run_without_a_number_at_one_hospital_takes_no_number_from_other_recipes() -> None:
    groups, rows, replicates = study(np.random.default_rng(8), [3, 3, 3], [0.02] * 3)
    replicates["2.1"]["auroc/nih"] = np.full_like(replicates["2.1"]["auroc/nih"], np.nan)
    drawn = Recipes.of(groups, replicates).replicates(replicates)
    assert np.isfinite(drawn["0.0-seeds"]["auroc/nih"]).all()
    assert np.isnan(drawn["2.0-seeds"]["auroc/nih"]).all()
    alone = rows[(rows["dataset"] == "external") | rows["run_id"].str.startswith("0.")]
    one_run = Recipes.of([["0.0"], *groups[1:]], replicates).averaged(
        alone[~alone["run_id"].isin(["0.1", "0.2"])], ["dataset"]
    )
    assert np.isfinite(
        one_run.set_index(["run_id", "dataset"]).loc[("0.0-seeds", "nih"), ["low", "high"]].astype(float)
    ).all()


def test_unequal_scatter_of_few_seeds_gives_no_endless_interval() -> None:
    groups, rows, replicates = study(np.random.default_rng(9), [2, 2, 1], [0.02, 0.0001, 0.01])
    recipes = Recipes.of(groups, replicates)
    assert (
        max(recipes.quantile(recipe) for recipe in recipes.runs_of) <= 4.31
    )  # Student's t with two degrees of freedom
    table = recipes.averaged(rows, ["dataset"], metric="auroc")
    assert table["low"].min() >= 0
    assert table["high"].max() <= 1


def test_a_share_whose_bound_is_1_stays_at_most_1() -> None:
    groups, rows, replicates = study(np.random.default_rng(10), [3, 3], [0.02] * 2)
    table = Recipes.of(groups, replicates).averaged(rows.assign(high=1.0), ["dataset"], metric="auroc")
    assert (table["high"] == 1).all()


@pytest.mark.parametrize("at_once", [1, 12, 100_000])
def test_the_recipes_of_a_table_are_those_of_each_metric_alone(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, rows, replicates = study(np.random.default_rng(12), [3, 2], [0.02] * 2)
    names = ["auroc", "auroc_gap", "ece", "nll"]  # shares, and numbers that can be below 0 or above 1
    table = pd.concat(rows.assign(metric=name, value=rows["value"] / (k + 1)) for k, name in enumerate(names))
    table = table.assign(**{name: "" for name in SCORE_KEY if name not in table})
    table = table.sample(frac=1, random_state=0).astype({"metric": "category"})
    recipes = Recipes.of(groups, replicates)
    monkeypatch.setattr("bench.scoring.across_runs.recipes.ROWS_AT_ONCE", at_once)
    found = recipes.of_scores(table)
    metrics = table["metric"].unique()
    alone = [recipes.averaged(table[table["metric"] == name], SCORE_KEY) for name in metrics]
    pd.testing.assert_frame_equal(found, pd.concat(alone, ignore_index=True), check_exact=True)
    assert len(found) == 2 * 2 * len(names)
