"""Compare recipes in several goals at once: sentences, strips and numbers.

A strip is a small axis for one goal: it shows one recipe as a large mark among the faint dots of all recipes. In every
strip, the better value is on the right. A recipe is Pareto-optimal if no other recipe is at least as good in every goal
and better in one goal.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number, percent, places, two_figures
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.sentences import cost as cost_sentences

SHOWN = 12  # number of runs with strips; the table has the other Pareto-optimal runs
WIDE, EDGE = 132.0, 18.0  # px: width of a strip, and its margin on both sides
# shares of resamples in which a recipe is Pareto-optimal: the table also lists other recipes with a share above LIKELY; a
# Pareto-optimal recipe with a share of at least SURE counts as stable
LIKELY, SURE = 0.05, 0.95


@dataclass(frozen=True, slots=True)
class ParetoGoal:
    """A goal of the comparison: column head and unit, and how the values are shown."""

    key: str  # column of the table `goals`
    head: str
    unit: str
    text: Callable[[float], str]  # converts a value to text
    position: Callable[[float], float] = lambda v: v  # converts a value to a position on the axis, before scaling
    low_first: bool = False  # whether a low value is better
    usual: tuple[float, float] | None = None  # values that the axis always contains; None for a logarithmic axis


GOALS = (
    ParetoGoal("auroc", "AUROC", "external", places, usual=(0.5, 1.0)),
    ParetoGoal("gap", "Gap", "internal − external", places, low_first=True, usual=(0.0, 0.1)),
    ParetoGoal("maps", "Heat maps", "ratio to a center map", lambda v: f"{two_figures(v)}×", usual=(0.0, 2.0)),
    ParetoGoal("macs", "Operations", "GMACs per image", lambda v: two_figures(v / 1e9), math.log10, low_first=True),
)


def at_once(data: ReportData) -> dict[str, Any]:
    """Return title, column heads, strips and numbers of the comparison; {} if fewer than two recipes have all goals."""
    runs = {r.id: r for r in data.ranked}
    table = data.tables["goals"]
    rows = {str(row["run_id"]): row for row in table.to_dict("records") if str(row["run_id"]) in runs}
    if len(rows) < 2:
        return {}
    goals = [goal for goal in GOALS if goal.key in str(next(iter(rows.values()))["goal"]).split()]
    order = [r for r in data.ranked if r.id in rows]
    front = [r for r in order if bool(rows[r.id]["on_front"])]
    chance = {r.id: float(rows[r.id]["p_front"]) for r in order}
    likely = [r for r in order if r not in front and chance[r.id] > LIKELY]
    num_sure = sum(chance[r.id] >= SURE for r in front)
    scales = {goal.key: _scale(goal, [float(row[goal.key]) for row in rows.values()]) for goal in goals}
    heads = [(goal, _axis(goal, scales[goal.key], [float(row[goal.key]) for row in rows.values()])) for goal in goals]
    has_probabilities = any(is_number(p) for p in chance.values())
    return {
        "title": cost_sentences.nondominated_runs(len(goals), len(front), len(order), data.unit),
        "doubt": cost_sentences.resampling(len(likely), num_sure, len(front), len(order), data.unit)
        if has_probabilities
        else "",
        "heads": heads,
        "all": _background(goals, scales, list(rows.values())),
        "rows": [
            (r, [_cell(goal, scales[goal.key], float(rows[r.id][goal.key])) for goal in goals]) for r in front[:SHOWN]
        ],
        "numbers": [_numbers(r, goals, rows[r.id], r in front) for r in (*front, *likely)],
        "not_drawn": max(0, len(front) - SHOWN),
        "left_out": len(data.ranked) - len(order),
        "has_maps": any(goal.key == "maps" for goal in goals),
    }


def _ends(goal: ParetoGoal, values: list[float]) -> tuple[float, float]:
    """Return the values at the two ends of a goal's axis: its `usual` range or, for a logarithmic axis, whole powers of ten.

    The range is extended to `values`, the values of all runs. An axis from the worst to the best run would make any difference
    between two runs look large.
    """
    low, high = min(values), max(values)
    if goal.usual is None:
        return 10.0 ** math.floor(math.log10(low)), 10.0 ** (math.floor(math.log10(high)) + 1)
    return min(low, goal.usual[0]), max(high, goal.usual[1])


def _scale(goal: ParetoGoal, values: list[float]) -> svg.Scale:
    """Return the axis of a goal that all runs share; better values are on the right."""
    low, high = map(goal.position, _ends(goal, values))
    return svg.Scale(high, low, EDGE, WIDE - EDGE) if goal.low_first else svg.Scale(low, high, EDGE, WIDE - EDGE)


def _axis(goal: ParetoGoal, scale: svg.Scale, values: list[float]) -> Markup:
    """Draw an axis with the numbers at its two ends."""
    body = "".join(
        svg.line(scale(goal.position(v)), 13, scale(goal.position(v)), 18, "z")
        + svg.text(scale(goal.position(v)), 10, goal.text(v), "tk", "middle")
        for v in _ends(goal, values)
    )
    return svg.svg(WIDE, 18, body)


def _background(goals: list[ParetoGoal], scales: dict[str, svg.Scale], rows: list[dict[Any, Any]]) -> Markup:
    """Draw, for each goal, the faint dots of all runs, as SVG definitions that every strip of the goal reuses."""
    marks = ""
    for goal in goals:
        spots = [(scales[goal.key](goal.position(float(row[goal.key]))), 11.0) for row in rows]
        line = svg.line(EDGE, 11, WIDE - EDGE, 11, "g")
        marks += f'<g id="goal-{goal.key}">{line}{svg.dots(spots, "sw fine")}</g>'
    return Markup(f'<svg class="vh" width="0" height="0" aria-hidden="true"><defs>{marks}</defs></svg>')  # noqa: S704


def _cell(goal: ParetoGoal, scale: svg.Scale, value: float) -> tuple[str, Markup]:
    """Return the value of a run as text, and the strip with the run's mark."""
    body = f'<use href="#goal-{goal.key}"/>' + svg.circle(scale(goal.position(value)), 11, 4.6, "dot")
    return goal.text(value), svg.svg(WIDE, 22, body, "", "mi")


def _numbers(run: Run, goals: list[ParetoGoal], row: dict[Any, Any], on_front: bool) -> dict[str, Any]:
    """Return the row of a recipe in the table below the figure; `row` is its row of the table `goals`."""
    share = float(row["p_front"])
    intervals = {"auroc": run.external.span, "gap": run.gap.span}
    return {
        "label": run.label,
        "cells": [(goal.text(float(row[goal.key])), intervals.get(goal.key, "")) for goal in goals],
        "beaten": "no" if on_front else "yes",
        "share": percent(share, 1) if is_number(share) else "",
    }
