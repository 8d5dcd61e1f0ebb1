"""What each choice changes: pairs of runs that differ in one factor, and the factors of a full grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from scipy.special import stdtrit

from reports import svg
from reports.board import Board
from reports.headline import Estimate
from reports.section import Section, write
from reports.text import known, listing, places

METRICS = {"auroc": "AUROC away", "gap": "gap"}
WIDTH, HEIGHT = 220, 22
LEAST_PAIRS = 3  # before a choice is named in the title


def choices(board: Board) -> Section:
    """Write the forest tables of the ablation; nothing where no two runs differ in one factor only."""
    table = board.tables["ablation"]
    if not len(table):
        return Section("choices", "", Markup(""))
    forests = [_forest(str(metric), rows) for metric, rows in table.groupby("metric", sort=False)]
    context = {
        "title": _title(table),
        "forests": forests,
        "models": [_model(str(m), rows) for m, rows in board.tables["surrogate"].groupby("metric", sort=False)],
    }
    return Section("choices", "Choices", write("choices.html.j2", **context))


def _title(table: pd.DataFrame) -> str:
    """Say which choices clearly change the AUROC away: on these patients, and beyond the spread of pairs (seeds)."""
    rows = table[(table["metric"] == "auroc") & (table["p"] < 0.05)]
    if not len(rows):
        return "No choice clearly changes the AUROC away"
    rows = rows[[_beyond_seeds(row) for row in rows.to_dict("records")]]
    if not len(rows):
        return "No choice changes the AUROC away by more than pairs of runs differ among themselves"
    names = [
        f"{row['level']} ({'+' if row['value'] > 0 else '−'}{places(abs(row['value']))})" for _, row in rows.iterrows()
    ]
    return f"What clearly changes the AUROC away: {listing(names)}"


def _beyond_seeds(row: Mapping[Any, Any]) -> bool:
    """Return whether the 95 % interval over pairs excludes 0, too; it takes three, for one pair may be luck of its seed."""
    num, spread = int(row["num_pairs"]), float(row["pair_sd"])
    return num >= LEAST_PAIRS and abs(row["value"]) > float(stdtrit(num - 1, 0.975)) * spread / math.sqrt(num)


def _forest(metric: str, rows: pd.DataFrame) -> Mapping[str, Any]:
    ends = [v for column in ("low", "high", "value") for v in rows[column] if known(v)]
    reach = max([abs(v) for v in ends] or [0.01]) * 1.05
    scale = svg.Scale(-reach, reach, 6, WIDTH - 6)
    return {"name": METRICS.get(metric, metric), "rows": [_row(row, scale) for row in rows.to_dict("records")]}


def _row(row: Mapping[Any, Any], scale: svg.Scale) -> dict[str, Any]:
    effect = Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
    return {
        "factor": str(row["factor"]),
        "level": str(row["level"]),
        "reference": str(row["reference"]),
        "effect": effect,
        "p": "< .001" if row["p"] < 0.001 else places(float(row["p"])),
        "num_pairs": int(row["num_pairs"]),
        "pair_sd": places(float(row["pair_sd"])) if known(row["pair_sd"]) else "",
        "mark": _mark(effect, scale),
    }


def _mark(effect: Estimate, scale: svg.Scale) -> Markup:
    middle = HEIGHT / 2
    body = svg.line(scale(0), 0, scale(0), HEIGHT, "z")
    if effect.has_interval:
        body += svg.line(scale(effect.low), middle, scale(effect.high), middle, "iv")
    return svg.svg(WIDTH, HEIGHT, body + svg.circle(scale(effect.value), middle, 4, "dot" if effect.clear else "dot o"))


def _model(metric: str, rows: pd.DataFrame) -> Mapping[str, Any]:
    first = rows.iloc[0]
    r2 = f"{places(float(first['r2']), 2)}, at least {places(float(first['r2_low']), 2)}"
    shares: Sequence[tuple[str, str]] = [
        (str(row["factor"]), places(float(row["importance"])))
        for _, row in rows.sort_values("importance", ascending=False).iterrows()
        if str(row["factor"]) and not math.isnan(float(row["importance"]))
    ]
    return {"name": METRICS.get(metric, metric), "r2": r2, "num_runs": int(first["num_runs"]), "shares": shares}
