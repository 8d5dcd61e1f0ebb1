"""Charts have their marks, names and lines, and figures of one kind share an axis."""

import re

import pytest
from bs4 import BeautifulSoup

from reports.drawing import svg
from reports.drawing.run_figures import EpochCurve, by_epoch
from reports.drawing.scatter import Axis, Chart, Spot
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import read
from reports.sections.cost import cost
from reports.sections.hospitals import step
from reports.sections.shortcuts import spearman
from tests.synthetic import Invented, tables


def chart(points, hollow=()):
    """Return a chart of invented runs at these points (x, y)."""
    runs = read(tables(Invented(runs=len(points)))).ranked
    spots = [
        Spot(run, Estimate(x), Estimate(y, y - 0.01, y + 0.01), f"at {x} {y}", k not in hollow)
        for k, (run, (x, y)) in enumerate(zip(runs, points, strict=True))
    ]
    x, y = (Axis.of("", estimates) for estimates in ([s.x for s in spots], [s.y for s in spots]))
    return runs, BeautifulSoup(Chart("label", spots, x, y).drawn(runs[:2]), "html.parser").select_one(".ch.wide")


def test_a_chart_has_marks_at_their_values_with_titles_and_the_names_that_are_asked_for():
    points = [(0.1, 0.5), (0.5, 0.9), (0.9, 0.7)]
    runs, drawn = chart(points, hollow=(2,))
    marks = drawn.select(".mk")
    places = [[float(v) for v in re.findall(r"[\d.]+", mark["transform"])] for mark in marks]
    assert places[0][0] < places[1][0] < places[2][0]
    assert places[1][1] < places[2][1] < places[0][1]
    assert [mark["data-run"] for mark in marks] == [run.anchor for run in runs]
    assert [mark.title.get_text() for mark in marks] == [
        f"{run.label}\nat {x} {y}" for run, (x, y) in zip(runs, points, strict=True)
    ]
    assert ["o" in mark["class"] for mark in marks] == [False, False, True]
    assert {text.get_text() for text in drawn.select(".lb")} == {run.label for run in runs[:2]}
    assert len(drawn.select(".er")) == 3


@pytest.mark.slow
def test_a_chart_of_many_runs_has_small_marks_without_intervals():
    _, drawn = chart([(0.01 * k, 0.5 + 0.001 * k) for k in range(70)])
    assert drawn.select(".er") == []
    assert all("scale(0.6)" in mark["transform"] for mark in drawn.select(".mk"))


def test_the_line_of_the_cost_chart_is_the_pareto_front():
    section = BeautifulSoup(str(cost(read(tables(Invented(runs=9)))).html), "html.parser")
    figure = section.select_one(".ch.wide")
    filled = [mark for mark in figure.select(".mk") if "o" not in mark["class"]]
    steps = figure.select_one(".fit")["d"].count("l")
    assert 0 < len(filled) < 9
    assert steps == 2 * len(filled)


@pytest.mark.parametrize(("low", "high"), [(0, 0.2), (-0.05, 0.17), (0.62, 0.9), (0, 1), (0.4999, 0.5001)])
def test_ticks_are_round_inside_the_axis_and_at_most_six(low, high):
    grid = svg.ticks(low, high, 6)
    assert 1 <= len(grid) <= 6
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in grid)


def test_a_swarm_keeps_every_value_and_separates_neighbors():
    values = [0.1, 0.1, 0.1, 0.5]
    placed = svg.swarm(values, svg.Scale(0, 1, 0, 100))
    assert [x for x, _ in placed] == pytest.approx([10, 10, 10, 50])
    assert len({lane for _, lane in placed[:3]}) == 3


def test_color_steps_are_two_hundredths_of_auroc_and_a_negative_gap_is_the_lightest():
    assert [step(v) for v in (-0.1, 0.0, 0.019, 0.021, 0.159, 0.5)] == [0, 0, 0, 1, 7, 7]


def test_spearman_equals_scipy_and_is_inside_its_interval():
    stats = pytest.importorskip("scipy.stats")
    xs, ys = [1.0, 2.0, 2.0, 4.0, 5.0, 7.0, 8.0, 9.0], [2.0, 1.0, 4.0, 3.0, 7.0, 7.0, 9.0, 5.0]
    rho = spearman(xs, ys)
    assert rho.value == pytest.approx(stats.spearmanr(xs, ys).statistic, abs=1e-12)
    assert -1 < rho.low < rho.value < rho.high < 1
    assert not spearman([1.0] * 8, ys).has_value


def test_a_mark_is_hollow_exactly_if_its_interval_contains_the_reference():
    assert 'class="dot o"' in svg.micro(Estimate(0.01, -0.01, 0.03), 0, 0.1, 0.0)
    assert 'class="dot o"' not in svg.micro(Estimate(0.02, 0.01, 0.03), 0, 0.1, 0.0)


def test_a_learning_curve_names_its_run_and_has_a_dot_at_the_selected_epoch():
    data = read(tables(Invented(runs=2)))
    history = data.tables["history"]
    curves = [EpochCurve.of(run, history[history["run_id"] == run.id], "train_loss") for run in data.ranked]
    figure = by_epoch("Training loss", curves)
    assert figure.count("<circle") == 2
    assert all(f"<title>{run.label}</title>" in figure for run in data.ranked)
    assert by_epoch("Loss", [EpochCurve("a", [], 1)]) == ""
