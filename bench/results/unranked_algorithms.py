"""Rows of the table `algorithms` for runs with test-time statistics, which see external images and are not ranked."""

from collections.abc import Collection

import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.grid_recipes import configuration, trained_by
from bench.results.read_predictions import load_all_replicates
from bench.scoring.across_runs.algorithms import algorithms
from bench.scoring.across_runs.recipes import Recipes, macro_auroc
from reports.schemas.select import select


def with_test_time(
    manifest: Manifest,
    ranked_rows: pd.DataFrame,
    scores: pd.DataFrame,
    ranked: Collection[str],
    scored: Collection[str],
) -> pd.DataFrame:
    """Return the table `algorithms` with rows for test-time statistics below those of ranked runs, which stay as they are.

    Such a recipe is compared with the ranked ERM recipe that has the same other settings. `scores`: rows of all scored runs.
    `ranked`, `scored`: ids of the scored runs that are ranked, and of all scored runs. Holm's correction of the added rows is over the
    added algorithms.
    """
    test_time = [run for run in manifest.runs if run.id in scored and run.test_time]
    if not test_time:
        return ranked_rows
    erm = [run for run in manifest.runs if run.id in ranked and run.config.algorithm == "erm"]
    runs = [*erm, *test_time]
    ids = [run.id for run in runs]
    replicates = load_all_replicates(manifest, ids)
    recipes = Recipes.of_configs({run.id: configuration(run) for run in runs}, replicates)
    trained = trained_by(manifest, recipes)
    of_runs = select(scores[scores["run_id"].isin(ids)])
    plain = macro_auroc(recipes.replaced(of_runs, recipes.of_scores(of_runs)))
    internal = manifest.source
    table = algorithms(trained, plain, recipes.replicates(replicates), internal)
    # internal scores are those of ERM, and intervals over seeds would hide it
    return pd.concat([ranked_rows, table[table["dataset"] != internal]], ignore_index=True)
