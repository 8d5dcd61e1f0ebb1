"""Section on ablation: pairs of recipes that differ in one factor, and a surrogate model.

A factor is a setting that the grid varies; a level is one value of a factor. The surrogate model is a random forest that
predicts a metric of a recipe from the levels of its factors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from scipy.special import stdtrit

from reports.drawing import svg
from reports.formatting import DASH, is_number, places, signed
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData
from reports.sentences.verdicts import HIGHER_MEAN, LARGER_MEAN_GAP, LOWER_MEAN, SMALLER_MEAN_GAP, UNCLEAR_MEAN, verdict
from reports.tables import rows_of

METRICS = {"auroc": "external AUROC", "gap": "gap"}
# words for a mean change above 0 and below 0
VERDICTS = {"auroc": (HIGHER_MEAN, LOWER_MEAN), "gap": (LARGER_MEAN_GAP, SMALLER_MEAN_GAP)}
AXIS_WORDS = {"auroc": ("lower", "higher"), "gap": ("smaller", "larger")}
WIDTH, HEIGHT = 190, 20
LEVELS = 14  # maximum number of factor levels with a SHAP value
SHOWN = 12  # levels of a factor that are visible at first
DOT, HOLLOW, NO_VERDICT = "dot", "dot o", "dot n"  # CSS classes of a dot: clear, unclear, without verdict
LEAST_PAIRS = 3  # a level with fewer pairs of runs gets no verdict


def factors(data: ReportData) -> Section:
    """Write the section: a table of changes for each factor; empty if no two runs differ in exactly one factor."""
    table = data.tables["ablation"]
    if not len(table):
        return Section("factors", "", Markup(""))
    heads, factor_tables = _forest(table)
    context = {
        "title": _title(table, data.unit),
        "unit": data.unit,
        "and_seeds": data.words.and_seeds,
        "heads": heads,
        "few": any(int(num) < LEAST_PAIRS for num in table["num_run_pairs"]),
        "parts": [part | {"levels": part["levels"][:SHOWN]} for part in factor_tables],
        "folded": [part | {"levels": rest} for part in factor_tables if (rest := part["levels"][SHOWN:])],
        "models": [
            _model(str(m), rows, data.tables["factor_shap"])
            for m, rows in data.tables["surrogate"].groupby("metric", sort=False)
        ],
    }
    return Section("factors", "Ablation", write("factors.html.j2", **context))


def _title(table: pd.DataFrame, unit: str) -> str:
    """Return the title: the levels that clearly change the external AUROC (see `_is_clear`), or that no level does."""
    rows = table[table["metric"] == "auroc"].to_dict("records")
    effects = [(row, _effect(row, len(rows))) for row in rows]
    names = [f"{row['level']} ({signed(effect.value)})" for row, effect in effects if _is_clear(row, effect)]
    if len(names) == 1:
        return f"Clear mean change of the external AUROC: {names[0]}"
    if names:
        return f"{len(names)} factor levels clearly change the mean external AUROC"
    clear = [row for row, effect in effects if effect.clear]
    if all(int(row["num_run_pairs"]) < LEAST_PAIRS for row in clear or [row for row, _ in effects]):
        return "Too few pairs of runs for a verdict on any factor"
    if clear:
        return f"No factor changes the mean external AUROC more than pairs of {unit}s vary"
    return "No factor clearly changes the mean external AUROC"


def _is_clear(row: Mapping[Any, Any], effect: Estimate) -> bool:
    """Return whether a change is clear both over patients and seeds (`effect`) and over pairs (`_beyond_pairs`)."""
    return effect.clear and _beyond_pairs(row)


def _effect(row: Mapping[Any, Any], num_compared: int) -> Estimate:
    """Return the mean change by a level, with a simultaneous interval for `num_compared` levels (of all factors).

    If only one pair of recipes differs by this level, the interval is the simultaneous interval of this pair in the
    ranking.
    """
    effect = Estimate.of(row)
    return effect if effect.is_compared else effect.corrected(num_compared)


def _beyond_pairs(row: Mapping[Any, Any]) -> bool:
    """Return whether a change is clear over pairs: the 95 % interval over pairs of recipes (Student's t) excludes 0.

    With fewer than LEAST_PAIRS pairs of recipes, this interval is not used. Then the result is whether there are at least
    LEAST_PAIRS pairs of runs.
    """
    num = int(row["num_pairs"])
    if num < LEAST_PAIRS:
        return int(row["num_run_pairs"]) >= LEAST_PAIRS
    return abs(float(row["value"])) > float(stdtrit(num - 1, 0.975)) * float(row["pair_sd"]) / math.sqrt(num)


def _forest(table: pd.DataFrame) -> tuple[list[tuple[str, Markup]], list[dict[str, Any]]]:
    """Return (name, axis figure) of each metric, and one table per factor with its reference level.

    The reference level is the level with which the other levels of the factor are compared. A table has a row per
    level, and in each row a cell per metric.
    """
    metrics = [str(m) for m in table["metric"].unique()]
    sizes = table["metric"].value_counts()
    scales = {metric: _scale(table[table["metric"] == metric], int(sizes[metric])) for metric in metrics}
    factor_tables = []
    for (factor, reference), rows in table.groupby(["factor", "reference"], sort=False):
        levels: list[dict[str, Any]] = []
        for level, level_rows in rows.groupby("level", sort=False):
            by_metric = {str(row["metric"]): row for row in level_rows.to_dict("records")}
            first = next(iter(by_metric.values()))
            cells = [_cell(m, by_metric.get(m), int(sizes[m]), scales[m]) for m in metrics]
            levels.append({"level": str(level), "cells": cells, "num_pairs": int(first["num_run_pairs"])})
        if len(levels) > SHOWN:  # the visible levels are those with a clear change, if there are any
            levels.sort(key=lambda row: not any(cell and cell["clear"] for cell in row["cells"]))
        factor_tables.append({"factor": str(factor), "reference": str(reference), "levels": levels})
    return [(METRICS.get(m, m), _axis(m, scales[m])) for m in metrics], factor_tables


def _axis(metric: str, scale: svg.Scale) -> Markup:
    """Draw the tick numbers of an axis; words left and right of 0 state what a change in this direction means."""
    below, above = AXIS_WORDS.get(metric, ("lower", "higher"))
    grid = svg.ticks(scale.low, scale.high, 5)  # with 4 in place of 5, the axis can have only the tick 0
    body = svg.text(scale(0) - 6, 10, f"{below} ←", "tk", "end") + svg.text(scale(0) + 6, 10, f"→ {above}", "tk")
    for t in grid:
        body += svg.text(scale(t), 25, svg.tick_text(t, grid), "tk", "middle")
        body += svg.line(scale(t), 28, scale(t), 32, "z")
    return svg.svg(WIDTH, 32, body)


def _scale(rows: pd.DataFrame, num_compared: int) -> svg.Scale:
    """Return the axis that all rows of a metric share; 0 is in its center."""
    effects = [_effect(row, num_compared) for row in rows.to_dict("records")]
    ends = [v for effect in effects for v in (effect.value, *effect.bounds) if is_number(v)]
    reach = max([abs(v) for v in ends] or [0.01]) * 1.05 or 0.01
    return svg.Scale(-reach, reach, 6, WIDTH - 6)


def _cell(metric: str, row: Mapping[Any, Any] | None, num_compared: int, scale: svg.Scale) -> dict[str, Any] | None:
    """Return the table cell of one mean change: mark, number and verdict (see VERDICTS); None if `row` is None.

    A change over fewer than three pairs of runs has a gray mark, and the words "too few pairs" in place of a verdict. A
    change within the variation between pairs is unclear.
    """
    if row is None:
        return None
    enough = int(row["num_run_pairs"]) >= LEAST_PAIRS
    effect = _effect(row, num_compared)
    clear = _is_clear(row, effect)
    mark = DOT if clear else HOLLOW
    return {
        "name": METRICS.get(metric, metric),
        "effect": effect,
        "clear": clear and enough,
        "mark": _mark(effect, mark if enough else NO_VERDICT, scale),
        "verdict": _verdict(metric, effect, clear, enough),
        "pair_sd": places(float(row["pair_sd"])) if is_number(row["pair_sd"]) else DASH,
    }


def _verdict(metric: str, effect: Estimate, clear: bool, enough: bool) -> str:
    """Return the words for the verdict on a mean change, such as "higher mean".

    Sections that compare two runs have other words, such as "higher".

    `clear`: whether the change is clear (see `_is_clear`). `enough`: whether there are enough pairs of runs for a verdict.
    """
    if not enough:
        return "too few pairs"
    return verdict(effect, *VERDICTS.get(metric, (HIGHER_MEAN, LOWER_MEAN))) if clear else UNCLEAR_MEAN


def _mark(effect: Estimate, css: str, scale: svg.Scale) -> Markup:
    """Draw a mean change with its intervals; `css` is the class of the dot."""
    y = HEIGHT / 2
    body = svg.line(scale(0), 0, scale(0), HEIGHT, "z")
    body += svg.intervals(effect, scale, y)
    return svg.svg(WIDTH, HEIGHT, body + svg.circle(scale(effect.value), y, 4, css))


def _levels(shap: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (factor, level, mean SHAP value) of the first LEVELS levels; the most important factors come first.

    A SHAP value is the amount by which the level changes the surrogate model's prediction for the run.
    """
    size = shap["shap"].abs().groupby(shap["factor"]).mean()
    means = shap.groupby(["factor", "level"])["shap"].mean().reset_index()
    rows = [(str(factor), str(level), float(mean)) for factor, level, mean in rows_of(means, "factor", "level", "shap")]
    rows.sort(key=lambda row: (-float(size[row[0]]), row[0], -row[2], row[1]))
    return [(factor, level, signed(mean)) for factor, level, mean in rows[:LEVELS]]


def _model(metric: str, rows: pd.DataFrame, shap: pd.DataFrame) -> Mapping[str, Any]:
    first = rows.iloc[0]
    r2 = f"{places(float(first['r2']), 2)}, at least {places(float(first['r2_low']), 2)}"
    shares: Sequence[tuple[str, str]] = [
        (str(row["factor"]), places(float(row["importance"])))
        for _, row in rows.sort_values("importance", ascending=False).iterrows()
        if str(row["factor"]) and not math.isnan(float(row["importance"]))
    ]
    return {
        "name": METRICS.get(metric, metric),
        "r2": r2,
        "num_runs": int(first["num_runs"]),
        "shares": shares,
        "levels": _levels(shap[shap["metric"] == metric]),
    }
