"""The decisions of a run on the page: why a number is missing."""

import math
from dataclasses import replace

import pandas as pd

from bench.extensions.decisions.decisions_of_runs import Decisions
from bench.extensions.decisions.triage_of_runs import Triage
from reports.report_data.report_data import read
from reports.tables import Tables
from tests.synthetic import Invented, rescored, tables

OF_RUNS = "A dash: see the details of each run"


def test_a_recipe_does_not_say_that_a_hospital_has_too_few_patients() -> None:
    made = tables(Invented(runs=2))
    table = made["net_benefit"]
    # a recipe has the macro of each hospital, and the external mean of each finding
    table = table[(table["run_id"] != table["run_id"].iloc[0]) | (table["finding"] == "macro")]
    board = read(Tables(made.meta, made.frames | {"net_benefit": _with_external_means(table)}))
    recipe_id = made["net_benefit"]["run_id"].iloc[0]
    run = next(run for run in board.ranked if run.id == recipe_id)
    recipe = replace(run, runs=(run,), kind="recipe")
    page = str(Decisions.of(board, [recipe.id]).html(recipe)).split("Thresholds of a stated goal")[0]
    assert "Net benefit at the stated threshold" in page
    assert "patients</i>" not in page
    assert OF_RUNS in page
    other = next(run for run in board.ranked if run.id != recipe_id)
    assert OF_RUNS not in str(Decisions.of(board, [other.id]).html(other))


def _with_external_means(table: pd.DataFrame) -> pd.DataFrame:
    """Add the external means of findings to all runs, with the values of another run at one hospital."""
    found = table[(table["dataset"] == "mimic") & (table["finding"] != "macro")]
    found = found[found["run_id"] == found["run_id"].iloc[0]]
    means = [found.assign(run_id=run_id, dataset="external") for run_id in table["run_id"].unique()]
    return pd.concat([table, *means], ignore_index=True)


def test_a_missing_workload_or_triage_has_a_reason() -> None:
    made = tables(Invented(runs=1))
    first, second = read(made).findings[:2]
    frames = {}
    for name in ("workload", "triage"):
        table = made[name]
        few = (table["finding"] == first) & (table["dataset"] == "mimic")
        frames[name] = table[~few & (table["finding"] != second)]
    board = read(rescored(Tables(made.meta, made.frames | frames), min_count=7))
    run = board.ranked[0]
    decisions, triage = str(Decisions.of(board, [run.id]).html(run)), str(Triage.of(board, [run.id]).html(run))
    workload = decisions[decisions.index("Workload with sensitivity") :]
    assert "–<i>&lt; 7 patients</i>" in workload
    assert f"Not shown: {second} (no threshold, or too few patients at every hospital)." in workload
    assert "–<i>&lt; 7 patients</i>" in triage
    assert f"Not shown: {second} (no threshold, or too few patients at every hospital)." in triage
    whole = read(made)
    assert "Not shown" not in str(Decisions.of(whole, [run.id]).html(run)) + str(Triage.of(whole, [run.id]).html(run))


def test_fewer_than_one_patient_is_no_patient() -> None:
    made = tables(Invented(runs=1))
    board = read(rescored(made, min_count=1))
    key, finding = next(iter(board.labeled))
    assert board.why_missing(key, finding) == "no patient"


def test_a_finding_without_a_threshold_says_that_nothing_is_released_and_there_is_no_mean_over_findings() -> None:
    made = tables(Invented(runs=1))
    table = made["triage"].assign(miss_rate=0.0, miss_rate_low=math.nan, miss_rate_high=math.nan, released=0.0)
    table = table.assign(release_threshold=math.nan, miss_rate_by_chance=math.nan)
    board = read(Tables(made.meta, made.frames | {"triage": table}))
    page = str(Triage.of(board, [board.ranked[0].id]).html(board.ranked[0]))
    assert "miss rate –" in page
    assert "nothing is released" in page
    assert "miss rate .000" not in page
    assert "acro" not in page
