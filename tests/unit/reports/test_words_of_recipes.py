"""A page with several seeds for each recipe: sections that compare the rows of the ranking call these rows recipes."""

import re

import pandas as pd
import pytest

from reports.page import render
from reports.tables import Tables
from tests.synthetic import Invented, tables


def with_seeds(study: Tables) -> Tables:
    """Return the study with its ranked runs as recipes: each is the mean of two runs that have no scores of their own."""
    runs, ranked = study["runs"], set(study["ranks"]["run_id"])
    is_recipe = runs["run_id"].isin(ranked)
    recipes = runs[is_recipe].assign(kind="recipe")
    seeds = [recipes.assign(run_id=recipes["run_id"] + str(seed), kind="run", seed=seed) for seed in (0, 1)]
    members = pd.DataFrame(
        [(recipe, f"{recipe}{seed}") for recipe in recipes["run_id"] for seed in (0, 1)],
        columns=["recipe_id", "run_id"],
    )
    of_runs = {name: study[name].assign(run_id=study[name]["run_id"] + "0") for name in ("anytime", "history")}
    frames = dict(study.frames) | {
        **of_runs,
        "runs": pd.concat([recipes, *seeds, runs[~is_recipe]], ignore_index=True),
        "recipes": members,
    }
    return Tables(study.meta, frames)


@pytest.fixture(scope="module")
def page() -> str:
    return render(with_seeds(tables(Invented(runs=6))))


@pytest.mark.parametrize("section", ["hospitals", "findings", "cost"])
def test_a_section_that_compares_recipes_calls_them_recipes(page: str, section: str) -> None:
    html = page[page.index(f'<section id="{section}"') :]
    text = re.sub(r"<[^>]*>", " ", html[: html.index("</section>")])
    training_time = text.find("AUROC by training time")
    compared = text[: training_time if training_time >= 0 else None]
    assert re.search(r"\brecipes?\b", compared, re.IGNORECASE)
    assert not re.findall(r".{30}\bruns?\b.{20}", compared, re.IGNORECASE)


def test_the_details_say_whether_an_entry_is_a_recipe_or_a_run(page: str) -> None:
    assert page.count("Reproduce these runs") == page.count("<dt>Recipe id</dt>") == 6
    assert page.count("Reproduce this run") == page.count("<dt>Run id</dt>") == 12
