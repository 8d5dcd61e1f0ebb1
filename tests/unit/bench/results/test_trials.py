"""The trials of a grid with `search`: which trial is chosen, and what the manifest of a plan has."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.manifest import planned_manifest
from bench.planning.plan import Plan, make_plan
from bench.results.grid_recipes import TrialRun, trials_table, with_chosen_runs
from bench.store.store import Store, canonical_json
from tests.tiny_grids import TWO, tiny_with

AUROCS = st.one_of(st.just(float("nan")), st.sampled_from([0.5, 0.6, 0.7]), st.floats(0, 1))
RUNS = st.lists(st.builds(TrialRun, st.sampled_from("ab"), st.integers(0, 3), AUROCS), min_size=1, max_size=30)


def by_pandas(tried: list[TrialRun]) -> dict[str, int]:
    """Choose with group-by and sorting."""
    table = pd.DataFrame(tried, columns=["recipe", "trial", "value"])
    means = table.groupby(["recipe", "trial"])["value"].agg(["count", "mean"]).reset_index()
    means = means[means["count"] == means.groupby("recipe")["count"].transform("max")].fillna({"mean": 0.0})
    best = means.sort_values(["recipe", "mean", "trial"], ascending=[True, False, True]).groupby("recipe").head(1)
    return dict(zip(best["recipe"], best["trial"], strict=True))


@given(RUNS)
def test_the_trial_with_the_best_mean_over_most_seeds_is_chosen(tried: list[TrialRun]) -> None:
    chosen, expected = TrialRun.chosen(tried), by_pandas(tried)
    assert chosen.keys() == expected.keys()
    for recipe in chosen:
        if chosen[recipe] != expected[recipe]:  # two means that differ in the last bit, because their sums do
            of = {t: [r.val_auroc for r in tried if (r.recipe, r.trial) == (recipe, t)] for t in range(4)}
            means = [np.nanmean(of[trials[recipe]]) for trials in (chosen, expected)]
            assert means[0] == pytest.approx(means[1], rel=1e-12)


SEARCH = "search: {trials: 4, over: {schedule.lr: [choice, 0.003, 0.0006]}}\n"


@pytest.fixture
def plan_of(drawn: Callable[[str | Path, Path], Path], tmp_path: Path) -> Callable[[str], Plan]:
    def plan(search: str) -> Plan:
        keys = TWO + search
        path = tiny_with(tmp_path, "tuned", "{algorithm: [erm, swa], seed: [0, 1]}", 0, keys)
        folder = drawn(path, tmp_path)
        grid = Grid.read(str(path), Registry.read())
        return make_plan(grid, Registry.read(), Store.open(folder / "runs"), None, None, 1, "", lambda *_: None)

    return plan


def test_a_grid_without_search_has_the_manifest_and_the_ids_of_trial_0(plan_of: Callable[[str], Plan]) -> None:
    plain, searched = (planned_manifest(plan_of(text), {}, 0) for text in ("", SEARCH))
    assert plain.search is None
    assert searched.search is not None
    assert len(searched.runs) > len(plain.runs) == 4
    assert [trials[0] for trials in searched.search.runs] == [run.id for run in plain.runs]
    alone = replace(searched, runs=searched.runs[:4], search=None)
    assert canonical_json(alone.document) == canonical_json(plain.document)


def test_before_training_trial_0_of_every_recipe_is_shown(plan_of: Callable[[str], Plan]) -> None:
    plan = plan_of(SEARCH)
    manifest = planned_manifest(plan, {}, 0)
    table = trials_table(manifest)
    assert len(table) == 2 * 2 * 4
    assert table["val_auroc"].isna().all()
    assert set(table.loc[table["chosen"], "trial"]) == {0}
    shown = with_chosen_runs(manifest)
    assert [run.id for run in shown.runs] == [trials[0] for trials in manifest.search.runs]  # type: ignore[union-attr]
    assert with_chosen_runs(shown) is shown
