"""Several goals on the page: sentences, strips, and runs that are left out."""

import re

import pandas as pd
import pytest

from reports.page import render
from reports.report_data.report_data import read
from reports.sentences.cost import nondominated_runs, resampling
from reports.summaries.pareto import at_once
from reports.tables import Tables
from tests.synthetic import Invented, tables

FOUR = ["auroc", "gap", "maps", "macs"]


@pytest.mark.parametrize(
    ("goals", "nondominated", "num_runs", "text"),
    [
        (4, 1, 24, "One of 24 runs is Pareto-optimal in four goals"),
        (3, 3, 3, "All three runs are Pareto-optimal in three goals"),
    ],
)
def test_the_sentence_counts_nondominated_runs_and_goals(goals, nondominated, num_runs, text):
    assert nondominated_runs(goals, nondominated, num_runs) == text


def test_the_uncertainty_of_nondominated_and_of_other_possible_runs_is_stated():
    assert resampling(0, 3, 3, 5).endswith("No other run is Pareto-optimal in more than 5 %.")
    assert "other" not in resampling(0, 3, 3, 3)
    assert resampling(0, 0, 2, 5).startswith("None of the two Pareto-optimal runs stays Pareto-optimal")
    assert resampling(0, 0, 1, 5).startswith("The Pareto-optimal run stays Pareto-optimal in less than 95 %")
    assert "1 other run is Pareto-optimal in more than 5 %" in resampling(1, 2, 2, 5)


def with_goals(made: Tables, **columns: object) -> Tables:
    return Tables(made.meta, made.frames | {"goals": made["goals"].assign(**columns)})


@pytest.mark.slow
def test_every_nondominated_run_has_one_strip_per_goal_with_dots_of_all_runs():
    made = tables(Invented(runs=12))
    found = at_once(read(made))
    front = int(made["goals"]["on_front"].sum())
    assert len(found["rows"]) == min(front, 12)
    assert all(len(cells) == 3 for _, cells in found["rows"])
    assert str(found["all"]).count("<g id=") == 3
    with_maps = at_once(read(with_goals(made, goal=" ".join(FOUR), maps=1.2)))
    assert len(with_maps["heads"]) == 4
    assert "1.2×" in [shown for shown, _ in with_maps["rows"][0][1]]
    page = render(made)
    assert page.count('<use href="#goal-auroc"/>') == min(front, 12)
    assert "nan" not in page[page.index("goal-auroc") : page.index("goal-auroc") + 20_000].lower()


@pytest.mark.slow
def test_right_is_better_in_every_strip():
    made = tables(Invented(runs=12))
    found = at_once(read(with_goals(made, on_front=True)))
    table = made["goals"].set_index("run_id")
    for place, (goal, better) in enumerate((("auroc", 1), ("gap", -1), ("macs", -1))):
        at = {
            run.id: float(re.search(r'<circle[^>]*cx="([\d.]+)"', str(cells[place][1])).group(1))
            for run, cells in found["rows"]
        }
        order = sorted(at, key=lambda run_id: better * table.loc[run_id, goal])
        assert [at[r] for r in order] == sorted(at.values())


def test_a_small_difference_between_two_recipes_looks_small():
    made = with_goals(tables(Invented(runs=2)), auroc=[0.74, 0.75], macs=[2e9, 3e9], on_front=True)
    found = at_once(read(made))
    for place, (goal, _) in enumerate(found["heads"]):
        if goal.key == "gap":
            continue
        ends = [float(x) for x in re.findall(r"M([\d.]+) 13V18", str(found["heads"][place][1]))]
        marks = [
            float(re.search(r'<circle[^>]*cx="([\d.]+)"', str(cells[place][1])).group(1)) for _, cells in found["rows"]
        ]
        assert len(ends) == len(marks) == 2
        assert abs(marks[0] - marks[1]) < 0.25 * abs(ends[0] - ends[1]), goal.key


@pytest.mark.parametrize(
    "asked", [Invented(runs=1), Invented(runs=3, hospitals=("chexpert",)), Invented(runs=0, failed=2)]
)
def test_without_comparable_runs_there_is_no_figure(asked):
    assert at_once(read(tables(asked))) == {}


def test_equal_runs_are_all_nondominated_and_drawn():
    made = tables(Invented(runs=3))
    same = with_goals(made, auroc=0.7, gap=0.1, macs=1e9, on_front=True, p_front=float("nan"))
    found = at_once(read(same))
    assert "All three runs are Pareto-optimal" in found["title"]
    assert found["doubt"] == ""


@pytest.mark.slow
def test_a_run_with_a_missing_goal_is_counted_as_left_out():
    made = tables(Invented(runs=5))
    fewer = Tables(made.meta, made.frames | {"goals": pd.DataFrame(made["goals"].iloc[:3])})
    found = at_once(read(fewer))
    assert found["left_out"] == 2
    assert "2 runs without one of these numbers are not shown" in render(fewer)
