"""What accuracy costs: AUROC away against operations."""

from collections.abc import Sequence

from reports import charts, sentences
from reports.board import Board
from reports.entries import Run
from reports.headline import Estimate
from reports.section import Section, write
from reports.text import known

OTHERS = (  # cost, what more of it is asked to buy, its head, its unit
    ("train_seconds", "What more training time buys", "Training time", "minutes", 60.0),
    ("params", "What more parameters buy", "Parameters", "million", 1e6),
)


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
        "budget": _budget(board, "macs"),
        "others": [(said, word, per, _by(board, cost, scale)) for cost, said, word, per, scale in OTHERS],
        "legend": charts.families(runs),
        "drawn": len(runs) > 1,
        "devices": sorted({str(r.cost.get("throughput_device", "")) for r in runs} - {""}),
    }
    drawn = (charts.cost(board, {r.id for r in front}),) if len(runs) > 1 else ()
    return Section("cost", "Cost", write("cost.html.j2", **context), drawn)


def _by(board: Board, cost: str, scale: float) -> list[tuple[Run, float, str, Estimate]]:
    """Return the runs by another cost, cheapest first: amount, share of resamples unbeaten, gain over the best cheaper."""
    table = board.tables["frontier"]
    amount = {str(r): float(a) / scale for r, a in table.loc[table["cost"] == cost, ["run_id", "amount"]].to_numpy()}
    budget = _budget(board, cost)
    runs = sorted((r for r in board.ranked if r.id in amount), key=lambda r: (amount[r.id], -r.away.value, r.id))
    return [(run, amount[run.id], *budget[run.id]) for run in runs]


def _budget(board: Board, cost: str) -> dict[str, tuple[str, Estimate]]:
    """Return, by run id, in how many resamples nobody cheaper beats it, and what it adds to the best cheaper run."""
    table = board.tables["frontier"]
    return {
        str(row["run_id"]): (
            f"{100 * row['p_front']:.0f} %" if known(row["p_front"]) else "",
            Estimate(float(row["gain"]), float(row["gain_low"]), float(row["gain_high"])),
        )
        for row in table[table["cost"] == cost].to_dict("records")
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
