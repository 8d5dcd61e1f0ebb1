"""Recipes of a leave-one-out grid: means over the hospitals that are left out, and scatter over seeds within a hospital."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from bench.scoring.across_runs.recipes import Recipes, seed_groups
from bench.scoring.metric_bounds import DIFFERENCE
from tests.drawn_scores import stored, values
from tests.nonempty import nonempty

HOSPITALS, SEEDS, NUM = ("a", "b", "c"), (0, 1), 400
LEVEL = {"a": 0.9, "b": 0.7, "c": 0.5}  # AUROC at each hospital, which differs much more than between seeds
LOSSES = {"bce": 0.0, "focal": 0.05}


def configs() -> dict[str, dict[str, object]]:
    return {
        f"{loss}-{hospital}-{seed}": {"loss": loss, "leave_out": hospital, "seed": seed}
        for loss, hospital, seed in product(LOSSES, HOSPITALS, SEEDS)
    }


def value(config: dict[str, object]) -> float:
    """Return the AUROC of a run at the hospital that it leaves out: seeds differ by .002."""
    return LEVEL[str(config["leave_out"])] + LOSSES[str(config["loss"])] + 0.001 * (-1) ** int(str(config["seed"]))


def draws() -> dict[str, dict[str, np.ndarray]]:
    """Return draws whose noise is that of the patients: the same for all runs that leave out the same hospital."""
    draw = np.random.default_rng(0)
    noise = {hospital: draw.normal(0, 0.02, NUM) for hospital in HOSPITALS}
    out = {}
    for run, config in configs().items():
        hospital = str(config["leave_out"])
        drawn = value(config) + noise[hospital]
        out[run] = {
            f"auroc/{hospital}": drawn,
            "auroc/external": drawn,
            "draws": np.array([1, HOSPITALS.index(hospital)], np.uint32),
        }
    return out


def table() -> pd.DataFrame:
    """Return the AUROC of each run at its hospital and as external mean, with an interval of plus or minus .04."""
    rows = [
        (run, dataset, "macro", value(config), value(config) - 0.04, value(config) + 0.04)
        for run, config in configs().items()
        for dataset in (str(config["leave_out"]), "external")
    ]
    return pd.DataFrame(rows, columns=["run_id", "dataset", "finding", "value", "low", "high"])


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return Recipes.of_configs(configs(), values(draws()))


def test_runs_that_differ_in_seed_and_left_out_hospital_are_one_recipe() -> None:
    groups = seed_groups(configs())
    assert sorted(map(len, groups)) == [6, 6]
    assert all(len({configs()[run]["loss"] for run in group}) == 1 for group in groups)


def test_degrees_of_freedom_count_seeds_and_not_hospitals(recipes: Recipes) -> None:
    assert [recipes.own_degrees(recipe) for recipe in recipes.runs_of] == [3, 3]  # one for each hospital
    assert recipes.degrees == 6
    assert recipes.of_one_fold == {}


def test_scatter_is_between_seeds_of_the_same_hospital(recipes: Recipes) -> None:
    deviations = [scatter["auroc/external"] for scatter in recipes.scatter.values()]
    np.testing.assert_allclose(np.abs(deviations), 0.001, atol=1e-9)


def test_scores_are_means_over_the_runs_that_have_them(recipes: Recipes) -> None:
    found = recipes.averaged(table(), ("dataset", "finding"), metric=DIFFERENCE).set_index(["run_id", "dataset"])
    for recipe, run_ids in nonempty(recipes.runs_of.items()):
        extra = LOSSES[str(configs()[run_ids[0]]["loss"])]
        for hospital in HOSPITALS:
            assert found.loc[(recipe, hospital), "value"] == pytest.approx(LEVEL[hospital] + extra)
        assert found.loc[(recipe, "external"), "value"] == pytest.approx(np.mean(list(LEVEL.values())) + extra)
        low, high = found.loc[(recipe, "external"), ["low", "high"]]
        # the interval over patients and seeds is little wider than that over patients, although hospitals differ by .4
        assert 0.04 <= (high - low) / 2 < 0.0405


def test_external_means_over_hospitals_with_different_splits_are_averaged(recipes: Recipes) -> None:
    """One hospital is scored on its own test split, the others on all images."""
    rows = table().assign(reference="labels", metric="auroc", finding="macro")
    for name in ("mapping", "subgroup", "selection", "calibrator", "operating_point"):
        rows[name] = "none"
    of_c = rows["run_id"].str.contains("-c-")
    found = recipes.of_scores(rows.assign(split=of_c.map({True: "test", False: "all"})))
    split_of = found.groupby("dataset")["split"].agg(set)
    assert split_of.to_dict() == {"a": {"all"}, "b": {"all"}, "c": {"test"}, "external": {"mixed"}}
    assert len(found[found["dataset"] == "external"]) == len(recipes.runs_of)
    same = recipes.of_scores(rows.assign(split="all"))
    assert set(same["split"]) == {"all"}


def test_a_hospital_without_one_of_its_runs_has_no_mean(recipes: Recipes) -> None:
    rows = table()
    lost = rows[~((rows["run_id"] == "bce-b-1") & (rows["dataset"] == "b"))]
    found = recipes.averaged(lost, ("dataset", "finding"), metric=DIFFERENCE)
    per_recipe = found.groupby("run_id")["dataset"].apply(set)
    assert sorted(map(len, per_recipe)) == [3, 4]
    assert {"a", "c", "external"} in per_recipe.tolist()


def test_errors_are_those_of_means_over_hospitals_whose_patients_are_independent(recipes: Recipes) -> None:
    covariances = recipes.covariances(stored(draws()))
    ids = list(recipes.runs_of)
    for recipe, run_ids in recipes.runs_of.items():
        extra = LOSSES[str(configs()[run_ids[0]]["loss"])]
        assert covariances.value(recipe, "auroc/external") == pytest.approx(0.7 + extra, abs=0.003)
        assert covariances.value(recipe, "auroc/b") == pytest.approx(0.7 + extra, abs=0.003)
    for name, error in (("external", 0.02 / np.sqrt(3)), ("b", 0.02)):  # next to nothing for seeds
        found = covariances.of_score(f"auroc/{name}", ids)
        assert np.sqrt(np.diag(found)) == pytest.approx(error, rel=0.12)
        difference = found.trace() - 2 * found[0, 1]
        assert np.sqrt(difference) < 0.004  # paired: the errors of the patients cancel
