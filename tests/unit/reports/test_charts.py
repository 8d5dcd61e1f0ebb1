"""Plotly charts are valid, and figures of one kind share an axis."""

import re

import plotly.graph_objects as go
import pytest

from reports.drawing import charts, svg
from reports.drawing.run_figures import EpochCurve, by_epoch
from reports.page import ORDER
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import read
from reports.schemas.tables import LEAST_RELATED
from reports.sections.hospitals import step
from reports.sections.shortcuts import spearman
from tests.synthetic import Invented, tables


@pytest.mark.parametrize("runs", [2, 4, 24, pytest.param(70, marks=pytest.mark.slow)])
def test_every_chart_is_valid_for_plotly(runs):
    board = read(tables(Invented(runs=runs)))
    drawn = [chart for section in ORDER for chart in section.write(board).charts]
    related = {"c-probe"} if runs >= LEAST_RELATED else set()  # with fewer, a chart cannot show a relation
    assert {c["id"] for c in drawn} == {"c-internal", "c-cost"} | related
    for chart in drawn:
        go.Figure(data=chart["data"], layout=chart["layout"])  # raises on an unknown or impossible property


@pytest.mark.slow
def test_charts_use_only_colors_of_the_theme():
    board = read(tables(Invented(runs=4)))
    text = str([chart for section in ORDER for chart in section.write(board).charts])
    assert "var(--ink)" in text
    assert not re.search(r"#[0-9a-f]{6}|rgb", text)


@pytest.mark.slow
def test_up_to_four_runs_have_labels_and_of_more_runs_those_with_extreme_values():
    few, many = (list(read(tables(Invented(runs=number))).ranked) for number in (4, 9))
    assert len(charts.labels(few, [0.5] * 4, [0.1, 0.2, 0.3, 0.4])) == 4
    notes = charts.labels(many, [0.1 * k for k in range(9)], [0.5, 0.9, 0.1, *[0.5] * 6])
    assert [note["text"] for note in notes] == [many[k].label for k in (1, 2, 8, 0)]


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
