"""Section on cost: external AUROC by operations, training time and parameters.

A run is on the Pareto front if no other run has at least its AUROC at a lower cost, or a higher AUROC at the same cost.
"""

from collections.abc import Mapping
from html import unescape
from typing import Any

from reports.drawing import charts
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData
from reports.sentences import cost as cost_sentences
from reports.sentences import main_findings as sentences

OTHERS = (  # (cost, title, column head, unit, divisor) of each cost except operations
    ("device_hours", "External AUROC by training time", "Training", "hours", 1.0),
    ("params", "External AUROC by number of parameters", "Parameters", "million", 1e6),
)


def cost(data: ReportData) -> Section:
    """Write the section: scatter of external AUROC and operations, and Pareto front for each cost."""
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
