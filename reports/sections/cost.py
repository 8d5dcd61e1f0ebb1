"""What accuracy costs: AUROC away against operations."""

from collections.abc import Sequence

from reports import charts, sentences
from reports.board import Board
from reports.entries import Run
from reports.headline import Estimate
from reports.section import Section, write
from reports.text import known


def cost(board: Board) -> Section:
    """Write the efficiency scatter; a run is on the front when none is both cheaper and better."""
    runs = [r for r in board.ranked if r.quantity("macs") > 0]
    front = pareto(runs)
    named = [r.label for r in sorted(front, key=lambda r: r.quantity("macs"))]
    context = {
        "board": board,
        "title": sentences.pareto(named, len(runs)) if runs or not board.ranked else "Operations were not counted",
        "runs": sorted(runs, key=lambda r: (r.quantity("macs"), -r.away.value, r.id)),
        "front": {r.id for r in front},
        "budget": _budget(board),
        "legend": charts.families(runs),
        "drawn": len(runs) > 1,
        "devices": sorted({str(r.cost.get("throughput_device", "")) for r in runs} - {""}),
    }
    drawn = (charts.cost(board, {r.id for r in front}),) if len(runs) > 1 else ()
    return Section("cost", "Cost", write("cost.html.j2", **context), drawn)


def _budget(board: Board) -> dict[str, tuple[str, Estimate]]:
    """Return, by run id, in how many resamples nobody cheaper beats it, and what it adds to the best cheaper run."""
    table = board.tables["frontier"]
    return {
        str(row["run_id"]): (
            f"{100 * row['p_front']:.0f} %" if known(row["p_front"]) else "",
            Estimate(float(row["gain"]), float(row["gain_low"]), float(row["gain_high"])),
        )
        for row in table[table["cost"] == "macs"].to_dict("records")
    }


def pareto(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that no other beats: cheaper or as cheap, and better or as good, and not the same in both."""
    front: list[Run] = []
    best = float("-inf")
    for run in sorted(runs, key=lambda r: (r.quantity("macs"), -r.away.value, r.id)):
        tied = front and (front[-1].quantity("macs"), front[-1].away.value) == (run.quantity("macs"), run.away.value)
        if run.away.value > best or tied:
            front.append(run)
            best = run.away.value
    return front
