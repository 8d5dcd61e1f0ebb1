"""What the page says about the findings and hospitals in a mean external AUROC."""

import html
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from harmonize.labels.findings import FINDINGS
from reports.formatting import places
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData, read
from reports.schemas.select import select
from reports.sections.hospitals import hospitals
from reports.sections.opening import opening
from reports.sections.ranking import NOT_RESAMPLED, NOT_SEARCHED, RESAMPLED, ranking
from reports.sections.runs import runs
from reports.sentences.members import over
from reports.summaries.source_classifiers import verdict
from reports.tables import Tables
from tests.synthetic import Invented, tables
from tests.unit.reports.test_derived_and_published import with_derived

FEW = ("chexpert", "mimic", "padchest")
HIDING = Invented(runs=4, hospitals=FEW, internal_few=FINDINGS[2:], failing="Pneumonia")


@cache
def study(settings: Invented) -> ReportData:
    return read(tables(settings))


def told(section: object) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", str(section))))


def test_the_opening_names_the_failing_finding_that_the_mean_leaves_out() -> None:
    data = study(HIDING)
    first, page = data.ranked[0], told(opening(data).html)
    assert f"{data.name(first)} ranks first by mean external AUROC, {first.external.text}" in page
    assert ", but it ranks Pneumonia the wrong way round at" in page
    assert "highest measured mean" not in page, "a mean that hides a failing finding is not praised"
    means = "The mean is over the 2 of 9 findings that the internal test split and at least two external"
    assert means in page
    for hospital in FEW[1:]:
        left_out = data.cells[first.id, hospital, "Pneumonia"]
        assert left_out.value < 0.5
        assert f"Pneumonia{data.hospitals[hospital].short}{left_out.text}{left_out.span}" in page


def test_the_ranking_warns_of_findings_that_the_mean_leaves_out() -> None:
    data = study(HIDING)
    page = told(ranking(data).html)
    assert "By mean AUROC at external hospitals, over 2 of 9 findings." in page
    assert "The lowest measured AUROC left out: Pneumonia at" in page


def test_a_mean_that_leaves_out_only_similar_findings_is_not_called_a_failure() -> None:
    data = study(Invented(runs=4, hospitals=FEW, internal_few=FINDINGS[-1:]))
    page = told(opening(data).html)
    assert "has the highest measured mean external AUROC" in page
    assert (
        "The mean is over the 8 of 9 findings that the internal test split and at least two external hospitals score."
        in page
    )


def test_without_a_finding_left_out_nothing_warns() -> None:
    data = study(Invented(runs=4))
    page = told(opening(data).html) + told(ranking(data).html)
    assert "over 9 findings (" in page
    assert "per hospital, the others estimated)" in page
    assert "leaves out" not in page


def test_a_mean_over_two_of_five_hospitals_says_so() -> None:
    made = tables(Invented(runs=4))
    frames = dict(made.frames)
    for name, columns in (("scores", ["value", "low", "high"]), ("gaps", ["value", "low", "high"])):
        table = frames[name].copy()
        table.loc[table["dataset"].isin(["nih", "vindr", "brax"]), columns] = np.nan
        frames[name] = table
    mean_gaps = frames["mean_gaps"]
    frames["mean_gaps"] = mean_gaps[~mean_gaps["dataset"].isin(["nih", "vindr", "brax"])]
    data = read(Tables(made.meta, frames))
    page = told(opening(data).html)
    assert re.search(r"over [89] (of 9 )?findings, at 2 of 5 hospitals", page)
    assert "at 5 external hospitals, the networks" in page
    assert "over 2 of them" in page
    assert "at 2 of 5 external hospitals" in told(ranking(data).html)


def test_a_model_below_the_ranking_whose_mean_is_over_fewer_findings_has_a_note() -> None:
    made = with_derived(tables(Invented(runs=2, hospitals=FEW)), kind="external")
    frames = dict(made.frames)
    model = next(run.id for run in read(made).derived)
    for name in ("scores", "gaps"):
        table = frames[name].copy()
        unknown = (table["run_id"] == model) & table["finding"].isin(FINDINGS[2:])
        table.loc[unknown, ["value", "low", "high"]] = np.nan
        frames[name] = table
    page = told(ranking(read(Tables(made.meta, frames))).html)
    assert page.count("mean over 2 of 9 findings") == 1


def test_a_recipe_with_fewer_seeds_than_others_says_so() -> None:
    data = study(Invented(runs=3, hospitals=FEW))
    first, second, third = data.ranked
    recipes = (replace(first, runs=(first, third)), replace(second, runs=(second,)))
    page = told(ranking(replace(data, ranked=recipes, groups=(recipes,))).html)
    assert page.count("1 of 2 seeds") == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_stated_numbers_of_members_are_those_of_the_tables(seed: int) -> None:
    draw = np.random.default_rng(seed)
    few, labels = (tuple(f for f in FINDINGS if draw.random() < share) for share in (0.4, 0.8))
    hospitals = ("chexpert", *draw.permutation(["mimic", "padchest", "vindr", "nih", "brax"])[: 1 + seed % 5])
    study_of = Invented(runs=3, seed=seed, hospitals=hospitals, internal_few=few, external_labels=labels)
    made = tables(study_of)
    data = read(made)
    scores = made["scores"]
    auroc = scores[(scores["metric"] == "auroc") & scores["value"].notna() & scores["finding"].isin(FINDINGS)]
    assert data.ranked
    for run in data.ranked:
        of_run = auroc[auroc["run_id"] == run.id]
        internal = set(of_run.loc[of_run["dataset"] == "chexpert", "finding"])
        external = of_run[of_run["dataset"] != "chexpert"]
        by_hospital = external[external["finding"].isin(internal)].groupby("finding")["dataset"].nunique()
        used = set(by_hospital.index[by_hospital >= min(2, external["dataset"].nunique())])
        said = re.match(r"over (\d+)(?: of (\d+))? findings?", over(data.members(run)))
        assert said is not None
        assert (int(said[1]), int(said[2] or said[1])) == (len(used), len(data.findings))
        table = external[external["finding"].isin(used)].pivot_table("value", "dataset", "finding")
        # the marginal mean, by a fit of hospital and finding
        cells = table.stack().dropna()
        design = pd.get_dummies(cells.index.to_frame(), dtype=float)
        fit = dict(zip(design, np.linalg.lstsq(design, cells, rcond=None)[0], strict=True))
        assert places(run.external.value) == places(
            sum(fit[f"dataset_{h}"] for h in table.index) / len(table)
            + sum(fit[f"finding_{f}"] for f in used) / len(used)
        )


def test_source_classifiers_with_other_images_are_compared_on_the_images_of_both() -> None:
    run = study(HIDING).ranked[0]
    numbers = {"features": (0.945, 1356), "random": (0.947, 720)}
    estimates = {
        (run.id, (probe, "none", 0, "balanced_accuracy")): Estimate(value, value - 0.01, value + 0.01, n)
        for probe, (value, n) in numbers.items()
    }
    estimates[run.id, ("features", "random", 0, "selectivity")] = Estimate(-0.026, -0.049, -0.003, 720)
    said = verdict(estimates, run, 6)
    assert "with accuracy .945 [.935, .955]" in said
    assert "On the 720 images of both tests, the accuracy .921 is lower than the accuracy" in said


def test_the_ranking_states_that_nothing_was_searched_and_for_how_many_findings_there_is_validation() -> None:
    made = tables(Invented(runs=2))
    page = told(ranking(read(made)).html)
    assert NOT_SEARCHED in page
    assert "The validation split" not in page
    scores = made["scores"]
    few = select(scores, dataset="chexpert").assign(split="val", num_findings=4)
    facts = {"search": {"trials": 4, "seed": 0, "over": {}}}
    made = Tables(made.meta | facts, {**made.frames, "scores": pd.concat([scores, few], ignore_index=True)})
    page = told(ranking(read(made)).html)
    assert NOT_SEARCHED not in page
    assert "Only 4 of 9 findings have enough patients in each validation split" in page
    of_bundles = Tables(made.meta | {"bundles": {"a": [{"file": "a.zip", "signed_by": ""}]}, "search": {}}, made.frames)
    assert NOT_SEARCHED not in told(ranking(read(of_bundles)).html)


@pytest.mark.parametrize(
    ("config", "said", "unsaid"),
    [("{}", NOT_RESAMPLED, RESAMPLED), ('{"resample": "split"}', RESAMPLED, NOT_RESAMPLED)],
)
def test_the_ranking_says_whether_seeds_vary_the_training_sample(config: str, said: str, unsaid: str) -> None:
    data = study(Invented(runs=4, hospitals=FEW))
    runs = [replace(run, facts={**run.facts, "config": config}) for run in data.ranked]
    recipes = (replace(runs[0], runs=(runs[0], runs[1])), replace(runs[2], runs=(runs[2], runs[3])))
    page = told(ranking(replace(data, ranked=recipes, groups=(recipes,))).html)
    assert said in page
    assert unsaid not in page


def test_a_hospital_that_lacks_findings_of_the_mean_states_how_many_it_scores() -> None:
    data = read(tables(Invented(runs=2)))
    assert data.members_of_first is not None
    assert data.members_of_first.per_hospital == (8, 8, 8, 8, 9)
    page = told(hospitals(data).html)
    assert page.count("8 of 9 findings") == 4
    assert "All are over the findings of the mean external AUROC" in page
    assert "both score" not in page
    assert str(runs(data).html).count('<i class="n">8 of 9 findings</i>') == 4 * len(data.ranked)
