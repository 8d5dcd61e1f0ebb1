"""Make plotly charts as plain data (dicts and lists): traces and layouts.

A trace is a set of marks or a line; a layout has axes and labels. Colors are names of CSS variables ("var(--ink)"); a
script of the page inserts the values of the theme. Names of runs and hospitals are escaped, because plotly interprets
some HTML in its texts.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number, two_figures
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData

# keys: id (of the HTML element), data (traces), layout, height (px), narrow (height on a narrow screen, px), top (text
# above the chart)
Chart = dict[str, Any]

# Each cost: column of the table `costs`; name; unit; divisor, from the column's unit to this unit; sign (1 if a high value
# is better, -1 if a low value is better); field with the device on which the cost was measured ("" if the cost does not
# depend on a device)
COSTS = (
    ("macs", "Operations", "GMACs per image", 1e9, -1, ""),
    ("params", "Parameters", "million parameters", 1e6, -1, ""),
    ("seconds_per_epoch", "Time per epoch", "seconds per epoch", 1.0, -1, "device"),
    ("peak_memory_bytes", "Peak memory", "MB of peak memory", 1e6, -1, "device"),
    ("images_per_second", "Speed", "images per second", 1.0, 1, "throughput_device"),
)
CROSSES = 60  # maximum number of runs whose intervals are drawn; more intervals would hide the marks
SYMBOLS = {  # shape of a mark in `svg.SHAPES` -> plotly's name of this shape
    "circle": "circle",
    "square": "square",
    "triangle": "triangle-up",
    "diamond": "diamond",
    "triangle-down": "triangle-down",
    "pentagon": "pentagon",
    "cross": "cross",
}


def families(runs: Sequence[Run]) -> list[tuple[str, Markup]]:
    """Return the legend: pairs (family, its mark as SVG) for each architecture family of these runs."""
    return [
        (
            f,
            svg.svg(
                12, 12, _mark(svg.SHAPES.get(f, "circle"), f"fam-{f}" if f in svg.SHAPES else "fam-other"), "", "ky"
            ),
        )
        for f in dict.fromkeys(r.family for r in sorted(runs, key=_family_order))
        if f
    ]


def internal_against_external(data: ReportData) -> Chart:
    """Return a scatter chart of recipes: internal AUROC on the x axis, external AUROC on the y axis, on shared findings.

    On the diagonal line, both AUROCs are equal.
    """
    runs = [r for r in data.ranked if r.internal_common.has_value and r.external_common.has_value]
    internal, external = [r.internal_common for r in runs], [r.external_common for r in runs]
    xs, ys = [e.value for e in internal], [e.value for e in external]
    low, high = min(xs + ys) - 0.1, max(xs + ys) + 0.1
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [low, high],
            "y": [low, high],
            "hoverinfo": "skip",
            "line": {"color": "var(--rule2)", "width": 1.2, "dash": "dash"},
        },
        *_fitted(data, min(xs), max(xs)),
        *points(
            runs,
            xs,
            ys,
            internal,
            external,
            lambda r: f"internal {r.internal_common.with_interval}<br>external {r.external_common.with_interval}",
        ),
    ]
    x_range, y_range = _range(xs, internal), _range(ys, external)
    # the y axis must contain the upper end of the x axis, so that a part of the diagonal is visible
    y_range = (min(y_range[0], x_range[1]), max(y_range[1], x_range[1]))
    # The label "no gap" stands on the diagonal, at a place that intervals rarely cover.
    diagonal_x = x_range[0] + 0.78 * (x_range[1] - x_range[0])
    line = {
        "x": diagonal_x,
        "y": diagonal_x,
        "text": "no gap",
        "showarrow": False,
        "xanchor": "right",
        "yanchor": "bottom",
        "xshift": -6,
        "yshift": 2,
        "font": {"color": "var(--ink3)", "size": 12},
    }
    layout = {
        "xaxis": axis("internal AUROC →", *x_range),
        "yaxis": axis("", *y_range),
        "annotations": [line, *labels(runs, xs, ys)],
    }
    return {
        "id": "c-internal",
        "data": traces,
        "layout": layout,
        "height": 340 if len(runs) > 3 else 240,
        "narrow": 320 if len(runs) > 3 else 240,
        "top": "↑ external AUROC",
    }


def _fitted(data: ReportData, low: float, high: float) -> list[Chart]:
    """Return the trace of the line that predicts external from internal AUROC; [] if no line was fitted.

    The line is straight on the logit scale. `low` and `high`: the internal AUROC at the two ends of the line.
    """
    table = data.tables["robustness"]
    line = table[table["dataset"] == "external"]
    if not len(line) or not 0 < low < high < 1:
        return []
    slope, intercept = float(line["slope"].iloc[0]), float(line["intercept"].iloc[0])
    xs = [low + (high - low) * k / 20 for k in range(21)]
    ys = [1 / (1 + math.exp(-(slope * math.log(x / (1 - x)) + intercept))) for x in xs]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": xs,
            "y": ys,
            "hoverinfo": "skip",
            "line": {"color": "var(--ink2)", "width": 1.2},
        }
    ]


def cost(data: ReportData, front: set[str]) -> Chart:
    """Return a scatter chart of the ranked recipes: GMACs per image on a logarithmic x axis, external AUROC on the y axis.

    A line shows the Pareto front; recipes that are not on the front have hollow marks. `front`: ids of the recipes on the
    front. The key `axes` has the values of every axis that a reader can choose; the script computes the Pareto front for
    the chosen axes.
    """
    runs = [r for r in data.ranked if r.quantity("macs") > 0]
    axes = _axes(data, runs)
    (x_axis, *_), (y_axis, *_) = axes["x"], axes["y"]
    xs, ys = x_axis["values"], y_axis["values"]
    stairs = sorted((x, y) for r, x, y in zip(runs, xs, ys, strict=True) if r.id in front)
    y_low, _ = y_axis["axis"]["range"]
    edge = 10.0 ** x_axis["axis"]["range"][1]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "hoverinfo": "skip",
            "x": [stairs[0][0], *(x for x, _ in stairs), edge],
            "y": [y_low, *(y for _, y in stairs), stairs[-1][1]],
            "line": {"color": "var(--ink2)", "width": 1.2, "shape": "hv"},
        },
        *points(
            runs,
            xs,
            ys,
            None,
            [r.external for r in runs],
            lambda r: f"{two_figures(r.quantity('macs') / 1e9)} GMACs<br>external AUROC {r.external.with_interval}",
            front,
        ),
    ]
    labeled_runs = [r for r in runs if r.id in front][:6]
    logs = {r.id: math.log10(x) for r, x in zip(runs, xs, strict=True)}
    notes = labels(labeled_runs, [logs[r.id] for r in labeled_runs], [r.external.value for r in labeled_runs])
    layout = {"xaxis": x_axis["axis"], "yaxis": y_axis["axis"], "annotations": notes}
    top = "↑ external AUROC"
    return {"id": "c-cost", "data": traces, "layout": layout, "height": 290, "narrow": 320, "top": top, "axes": axes}


def _axes(data: ReportData, runs: Sequence[Run]) -> Chart:
    """Return the axes that a reader can choose. Keys: runs (HTML ids of `runs`), x and y (lists of axes, default first).

    x: costs, on a log scale. y: scores, with the bounds of their intervals. An axis is a dict with a key, a name, the
    plotly axis, one value for each run (None if unknown), and `sign` (-1 if low is better, else 1). Memory, speed and time
    per epoch depend on the device, so they are left out if runs were measured on different devices.
    """
    x_axes = []
    for key, name, unit, scale, sign, field in COSTS:
        values = [r.quantity(key) / scale for r in runs]
        known = [v for v in values if v > 0]
        devices = {str({**r.facts, **r.cost}.get(field)) for r in runs if r.quantity(key) > 0}
        if len(known) < 2 or len(devices) > 1:
            continue
        title = f"{unit}, log scale →"
        numbers = [v if v > 0 else None for v in values]
        x_axes.append(
            {"key": key, "name": name, "unit": unit, "sign": sign, "values": numbers, "axis": _log_axis(title, known)}
        )
    accuracies = [("external", "External AUROC", 1, [r.external for r in runs])]
    accuracies += [(h.key, f"AUROC, {h.short}", 1, [r.hospitals[h.key] for r in runs]) for h in data.hospitals]
    accuracies += [
        ("internal", "Internal AUROC", 1, [r.internal for r in runs]),
        ("gap", "Gap", -1, [r.gap for r in runs]),
        ("ece", "ECE, external", -1, [r.ece for r in runs]),
    ]
    y_axes = []
    for key, name, sign, estimates in accuracies:
        scored = [e for e in estimates if e.has_value]
        if len(scored) < 2:
            continue
        columns = {
            bound: [v if is_number(v) else None for v in values]
            for bound, values in (
                ("values", [e.value for e in estimates]),
                ("low", [e.low for e in estimates]),
                ("high", [e.high for e in estimates]),
            )
        }
        plotly_axis = axis("", *_range([e.value for e in scored], scored))
        y_axes.append({"key": key, "name": escape(name), "sign": sign, "axis": plotly_axis, **columns})
    return {"runs": [r.anchor for r in runs], "x": x_axes, "y": y_axes}


def _log_axis(title: str, values: list[float]) -> Chart:
    """Return a plotly axis on a logarithmic scale that contains all values (above 0).

    Ticks are at 1, 2 and 5 times powers of ten; with ten or more such ticks, only every third tick is drawn.
    """
    low, high = min(values) / 1.6, max(values) * 1.6
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**e for e in powers for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    shown = ticks[:: 1 if len(ticks) < 10 else 3]
    return axis(title, 0, 1) | {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": shown,
        "ticktext": [f"{t:g}" for t in shown],
    }


def probe_against_gap(data: ReportData) -> Chart:
    """Return a scatter chart: balanced accuracy of the source classifier on the x axis, gap in AUROC on the y axis."""
    runs = [r for r in data.ranked if r.probe.has_value and r.gap.has_value]
    return _score_against_gap(
        runs, [r.probe for r in runs], "probe", "balanced accuracy of the source classifier →", 300
    )


def causal_against_gap(runs: Sequence[Run]) -> Chart:
    """Return a scatter chart: causal score (a change in probability) on the x axis, gap in AUROC on the y axis."""
    return _score_against_gap(runs, [r.causal for r in runs], "causal", "change in probability minus control →", 300)


def _score_against_gap(runs: Sequence[Run], scores: list[Estimate], name: str, title: str, height: int) -> Chart:
    gaps = [r.gap for r in runs]
    xs, ys = [e.value for e in scores], [e.value for e in gaps]
    words = {r.id: f"{name} {e.with_interval}<br>gap {r.gap.with_interval}" for r, e in zip(runs, scores, strict=True)}
    low, high = _range(ys, gaps)
    x_range, y_range = _range(xs, scores), (min(low, 0.0), high)
    layout = {
        "xaxis": axis(title, *x_range),
        "yaxis": axis("", *y_range) | {"zeroline": True, "zerolinecolor": "var(--ink2)"},
        "annotations": labels(runs, xs, ys),
    }
    traces = points(runs, xs, ys, scores, gaps, lambda r: words[r.id])
    top = "↑ generalization gap, AUROC"
    return {"id": f"c-{name}", "data": traces, "layout": layout, "height": height, "narrow": 300, "top": top}


def points(
    runs: Sequence[Run],
    xs: list[float],
    ys: list[float],
    x_of: list[Estimate] | None,
    y_of: list[Estimate],
    words: Any,
    filled: set[str] | None = None,
) -> list[Chart]:
    """Return plotly traces: one with the intervals of all runs, then one with the marks of each architecture family.

    The mark of a run is at its x and y in `xs` and `ys`. The estimates `x_of` and `y_of` have the
    horizontal and the vertical intervals; if `x_of` is None, there are no horizontal intervals.
    `words` is a function that returns the hover text of a run. Runs that are not in `filled` have hollow marks; None: all
    marks are filled. With more than CROSSES runs, marks are small and no interval is drawn.
    """
    traces: list[Chart] = []
    if len(runs) <= CROSSES:
        bars = {
            "type": "scatter",
            "mode": "markers",
            "x": xs,
            "y": ys,
            "hoverinfo": "skip",
            "opacity": 0.3,
            "marker": {"size": 0.1, "color": "var(--ink2)"},
            "error_y": _bars(y_of),
        }
        traces.append(bars | ({"error_x": _bars(x_of)} if x_of else {}))
    for family in dict.fromkeys(r.family for r in sorted(runs, key=_family_order)):
        indices = [i for i, r in enumerate(runs) if r.family == family]
        color = f"var(--f-{family})" if family in svg.SHAPES else "var(--ink2)"
        hollow = [filled is not None and runs[i].id not in filled for i in indices]
        marker = {
            "symbol": SYMBOLS[svg.SHAPES.get(family, "circle")],
            "size": 10 if len(runs) <= CROSSES else 6,
            "opacity": 1,
            "color": ["var(--paper)" if h else color for h in hollow],
            "line": {"color": color, "width": 1.5},
        }
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [xs[i] for i in indices],
                "y": [ys[i] for i in indices],
                "marker": marker,
                "hoverinfo": "text",
                "hovertext": [f"{escape(runs[i].label)}<br>{words(runs[i])}" for i in indices],
                "customdata": [runs[i].anchor for i in indices],
            }
        )
    return traces


def labels(runs: Sequence[Run], xs: list[float], ys: list[float]) -> list[Chart]:
    """Return labels for the runs with the largest and the smallest x and y, the most important label first.

    If there are at most four runs, all are labeled. A script of the page places each label beside its mark, and leaves out
    a label that would cover a mark or another label.
    """
    by_y, by_x = (sorted(range(len(runs)), key=values.__getitem__) for values in (ys, xs))
    candidates = [*reversed(by_y)] if len(runs) <= 4 else dict.fromkeys([by_y[-1], by_y[0], by_x[-1], by_x[0]])
    font = {"color": "var(--ink)", "size": 12.5}
    return [
        {"x": xs[i], "y": ys[i], "text": escape(runs[i].label), "showarrow": False, "font": font} for i in candidates
    ]


def axis(title: str, low: float, high: float, leading: bool = False) -> Chart:
    """Return a plotly axis from `low` to `high` with at most six ticks at round numbers.

    Ticks have the number format of the page; `leading`: keep the zero before the decimal point.
    """
    grid = svg.ticks(low, high, 6)
    return {
        "range": [low, high],
        "tickvals": grid,
        "ticktext": [f"{t:g}" if leading else svg.tick_text(t, grid) for t in grid],
        "title": {"text": title},
        "zeroline": False,
    }


def _range(values: list[float], estimates: list[Estimate]) -> tuple[float, float]:
    """Return an axis range (low, high) that contains all values and the intervals of `estimates`.

    With more than CROSSES estimates, intervals are not drawn, so the range need not contain them.
    """
    bounds = [b for e in estimates if len(estimates) <= CROSSES and e.has_interval for b in (e.low, e.high)]
    low, high = min(values + bounds), max(values + bounds)
    pad = 0.06 * (high - low) + 0.002
    return low - pad, high + pad


def _bars(estimates: list[Estimate]) -> Chart:
    """Return plotly error bars without end caps, from the intervals; an estimate without interval has length 0."""
    up = [e.high - e.value if e.has_interval else 0 for e in estimates]
    down = [e.value - e.low if e.has_interval else 0 for e in estimates]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "width": 0,
        "thickness": 1,
        "color": "var(--ink2)",
    }


def _family_order(run: Run) -> tuple[int, str]:
    families = list(svg.SHAPES)
    return (families.index(run.family) if run.family in families else len(families), run.family)


def _mark(shape: str, css: str) -> str:
    """Draw a mark of 12 x 12 px for the legend; `shape` is a value of `svg.SHAPES`."""
    path_of_shape = {
        "circle": "M6 1.8a4.2 4.2 0 1 0 .001 0z",
        "square": "M2 2h8v8h-8z",
        "triangle": "M6 1.2l5 9h-10z",
        "diamond": "M6 .8l5.2 5.2l-5.2 5.2l-5.2 -5.2z",
        "triangle-down": "M6 10.8l5 -9h-10z",
        "pentagon": "M6 1l5 3.8l-1.9 6h-6.2l-1.9 -6z",
        "cross": "M4.4 1h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
    }
    return f'<path d="{path_of_shape[shape]}" class="{css}"/>'
