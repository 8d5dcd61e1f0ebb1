"""Region transplant tests of some seeds: the recipe has the mean over the runs that the grid plans to test."""

import numpy as np
import pandas as pd
import pytest

from bench.results.report_tables import _shortcut_scores
from bench.scoring.across_runs.recipes import Recipes
from reports.schemas.tables import SCHEMAS

RUNS = ("a", "b", "c")


def of_recipe(tested: tuple[str, ...], done: tuple[str, ...]) -> list[float]:
    """Return the causal score of the recipe of RUNS. `tested`: planned tests; `done`: those that are finished."""
    same = {"kind": "causal", "donor": "x", "host": "external", "finding": "macro", "subset": "all"}
    rows = [
        {**same, "measure": "abs_dp", "run_id": run, "effect": 0.1 * (i + 1), "value": 0.5, "control": 0.4}
        for i, run in enumerate(RUNS)
        if run in done
    ]
    table = pd.DataFrame(rows).assign(low=0.0, high=1.0, n=9)[list(SCHEMAS["transplants"])]
    recipes = Recipes.of([RUNS], {run: {"auroc/external": 0.8 + i / 100} for i, run in enumerate(RUNS)})
    found = _shortcut_scores({"transplants": table}, recipes, set(tested))["transplants"]
    assert set(found["run_id"]) <= {"a-seeds"}
    return [float(effect) for effect in found["effect"]]


def test_a_recipe_has_the_mean_over_its_tested_runs() -> None:
    assert of_recipe(("a",), ("a",)) == pytest.approx([0.1])
    assert of_recipe(("a", "b"), ("a", "b")) == pytest.approx([0.15])
    assert of_recipe(RUNS, RUNS) == pytest.approx([np.mean([0.1, 0.2, 0.3])])


def test_a_planned_test_that_is_missing_leaves_the_recipe_without_a_mean() -> None:
    assert of_recipe(RUNS, ("a", "b")) == []
