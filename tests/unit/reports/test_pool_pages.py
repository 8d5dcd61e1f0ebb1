"""Pages of pools of training hospitals and of leave-one-out grids: every number is named after the right hospitals."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest
import synthetic
from bs4 import BeautifulSoup

from reports import extensions, hooks
from reports.formatting import integer
from reports.page import render
from reports.report_data.report_data import ReportData, read
from reports.schemas.tables import SCHEMAS
from reports.sections.cohorts import cohorts as cohorts_section
from reports.sections.data_exposure import data_exposure
from reports.sections.hospitals import _at_training
from reports.sections.method import _standard_errors
from reports.tables import Tables
from tests.nonempty import nonempty

TITLES = {"mimic": "North", "nih": "South", "vindr": "West"}


def with_pool(made: Tables, hospitals: tuple[str, ...], unscored: tuple[str, ...] = ()) -> Tables:
    """Return the tables with the pool of some hospitals in place of chexpert; `unscored` have too few test patients."""
    pool = "+".join(hospitals)
    frames = {name: frame.replace("chexpert", pool) for name, frame in made.frames.items()}
    scores = frames["scores"]
    parts = [
        scores[(scores["dataset"] == pool) & (scores["finding"] == "macro")].assign(split=f"test:{h}")
        for h in hospitals
    ]
    for part, hospital in zip(parts, hospitals, strict=True):
        if hospital in unscored:
            part[["value", "low", "high"]] = float("nan")
    frames["scores"] = pd.concat([scores, *parts], ignore_index=True)
    datasets = dict(made.meta["datasets"])
    whole = " + ".join(TITLES[h] for h in hospitals)
    datasets[pool] = datasets.pop("chexpert") | {"title": whole, "short": whole}
    datasets |= {h: datasets.get(h, {}) | {"title": TITLES[h], "short": TITLES[h]} for h in hospitals}
    return Tables(made.meta | {"source": pool, "datasets": datasets, "pool": list(hospitals)}, frames)


def leaving_out(made: Tables, left_out: Mapping[str, str]) -> Tables:
    """Return the tables of a leave-one-out grid: a run has scores at the hospital that it leaves out, and not inside it."""
    frames, pool = dict(made.frames), list(made.meta["pool"])
    of_extensions = (name for module in extensions.modules(hooks.Schemas) for name in (*module.SHOWN, *module.DETAILS))
    for name in ("scores", "gaps", "confusion", "subgroups", "reliability", *of_extensions):
        frame = frames[name]
        out = frame["run_id"].map(left_out)
        trained = frame["dataset"].isin(pool) & (frame["dataset"] != out)
        inside = frame["split"].eq("test:" + out.astype(str)) if "split" in frame else False
        frames[name] = frame[~(trained | inside)]
    runs = frames["runs"].copy()
    runs["config"] = [json.dumps({"leave_out": left_out.get(run, "")}) for run in runs["run_id"]]
    return Tables(made.meta | {"leave_one_out": True}, frames | {"runs": runs})


@pytest.fixture(scope="module")
def pool() -> Tables:
    made = synthetic.tables(synthetic.Invented(runs=2, hospitals=("chexpert", "nih", "padchest")))
    return with_pool(made, ("mimic", "vindr"), unscored=("vindr",))


@pytest.fixture(scope="module")
def folds() -> Tables:
    made = synthetic.tables(synthetic.Invented(runs=2, hospitals=("chexpert", "mimic", "nih", "padchest")))
    first, second = sorted(made["runs"]["run_id"])[:2]
    return leaving_out(with_pool(made, ("mimic", "nih", "vindr"), ("vindr",)), {first: "mimic", second: "nih"})


@pytest.fixture(scope="module")
def page_of_pool(pool: Tables) -> BeautifulSoup:
    return BeautifulSoup(render(pool), "html.parser")


@pytest.fixture(scope="module")
def page_of_folds(folds: Tables) -> BeautifulSoup:
    return BeautifulSoup(render(folds), "html.parser")


def data_of(tables: Tables, run: int = 0) -> tuple[ReportData, ReportData]:
    """Return the data of the page, and those of one of its runs, in the order of their ids."""
    data = read(tables)
    return data, data.of_run(sorted(data.entries, key=lambda entry: entry.id)[run])


def test_a_training_hospital_without_scores_is_named_with_the_reason(pool: Tables, page_of_pool: BeautifulSoup) -> None:
    sentence = (
        "No internal score includes West: no finding has at least 10 test patients with it and 10 without it there."
    )
    assert sentence in page_of_pool.find(id="top").get_text(" ", strip=True)


def test_a_cell_without_a_score_states_role_and_reason(pool: Tables, folds: Tables) -> None:
    [mimic, vindr] = _at_training(read(pool))[0]["cells"]
    assert mimic["note"].startswith("internal, ")
    assert mimic["note"].endswith("findings")
    assert vindr["note"] == "internal, < 10 patients"
    assert not vindr["value"].has_value
    rows = {row["run"].left_out: row["cells"] for row in _at_training(read(folds))}
    assert [cell["note"].partition(",")[0] for cell in rows["mimic"]] == ["external", "internal", "internal"]
    assert [cell["note"].partition(",")[0] for cell in rows["nih"]] == ["internal", "external", "internal"]


def test_the_columns_of_a_run_are_its_own_internal_and_external_hospitals(folds: Tables) -> None:
    page, of_run = data_of(folds)
    assert {hospital.key for hospital in page.hospitals.external} == {"mimic", "nih", "padchest"}
    internal = of_run.hospitals.internal
    assert (internal.key, internal.short) == ("mimic+nih+vindr", "South + West")
    assert {hospital.key for hospital in of_run.hospitals.external} == {"mimic", "padchest"}
    assert data_of(folds, 1)[1].hospitals.internal.short == "North + West"


def test_a_run_is_not_said_to_have_too_few_patients_where_it_trained(
    page_of_folds: BeautifulSoup, folds: Tables
) -> None:
    for run in nonempty(read(folds).entries):
        trained = "South" if run.left_out == "mimic" else "North"
        details = page_of_folds.find(id=run.anchor)
        heads = [head.get_text(" ", strip=True) for head in details.find("table").find_all("th", scope="col")]
        assert heads[1] == f"{trained} + West internal"
        assert trained not in heads
        text = details.get_text(" ", strip=True)
        assert f"Trained on {trained} + West only" in text
        left_out = TITLES[run.left_out]
        assert f"Left out in training, so external to this run: {left_out}." in text
        assert f"The other training hospitals ({trained}, West) are internal to this run" in text


def test_sentences_of_a_leave_one_out_page_name_no_run_as_trained_everywhere(page_of_folds: BeautifulSoup) -> None:
    text = page_of_folds.get_text(" ", strip=True)
    assert "trained on all but one of North, South and West" in text.replace("Trained", "trained")
    assert "before training on all but one of North, South and West" in text


def test_a_run_has_no_cell_of_what_it_had_seen_where_it_trained(folds: Tables) -> None:
    first, second = sorted(folds["runs"]["run_id"])[:2]
    external = [(first, "mimic"), (first, "padchest"), (second, "nih"), (second, "padchest")]
    rows = pd.DataFrame(external, columns=["run_id", "dataset"]).assign(
        answer=["no", "no", "unknown", "no"], value=0.7, rank=1, num_ranked=2, listed=0, clean_n=0
    )
    rows = rows.reindex(columns=list(SCHEMAS["exposure"]))
    section = BeautifulSoup(
        data_exposure(read(Tables(folds.meta, {**folds.frames, "exposure": rows}))).html, "html.parser"
    )
    table = section.find(attrs={"aria-label": "What each model had seen of each hospital"})
    cells = [
        {cell["data-l"]: cell.get_text(" ", strip=True) for cell in row.find_all("td")}
        for row in table.find_all("tr")[1:]
    ]
    assert [cell["North"] for cell in cells] == ["not external to this model", "not seen .700, rank 1 of 2"]
    assert cells[0]["South"].startswith("unknown")
    assert cells[1]["South"] == "not external to this model"


def test_images_of_training_hospitals_are_counted_once(folds: Tables) -> None:
    cohorts = folds["cohorts"]
    section = BeautifulSoup(cohorts_section(read(folds)).html, "html.parser")
    used = cohorts.loc[~cohorts["dataset"].isin(folds.meta["pool"]), "used"].sum()
    assert set(folds.meta["pool"]) & set(cohorts["dataset"])
    assert f"{integer(used)} of " in section.find("p").get_text(" ", strip=True)


def test_a_hospital_of_the_pool_that_no_run_leaves_out_counts_as_a_hospital_of_the_page(folds: Tables) -> None:
    """The runs leave out two of three hospitals; with the external hospital, the page has four."""
    assert read(folds).hospitals.num == len({*folds.meta["pool"], "padchest"}) == 4


def test_runs_that_leave_out_different_hospitals_are_no_seeds(folds: Tables) -> None:
    runs = folds["runs"]
    recipe = runs.iloc[:1].assign(run_id="recipe", kind="recipe")
    of_recipe = pd.DataFrame({"recipe_id": "recipe", "run_id": runs["run_id"]})
    frames = {**folds.frames, "runs": pd.concat([runs, recipe], ignore_index=True), "recipes": of_recipe}
    for name in ("scores", "ranks"):
        own = folds[name][folds[name]["run_id"] == runs["run_id"].iloc[0]].assign(run_id="recipe")
        frames[name] = own if name == "ranks" else pd.concat([folds[name], own], ignore_index=True)
    page = read(Tables(folds.meta, frames))
    assert [len(row.members) for row in page.ranked] == [2]
    assert not page.words.and_seeds
    four = [replace(run, id=f"{run.id}{k}") for run in page.ranked[0].runs for k in range(2)]
    assert replace(page, ranked=(replace(page.ranked[0], runs=tuple(four)),)).words.and_seeds


def test_a_run_without_rank_has_a_score_and_a_reason(folds: Tables) -> None:
    """No recipe has a run for each hospital, as before the last run has finished."""
    page = BeautifulSoup(render(Tables(folds.meta, {**folds.frames, "ranks": folds["ranks"].iloc[:0]})), "html.parser")
    assert page.find("h1").get_text(" ", strip=True) == "No run is ranked"
    assert "score at external hospitals" not in page.find(id="ranking").get_text(" ", strip=True)
    reason = "another run of its recipe is missing or not ranked: external AUROC ."
    assert page.find(id="ranking").get_text(" ", strip=True).count(reason) == 2


def test_standard_errors_name_the_training_hospital_of_a_split(pool: Tables) -> None:
    rows = pd.DataFrame({"dataset": pool.meta["source"], "split": ["test", "test:mimic"]})
    rows = rows.reindex(columns=list(SCHEMAS["delong"]), fill_value=0.01)
    found = _standard_errors(read(Tables(pool.meta, {**pool.frames, "delong": rows})))
    assert [row[:2] for row in found] == [("North + West", "test"), ("North", "test")]
