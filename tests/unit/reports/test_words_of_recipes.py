"""A page with several seeds for each recipe: sections that compare the rows of the ranking call these rows recipes."""

import re

import pandas as pd
import pytest

from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
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
    frames = dict(study.frames) | {
        "history": study["history"].assign(run_id=study["history"]["run_id"] + "0"),
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


@pytest.mark.slow
def test_runs_with_prompts_are_called_wordings_and_others_seeds(page: str) -> None:
    study = with_seeds(tables(Invented(runs=6)))
    rows = [(r, d, 2, 0.01, 0.01) for r in study["ranks"]["run_id"] for d in ("chexpert", "nih", "external")]
    luck = pd.DataFrame(rows, columns=list(SCHEMAS["seeds"]))

    def with_wordings(recipes: list[str]) -> str:
        runs = study["runs"].copy()
        for k in (0, 1):
            of_recipes = runs["run_id"].isin([f"{recipe}{k}" for recipe in recipes])
            runs.loc[of_recipes, "remark"] = f"wording {k + 1} of 2: {{}} / no {{}}, where {{}} is the finding"
        html = render(Tables(study.meta, {**study.frames, "runs": runs, "seeds": luck}))
        assert html.count("mean of 2 wordings<") == len(set(recipes))
        return html[html.index("<main") : html.index('<section id="hospitals"')]

    recipes = list(study["ranks"]["run_id"])
    assert page.count(">2 seeds<") == 6
    assert page.count("External AUROC of the runs: ") == 6
    every = with_wordings(recipes)
    assert every.count(">2 wordings<") == 6
    assert every.count(">wording 2 of 2</a>") == 6
    assert "mean over wordings" in every
    assert not re.findall(r".{40}[^-_.]\bseeds?\b[^-_\"=].{20}", re.sub(r"<[^>]*>", " ", every))
    mixed = with_wordings(recipes[:2])
    assert (mixed.count(">2 wordings<"), mixed.count(">2 seeds<")) == (2, 4)
    assert "mean over seeds and wordings" in mixed


@pytest.mark.slow
def test_the_details_of_a_recipe_have_the_internal_auroc_of_its_seeds_if_no_hospital_is_external() -> None:
    study = with_seeds(tables(Invented(runs=2, hospitals=("chexpert",))))
    scores = study["scores"]
    of_seeds = [scores.assign(run_id=scores["run_id"] + str(seed)) for seed in (0, 1)]
    html = render(Tables(study.meta, {**study.frames, "scores": pd.concat([scores, *of_seeds])}))
    text = re.sub(r"<[^>]*>", "", html)
    assert len(re.findall(r"Internal AUROC of the runs: seed 0&nbsp;\.\d{3}, seed 1&nbsp;\.\d{3}\.", text)) == 2


def test_the_details_say_whether_an_entry_is_a_recipe_or_a_run(page: str) -> None:
    assert page.count("Reproduce these runs") == page.count("<dt>Recipe id</dt>") == 6
    assert page.count("Reproduce this run") == page.count("<dt>Run id</dt>") == 12


@pytest.mark.slow
def test_a_figure_of_one_run_states_that_its_recipe_has_others() -> None:
    board = read(with_seeds(tables(Invented(runs=6))))
    best, second = (recipe.members[0] for recipe in board.ranked[:2])
    assert board.run_shown(best) == f"{best.label}, one run of the first recipe; other runs below"
    assert board.run_shown(second) == f"{second.label}, one run of its recipe; other runs below"
    alone = read(tables(Invented(runs=6)))
    assert alone.run_shown(alone.ranked[0]) == alone.ranked[0].label


@pytest.mark.slow
def test_components_are_those_of_the_best_recipe_not_of_one_of_its_runs() -> None:
    study = with_seeds(tables(Invented(runs=6)))
    best = read(study).ranked[0]

    def part(run_id: str, name: str, value: float) -> dict[str, object]:
        key = {"run_id": run_id, "dataset": "external", "metric": "auroc", "finding": "macro", "part": name}
        return key | {"value": value, "low": value - 0.01, "high": value + 0.01}

    values = {best.id: 0.055, **{member.id: 0.044 for member in best.members}}
    rows = [
        part(r, *cell)
        for r, rest in values.items()
        for cell in (("gap", 0.08), ("case_mix", 0.01), ("remainder", rest))
    ]
    decomposition = pd.DataFrame(rows, columns=list(SCHEMAS["decomposition"]))
    html = render(Tables(study.meta, dict(study.frames) | {"decomposition": decomposition}))
    section = html[html.index('<section id="components"') :]
    section = section[: section.index("</section>")]
    assert f"Recipe shown: {best.label}" in section
    assert "a remainder of +.055" in section
    assert ".044" not in section
