"""Recipes: means over seeds, with intervals over patients and seeds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import polygamma
from scipy.stats import t as student

from bench.scoring.across_runs.recipes import SCORE_KEY, Recipes, prior_degrees
from bench.scoring.intervals import NORMAL_QUANTILE
from bench.scoring.metric_bounds import BOUNDS, DIFFERENCE, bounds_of
from tests.drawn_scores import Draws, stored, values

TRUE, PATIENTS = 0.8, 0.008


def study(
    draw: np.random.Generator, sizes: list[int], seed_sd: list[float], num: int = 400
) -> tuple[list[list[str]], pd.DataFrame, Draws]:
    """Return groups of runs, their scores and draws of them; all runs share the patients and have the same true score."""
    groups = [[f"{recipe}.{seed}" for seed in range(size)] for recipe, size in enumerate(sizes)]
    error, resampled = draw.normal(0, PATIENTS), draw.normal(0, PATIENTS, num)
    value = {run: TRUE + error + draw.normal(0, sd) for group, sd in zip(groups, seed_sd, strict=True) for run in group}
    half = NORMAL_QUANTILE * PATIENTS
    rows = [(run, name, v, v - half, v + half, 7) for run, v in value.items() for name in ("external", "nih")]
    drawn = {run: {"auroc/external": v + resampled, "auroc/nih": v + resampled} for run, v in value.items()}
    table = pd.DataFrame(rows, columns=["run_id", "dataset", "value", "low", "high", "n"])
    return groups, table.assign(metric=DIFFERENCE), drawn


def test_a_recipe_is_the_mean_of_its_runs_with_an_interval_over_patients_and_seeds() -> None:
    groups, rows, drawn = study(np.random.default_rng(1), [3, 3], [0.02, 0.02], 4000)
    recipes = Recipes.of(groups, values(drawn))
    assert list(recipes.runs_of) == ["0.0-seeds", "1.0-seeds"]
    found = recipes.averaged(rows, ["dataset"]).set_index(["run_id", "dataset"])
    assert found["n"].tolist() == [7] * 4
    of_runs = rows[rows["dataset"] == "nih"].set_index("run_id")["value"]
    variance = [of_runs[group].var(ddof=1) for group in groups]
    pooled = float(np.mean(variance))
    for recipe, group, own in zip(recipes.runs_of, groups, variance, strict=True):
        row = found.loc[(recipe, "nih")]
        assert row["value"] == pytest.approx(of_runs[group].mean())
        weight = 2 / (2 + recipes.prior)
        moderated = weight * own + (1 - weight) * pooled
        over_seeds = student.isf(0.025, min(recipes.prior + 2, 4)) * np.sqrt(moderated / 3)
        half = np.hypot(NORMAL_QUANTILE * PATIENTS, over_seeds)
        assert row["high"] - row["value"] == pytest.approx(half)
        assert row["value"] - row["low"] == pytest.approx(half)
        covariances = recipes.covariances(stored(drawn))
        error = np.sqrt(covariances.of_score("auroc/nih", [recipe])[0, 0])
        assert error * NORMAL_QUANTILE == pytest.approx(half, rel=0.05)  # the draws vary by chance
        # scores of two hospitals that agree for every run have the same error
        difference = {"auroc/nih": np.ones((1, 1)), "auroc/external": -np.ones((1, 1))}
        assert covariances.of_combinations([recipe], difference)[0, 0] == pytest.approx(0, abs=1e-12)


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
    draw, averaged, of_covariances = np.random.default_rng(2), [], []
    for _ in range(250):
        groups, rows, drawn = study(draw, sizes, seed_sd)
        recipes = Recipes.of(groups, values(drawn))
        table = recipes.averaged(rows[rows["dataset"] == "external"], ["dataset"])
        averaged += ((table["low"] <= TRUE) & (table["high"] >= TRUE)).tolist()
        variance = np.diag(recipes.covariances(stored(drawn)).of_score("auroc/external", table["run_id"].tolist()))
        half = NORMAL_QUANTILE * np.sqrt(variance)
        of_covariances += (np.abs(table["value"] - TRUE) <= half).tolist()
    assert 0.92 < np.mean(averaged) < 0.985
    assert 0.92 < np.mean(of_covariances) < 0.985


def test_the_errors_of_seeds_keep_their_spread_and_the_correlation_of_two_hospitals() -> None:
    draw = np.random.default_rng(8)
    groups = [[f"{recipe}.{seed}" for seed in range(3)] for recipe in range(86)]
    drawn: Draws = {}
    for run in (run for group in groups for run in group):
        shared, own = draw.normal(0, 0.02, 2)
        drawn[run] = {"auroc/external": np.array([TRUE + shared]), "auroc/nih": np.array([TRUE + shared + own])}
    recipes = Recipes.of(groups, values(drawn))
    assert np.isinf(recipes.prior)  # the pooled variance counts alone
    names = "auroc/external", "auroc/nih"
    external, nih, both = (recipes.over_seeds(*pair)["0.0-seeds"] for pair in ((names[0],) * 2, (names[1],) * 2, names))
    assert external == pytest.approx(0.02**2 / 3, rel=0.2)
    assert nih == pytest.approx(0.02**2 * 2 / 3, rel=0.2)
    assert both / np.sqrt(external * nih) == pytest.approx(np.sqrt(0.5), abs=0.07)
    assert recipes.covariances(stored(drawn)).of_score(names[0], ["0.0-seeds", "1.0-seeds"])[0, 1] == 0


def test_without_seeds_a_recipe_is_its_run() -> None:
    groups, rows, drawn = study(np.random.default_rng(3), [1, 1], [0.02] * 2)
    recipes = Recipes.of(groups, values(drawn))
    assert not recipes.has_seeds
    assert list(recipes.runs_of) == ["0.0", "1.0"]
    assert recipes.averaged(rows, ["dataset"]).empty
    assert recipes.replaced(rows, rows.iloc[:0]).equals(rows)
    found = recipes.covariances(stored(drawn)).of_score("auroc/nih", ["1.0"])
    assert found[0, 0] == pytest.approx(drawn["1.0"]["auroc/nih"].var(ddof=1))


def test_two_runs_alone_are_averaged_but_say_too_little_about_seeds() -> None:
    groups, rows, drawn = study(np.random.default_rng(4), [2, 1], [0.05] * 2)
    recipes = Recipes.of(groups, values(drawn))
    assert not recipes.has_seeds
    assert recipes.joined == {"0.0-seeds": ("0.0", "0.1")}
    found = recipes.averaged(rows, ["dataset"])
    of_runs = rows[rows["run_id"].isin(["0.0", "0.1"]) & (rows["dataset"] == "nih")]
    assert found[found["dataset"] == "nih"][["low", "high"]].to_numpy() == pytest.approx(
        of_runs[["low", "high"]].mean().to_numpy()[None]
    )


def test_a_run_without_other_seeds_gets_the_scatter_of_the_other_recipes() -> None:
    groups, rows, drawn = study(np.random.default_rng(5), [1, 4], [0.02] * 2)
    recipes = Recipes.of(groups, values(drawn))
    table = recipes.averaged(rows, ["dataset"]).set_index("run_id")
    width = (table["high"] - table["low"]).groupby("run_id").min()
    assert width["0.0-seeds"] > 1.2 * width["1.0-seeds"]


def test_a_row_that_a_run_lacks_is_left_out_and_a_missing_number_stays_missing() -> None:
    groups, rows, drawn = study(np.random.default_rng(6), [2, 2], [0.02] * 2)
    rows.loc[(rows["run_id"] == "0.0") & (rows["dataset"] == "nih"), ["value", "low", "high"]] = np.nan
    rows = rows[(rows["run_id"] != "1.0") | (rows["dataset"] != "nih")]
    found = Recipes.of(groups, values(drawn)).averaged(rows, ["dataset"]).set_index(["run_id", "dataset"])
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
    groups, rows, drawn = study(np.random.default_rng(7), [3, 3], [0.02] * 2)
    recipes = Recipes.of(groups, values(drawn))
    plain, shares = recipes.averaged(rows, ["dataset"]), recipes.averaged(rows, ["dataset"], metric="auroc")
    assert shares[["low", "high"]].to_numpy() == pytest.approx(plain[["low", "high"]].to_numpy(), abs=0.02)
    near_one = rows.assign(value=rows["value"] + 0.17, low=rows["low"] + 0.17, high=0.999)
    assert (recipes.averaged(near_one, ["dataset"], metric="auroc")["high"] < 1).all()
    assert (recipes.averaged(near_one, ["dataset"])["high"] > 1).any()


@pytest.mark.parametrize("metric", [*BOUNDS, "auroc_spread", "brier_resolution_spread"])
def test_an_interval_ends_at_the_bounds_of_its_metric_and_contains_its_value(metric: str) -> None:
    """Runs that scatter widely near both bounds: in the column `metric`, or named for tables without it."""
    least, most = bounds_of(metric)
    high = min(most, 1.0)  # a metric without one bound is tried within one unit of the other
    low = max(least, high - 1)
    groups, rows, drawn = study(np.random.default_rng(13), [3, 3], [0.2] * 2)
    recipes, range_ = Recipes.of(groups, values(drawn)), high - low
    for value in (low + 0.01 * range_, high - 0.01 * range_, low, high):
        number = (value + range_ * (rows["value"] - rows["value"].mean())).clip(low, high)
        wide = rows.assign(value=number, low=(number - 0.2).clip(lower=low), high=(number + 0.2).clip(upper=high))
        for found in (
            recipes.averaged(wide.assign(metric=metric), ["dataset"]),
            recipes.averaged(wide.drop(columns="metric"), ["dataset"], metric=metric),
        ):
            assert ((least <= found["low"]) & (found["low"] <= found["value"])).all()
            assert ((found["value"] <= found["high"]) & (found["high"] <= most)).all()


def test_a_table_without_a_metric_is_not_averaged() -> None:
    groups, rows, drawn = study(np.random.default_rng(14), [3, 3], [0.02] * 2)
    with pytest.raises(KeyError, match="metric"):
        Recipes.of(groups, values(drawn)).averaged(rows.drop(columns="metric"), ["dataset"])


def test_a_run_without_a_number_at_one_hospital_takes_no_number_from_other_recipes() -> None:
    groups, rows, drawn = study(np.random.default_rng(8), [3, 3, 3], [0.02] * 3)
    lost = {**drawn, "2.1": {**drawn["2.1"], "auroc/nih": np.full(400, np.nan)}}
    recipes = Recipes.of(groups, values(lost))
    covariances = recipes.covariances(stored(lost))
    assert np.isfinite(covariances.of_score("auroc/nih", ["0.0-seeds", "1.0-seeds"])).all()
    assert not covariances.has("2.0-seeds", "auroc/nih")
    assert np.isnan(covariances.value("2.0-seeds", "auroc/nih"))
    alone = rows[(rows["dataset"] == "external") | rows["run_id"].str.startswith("0.")]
    one_run = Recipes.of([["0.0"], *groups[1:]], values(drawn)).averaged(
        alone[~alone["run_id"].isin(["0.1", "0.2"])], ["dataset"]
    )
    assert np.isfinite(
        one_run.set_index(["run_id", "dataset"]).loc[("0.0-seeds", "nih"), ["low", "high"]].astype(float)
    ).all()


def test_unequal_scatter_of_few_seeds_gives_no_endless_interval() -> None:
    groups, rows, drawn = study(np.random.default_rng(9), [2, 2, 1], [0.02, 0.0001, 0.01])
    recipes = Recipes.of(groups, values(drawn))
    # Student's t with two degrees of freedom
    assert max(recipes.quantile(recipe) for recipe in recipes.runs_of) <= 4.31
    table = recipes.averaged(rows, ["dataset"], metric="auroc")
    assert table["low"].min() >= 0
    assert table["high"].max() <= 1


def test_a_share_whose_bound_is_1_stays_at_most_1() -> None:
    groups, rows, drawn = study(np.random.default_rng(10), [3, 3], [0.02] * 2)
    table = Recipes.of(groups, values(drawn)).averaged(rows.assign(high=1.0), ["dataset"], metric="auroc")
    assert (table["high"] == 1).all()


@pytest.mark.parametrize("at_once", [1, 12, 100_000])
def test_the_recipes_of_a_table_are_those_of_each_metric_alone(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, rows, drawn = study(np.random.default_rng(12), [3, 2], [0.02] * 2)
    names = ["auroc", "auroc_gap", "ece", "nll"]  # shares, and numbers that can be below 0 or above 1
    table = pd.concat(rows.assign(metric=name, value=rows["value"] / (k + 1)) for k, name in enumerate(names))
    table = table.assign(**{name: "" for name in SCORE_KEY if name not in table})
    table = table.sample(frac=1, random_state=0).astype({"metric": "category"})
    recipes = Recipes.of(groups, values(drawn))
    monkeypatch.setattr("bench.scoring.across_runs.recipes.ROWS_AT_ONCE", at_once)
    found = recipes.of_scores(table)
    metrics = table["metric"].unique()
    alone = [recipes.averaged(table[table["metric"] == name], SCORE_KEY) for name in metrics]
    pd.testing.assert_frame_equal(found, pd.concat(alone, ignore_index=True), check_exact=True)
    assert len(found) == 2 * 2 * len(names)
