"""Section on cost: external AUROC by operations, training time and parameters; AUROC during training.

A run is on the Pareto front if no other run has at least its AUROC at a lower cost, or a higher AUROC at the same cost.
"""

from collections.abc import Mapping
from html import unescape
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import charts, svg
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData
from reports.sentences import cost as cost_sentences
from reports.sentences import main_findings as sentences
from reports.tables import rows_of

OTHERS = (  # (cost, title, column head, unit, divisor) of each cost except operations
    ("device_hours", "External AUROC by training time", "Training", "hours", 1.0),
    ("params", "External AUROC by number of parameters", "Parameters", "million", 1e6),
)
WIDTH, HEIGHT, LEFT, BOTTOM = 460.0, 260.0, 34.0, 34.0  # px: size and margins of the figure with AUROC by training time
DRAWN = 40  # maximum number of curves; a reader could not distinguish more


def cost(data: ReportData) -> Section:
    """Write the section: scatter of external AUROC and operations, Pareto front for each cost, and AUROC by training time."""
    runs = [r for r in data.ranked if r.quantity("macs") > 0]
    budget = _budget(data, "macs")
    front = {r.id for r in runs if r.id in budget and budget[r.id]["on_front"]}
    front_labels = [r.label for r in sorted(runs, key=lambda r: r.quantity("macs")) if r.id in front]
    has_chart = len(runs) > 1 and bool(front)
    chart = charts.cost(data, front) if has_chart else None
    context = {
        "data": data,
        "title": sentences.pareto_title(front_labels, len(runs), data.unit)
        if front or not data.ranked
        else "No external AUROC to compare with the cost"
        if runs
        else "Operations were not counted",
        "runs": sorted(runs, key=lambda r: (r.quantity("macs"), -r.score.value, r.id)),
        "front": front,
        "budget": budget,
        "others": [_runs_by_cost(data, *other_cost) for other_cost in OTHERS],
        "legend": charts.families(runs),
        "drawn": has_chart,
        # the chart interprets names as HTML, so its names are escaped; the menus show plain text and need unescaped names
        "axes": {
            way: [{"key": axis["key"], "name": unescape(axis["name"])} for axis in chart["axes"][way]]
            for way in ("x", "y")
        }
        if chart
        else {},
        "unmeasured": sum(r.has_given_vectors for r in data.ranked),
        "devices": sorted({str(r.cost.get("throughput_device", "")) for r in runs} - {""}),
        "curves": _anytime(data),
    }
    return Section("cost", "Cost", write("cost.html.j2", **context), (chart,) if chart else ())


def _runs_by_cost(data: ReportData, cost: str, title: str, word: str, unit: str, scale: float) -> dict[str, Any]:
    """Return the table of one cost: the runs, cheapest first, each with the amount of this cost and the dict of `_budget`.

    `title`: title of the table. `word`: column head. `unit`: unit of the amounts, which are divided by `scale`; the unit
    of hours is chosen here.
    """
    budget = _budget(data, cost)
    runs = [r for r in data.ranked if r.id in budget]
    amount = {r.id: budget[r.id]["amount"] / scale for r in runs}
    rows = sorted(runs, key=lambda r: (amount[r.id], -r.score.value, r.id))
    device = ""
    if cost == "device_hours" and rows:
        unit, factor = cost_sentences.time_unit(max(amount.values()))
        amount = {run_id: hours * factor for run_id, hours in amount.items()}
        device = cost_sentences.device_name(str(rows[0].facts.get("device") or ""))
    left_out = len(data.ranked) - len(rows)
    return {
        "said": title,
        "word": word,
        "unit": unit,
        "of": device,
        "rows": [(run, amount[run.id], budget[run.id]) for run in rows],
        "left_out": left_out,
    }


def _budget(data: ReportData, cost: str) -> dict[str, Mapping[str, Any]]:
    """Return {run id: dict with amount, on_front and gain} for one cost.

    amount: the cost, in the units of the table `frontier`. on_front: whether the run is on the Pareto
    front. gain: AUROC of the run minus AUROC of the best cheaper run.
    """
    table = data.tables["frontier"]
    return {
        str(row["run_id"]): {
            "amount": float(row["amount"]),
            "on_front": bool(row["on_front"]),
            "gain": Estimate.of(row, "gain"),
        }
        for row in table[table["cost"] == cost].to_dict("records")
    }


def _anytime(data: ReportData) -> list[dict[str, Any]]:
    """Return one dict for each device: a sentence, the curves of AUROC by training time, and the Pareto front (`steps`).

    `steps` has a tuple (run, epoch, time, AUROC) for each epoch on the front. The AUROC is on the split that selects the
    epoch.
    """
    table = data.tables["anytime"]
    labels = data.labels
    figures = []
    for device, rows in table[table["run_id"].isin(list(labels))].groupby("device", sort=True):
        hours = float(rows["hours"].max())
        reached_at = [
            float(rows.loc[rows["hours"] <= share * hours * (1 + 1e-9), "reached"].max()) for share in (0.25, 0.5, 1)
        ]
        front = rows[rows["on_front"].astype(bool)].sort_values(["hours", "run_id"])
        unit, factor = cost_sentences.time_unit(hours)
        steps = [
            (labels[str(r["run_id"])], int(r["epoch"]), float(r["hours"]) * factor, float(r["reached"]))
            for r in front.to_dict("records")
        ]
        sentence = cost_sentences.anytime(str(device), hours, *reached_at)
        figures.append(
            {
                "said": sentence,
                "device": str(device),
                "figure": _curves(data, rows, unit, factor, sentence),
                "unit": unit,
                "steps": steps,
            }
        )
    return figures


def _curves(data: ReportData, rows: pd.DataFrame, unit: str, factor: float, label: str) -> Markup:
    """Draw the AUROC of each run by training time; a dot marks an AUROC that no other run reached in less time.

    The curve of the first run is dark. Hours are multiplied by `factor`, which converts them to `unit`. `label`: text for
    screen readers.
    """
    run_ids = set(rows["run_id"].unique())
    order = [r.id for r in data.runs if r.id in run_ids][:DRAWN]
    drawn_rows = rows[rows["run_id"].isin(order)]
    low, high = float(drawn_rows["reached"].min()), float(drawn_rows["reached"].max())
    margin = max(0.01, 0.05 * (high - low))
    x = svg.Scale(0.0, float(drawn_rows["hours"].max()) * factor, LEFT, WIDTH - 8)
    y = svg.Scale(low - margin, high + margin, HEIGHT - BOTTOM, 8)
    across, upward = svg.ticks(x.low, x.high, 5), svg.ticks(y.low, y.high, 5)
    body = "".join(
        svg.line(LEFT, y(t), WIDTH - 8, y(t), "g") + svg.text(LEFT - 6, y(t) + 4, svg.tick_text(t, upward), "tk", "end")
        for t in upward
    )
    body += "".join(svg.text(x(t), HEIGHT - BOTTOM + 16, svg.tick_text(t, across), "tk", "middle") for t in across)
    body += svg.text(WIDTH - 8, HEIGHT - 4, f"{unit} of training →", "tk", "end")
    spots: dict[str, list[tuple[float, float]]] = {}
    for run_id, hours, reached in rows_of(drawn_rows.sort_values("epoch"), "run_id", "hours", "reached"):
        spots.setdefault(str(run_id), []).append((x(hours * factor), y(reached)))
    for k, run_id in reversed(list(enumerate(order))):
        body += svg.steps(spots[run_id], "rl-plain" if k else "rl-internal")
    front = drawn_rows.loc[drawn_rows["on_front"].astype(bool), ["hours", "reached"]].to_numpy(float).tolist()
    body += "".join(svg.circle(x(h * factor), y(v), 3, "m-ext") for h, v in front)
    return svg.svg(WIDTH, HEIGHT, body, label)
