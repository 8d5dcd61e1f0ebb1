"""Section on cost: external AUROC by operations, training time and parameters.

A run is on the Pareto front if no other run has at least its AUROC at a lower cost, or a higher AUROC at the same cost.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from reports.drawing import scatter
from reports.formatting import two_figures
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.sentences import cost as cost_sentences
from reports.sentences import main_findings as sentences

OTHERS = (  # (cost, title, column head, unit, divisor) of each cost except operations
    ("device_hours", "External AUROC by training time", "Training", "hours", 1.0),
    ("params", "External AUROC by number of parameters", "Parameters", "million", 1e6),
)


class _Cost(NamedTuple):
    """A run in the table `frontier`: its cost in the units of the table, and its gain of AUROC over the best cheaper run."""

    amount: float
    on_front: bool
    gain: Estimate


def cost(data: ReportData) -> Section:
    """Write the section: scatter of AUROC and operations, and Pareto front for each cost."""
    runs = sorted(
        (r for r in data.ranked if r.quantity("macs") > 0), key=lambda r: (r.quantity("macs"), -r.score.value, r.id)
    )
    costs = _costs(data, "macs")
    front = {r.id for r in runs if r.id in costs and costs[r.id].on_front}
    title = "Operations were not counted"
    if front or not data.ranked:
        title = sentences.pareto_title([r.label for r in runs if r.id in front], len(runs), data.unit)
    elif runs:
        title = "No external AUROC to compare with the cost"
    has_chart = len(runs) > 1 and bool(front)
    gmacs = {r.id: r.quantity("macs") / 1e9 for r in runs}
    context = {
        "data": data,
        "title": title,
        "runs": runs,
        "front": front,
        "costs": costs,
        "others": [_by_cost(data, *other_cost) for other_cost in OTHERS],
        "legend": scatter.families(runs),
        "chart": _chart(data, runs, gmacs, front, "Operations", "GMACs per image", title) if has_chart else "",
        "unmeasured": sum(r.has_given_vectors for r in data.ranked),
        "devices": sorted({str(r.cost.get("throughput_device", "")) for r in runs} - {""}),
    }
    return Section("cost", "Cost", write("cost.html.j2", **context))


def _by_cost(data: ReportData, cost: str, title: str, word: str, unit: str, scale: float) -> dict[str, Any]:
    """Return chart and table of one cost: the runs, cheapest first, each with the amount of this cost and its `_Cost`.

    `title`: title of the table. `word`: column head. `unit`: unit of the amounts, which are divided by `scale`; the unit
    of hours is chosen here.
    """
    costs = _costs(data, cost)
    amount = {r.id: costs[r.id].amount / scale for r in data.ranked if r.id in costs}
    runs = sorted((r for r in data.ranked if r.id in amount), key=lambda r: (amount[r.id], -r.score.value, r.id))
    device = ""
    if cost == "device_hours" and runs:
        unit, factor = cost_sentences.time_unit(max(amount.values()))
        amount = {run_id: hours * factor for run_id, hours in amount.items()}
        device = cost_sentences.device_name(str(runs[0].facts.get("device") or ""))
    front = {run.id for run in runs if costs[run.id].on_front}
    has_chart = len(runs) > 1 and bool(front) and min(amount.values()) > 0
    return {
        "said": title,
        "word": word,
        "unit": unit,
        "of": device,
        "chart": _chart(data, runs, amount, front, word, unit, title) if has_chart else "",
        "rows": [(run, amount[run.id], costs[run.id]) for run in runs],
        "left_out": len(data.ranked) - len(runs),
    }


def _costs(data: ReportData, cost: str) -> dict[str, _Cost]:
    """Return {run id: its cost} from the table `frontier`."""
    table = data.tables["frontier"]
    return {
        str(row["run_id"]): _Cost(float(row["amount"]), bool(row["on_front"]), Estimate.of(row, "gain"))
        for row in table[table["cost"] == cost].to_dict("records")
    }


def _chart(
    data: ReportData, runs: list[Run], amount: Mapping[str, float], front: set[str], cost: str, unit: str, label: str
) -> Markup:
    """Draw cost (x, logarithmic) against the AUROC that ranks the runs (y), with a line along the Pareto front.

    runs: cheapest first. Marks of runs that are not on the front are hollow. At most six runs of the front have names.
    """
    spots = [
        scatter.Spot(
            r,
            Estimate(math.log10(amount[r.id])),
            r.score,
            f"{two_figures(amount[r.id])} {unit}\nAUROC {r.score.with_interval}",
            r.id in front,
        )
        for r in runs
    ]
    x = scatter.Axis.log(f"{cost.lower()} ({unit}, log scale) →", list(amount.values()))
    where = "external" if data.hospitals.external else "internal"
    y = scatter.Axis.of(f"↑ {where} AUROC{data.ranked_by.of_finding}", [r.score for r in runs])
    stairs, reached = list[tuple[float, float]](), y.low
    for spot in spots:
        if spot.filled:
            stairs += [(spot.x.value, reached), (spot.x.value, spot.y.value)]
            reached = spot.y.value
    stairs.append((x.high, reached))
    best = sorted((r for r in runs if r.id in front), key=lambda r: -r.score.value)
    return scatter.Chart(label, spots, x, y, (scatter.Line(stairs, "fit"),)).drawn(best[:6])
