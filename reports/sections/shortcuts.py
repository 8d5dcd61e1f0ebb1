"""Does it read the hospital: the source classifier on frozen features, beside the gap."""

import math

import numpy as np

from reports import charts, sentences
from reports.board import Board
from reports.headline import MISSING, Estimate, probe_lookup
from reports.section import Section, write

NEEDED = 8  # runs for a rank correlation; below that any interval covers nearly everything
Z = 1.959964


def shortcuts(board: Board) -> Section:
    """Write the scatter of probe against gap; a correlation only from eight runs on."""
    probes = probe_lookup(board.tables["shortcut"])
    runs = [r for r in board.ranked if r.probe.known and r.gap.known]
    probed = [r for r in board.runs if r.probe.known]  # also those without a gap to set beside it
    shuffled = [probes[r.id, "shuffled"].value for r in probed if probes.get((r.id, "shuffled"), MISSING).known]
    table = board.tables["shortcut"]
    num_sources = int(table["num_sources"].max()) if len(table) else 0
    rho = spearman([r.probe.value for r in runs], [r.gap.value for r in runs]) if len(runs) >= NEEDED else MISSING
    visible = math.tanh(Z / math.sqrt(len(runs) - 3)) if len(runs) > 3 else 1.0
    chance = probed[0].probe.chance if probed else float("nan")
    context = {
        "board": board,
        "title": sentences.probe([r.probe.value for r in probed], chance, shuffled, num_sources),
        "association": sentences.association(rho, len(runs), NEEDED, visible) if runs else "",
        "runs": runs,
        "shuffled": {r.id: probes.get((r.id, "shuffled"), MISSING) for r in runs},
        "legend": charts.families(runs),
        "drawn": len(runs) > 1,
    }
    return Section(
        "shortcuts",
        "Shortcuts",
        write("shortcuts.html.j2", **context),
        (charts.probe_against_gap(board),) if len(runs) > 1 else (),
    )


def spearman(xs: list[float], ys: list[float]) -> Estimate:
    """Return the rank correlation with its 95 % interval.

    Source: Bonett and Wright, Psychometrika 65 (2000) 23: Fisher's z with variance (1 + rho^2 / 2) / (n - 3).
    """
    rho = float(np.corrcoef(_ranks(xs), _ranks(ys))[0, 1]) if len(set(xs)) > 1 and len(set(ys)) > 1 else float("nan")
    if not math.isfinite(rho):
        return MISSING
    z, half = math.atanh(max(-0.999999, min(0.999999, rho))), Z * math.sqrt((1 + rho**2 / 2) / (len(xs) - 3))
    return Estimate(rho, math.tanh(z - half), math.tanh(z + half), len(xs))


def _ranks(values: list[float]) -> list[float]:
    """Return ranks; those that tie share their mean rank."""
    ordered = np.sort(values)
    return [float(np.mean(np.flatnonzero(ordered == v))) for v in values]
