"""The ranking: runs by mean external AUROC, in groups that the data cannot separate."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import known
from reports.html.section import Section, data_block, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import Board
from reports.sections.ranking_columns import Column, columns_of
from reports.sections.symptoms import symptom_anchor
from reports.sentences import main_findings as sentences
from reports.summaries import rank_agreement as agreeing

WIDTH = 262.0  # px of the dot strip
OPEN = 10  # groups of ties that start open
FIRST = 60  # rows in the table as it loads; a script adds the others, a reader without scripts finds them below it
MOST_VALUES, MOST_FACTORS = 40, 12  # beyond these a filter helps less than the search
WORDS = {
    "family": "Family", "architecture": "Architecture", "optimizer": "Optimizer", "loss": "Loss", "uncertainty": "Uncertain labels",
    "preprocessing": "Preprocessing", "augmentation": "Augmentation", "weights": "Weights", "seed": "Seed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Factor:
    """What runs are filtered by: its name in the address, its word, its values, and the value of each run."""

    key: str
    said: str
    values: Sequence[str]
    of: Mapping[str, str]

    def place(self, run: Run) -> int:
        """Return the number of a run's value."""
        return self.values.index(self.of[run.id])

    def same_parting(self, other: Mapping[str, str]) -> bool:
        """Tell whether another factor parts the runs as this one does."""
        pairs = {(self.of[run], other[run]) for run in self.of}
        return len(pairs) == len(self.values) == len(set(other.values()))


def ranking(board: Board) -> Section:
    """Write the ranking; also the runs without a score, last and with the reason."""
    columns, factors = columns_of(board), _factors(board)
    strips, grid, scale = _strips(board)
    groups: list[dict[str, Any]] = [
        {"words": sentences.group_head(k, len(runs), runs[0].label), "number": k, "runs": runs, "closed": k > OPEN}
        for k, runs in enumerate(board.groups, start=1)
    ]
    context = {
        "board": board,
        "columns": columns,
        "groups": groups,
        "strips": strips,
        "axis": svg.axis(scale, grid),
        "bars": {r.id: svg.rank_bar(r.rank_low, r.rank_high, r.mean_rank, len(board.ranked)) for r in board.ranked},
        "ranks": {
            r.id: str(r.rank_low) if r.rank_low == r.rank_high else f"{r.rank_low}–{r.rank_high}" for r in board.ranked
        },
        "keys": KEYS,
        "parts": _parts(groups),
        "later": len(board.ranked) > FIRST,
        "ranked": Markup(data_block([_known(r, g["number"], columns, factors) for g in groups for r in g["runs"]])),  # noqa: S704
        "single": len(board.ranked) == 1,
        "symptoms": {str(i): symptom_anchor(str(i)) for i in board.tables["diagnostics"]["run_id"].unique()},
        "pins": len(board.ranked) > 1,
        "span": sum(column.first for column in columns) + 3,
        "causal": any(r.causal.known for r in board.ranked),
        "why": {
            r.id: sentences.unranked(r.reason or _fewer(board, r), r.internal, board.num_external, board.has_common)
            for r in board.unranked
        },
        "factors": factors,
        "base": _base(board),
        "alike": agreeing.agreement(board),
        "seeds": agreeing.seeds(board),
    }
    return Section("ranking", "Ranking", write("ranking.html.j2", **context))


def _fewer(board: Board, run: Run) -> str:
    """Return what a run learns that learns fewer findings than others, with its AUROC; "" for the rest."""
    own = board.meta.get("learns", {}).get(run.id)
    if own is None or not run.external.known:
        return ""
    internal = f", at the internal hospital {run.internal.with_interval}" if run.internal.known else ""
    return f"learns {' and '.join(own) if len(own) < 3 else f'{len(own)} findings'} only: externally {run.external.with_interval}{internal}"


def _strips(board: Board) -> tuple[dict[str, Markup], list[float], svg.Scale]:
    """Return the dot strip of each run, and the axis they all share."""
    numbers = [
        b
        for r in (*board.ranked, *board.derived)
        for e in (r.internal_common, _compared(r), r.at_worst)
        for b in (e.value, e.low, e.high)
        if known(b)
    ] or [0.5, 1.0]
    low, high = min(numbers), max(numbers)
    margin = max(0.02, 0.04 * (high - low))
    scale = svg.Scale(low - margin, min(1.0, high + margin), 8, WIDTH - 8)
    grid = svg.ticks(scale.low, scale.high, 6)
    lines = svg.strip_grid(scale, grid)
    strips = {
        r.id: svg.strip(r.at_worst, _compared(r), r.internal_common, scale, lines)
        for r in (*board.ranked, *board.derived)
    }
    return strips, grid, scale


def _compared(run: Run) -> Estimate:
    """Return the external mean that stands beside the internal hospital; where nothing is in common, the one that ranks."""
    return run.external_common if run.external_common.known else run.external


def _parts(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups, parted where the rows in the table end and those that are added later begin; `start` counts the rows above."""
    found, start = [], 0
    for group in groups:
        first, rest = group["runs"][: max(FIRST - start, 0)], group["runs"][max(FIRST - start, 0) :]
        found += [{"group": group, "runs": first, "start": start, "later": False, "again": False}] * bool(first)
        start += len(first)
        found += [{"group": group, "runs": rest, "start": start, "later": True, "again": bool(first)}] * bool(rest)
        start += len(rest)
    return found


def _known(run: Run, group: int, columns: Sequence[Column], factors: Sequence[Factor]) -> dict[str, Any]:
    """Return what the script sorts, filters and searches a run by, whether or not its row is written yet.

    `k`: the rank, then the columns in their order, null where a number is missing; `f`: places of its values.
    """
    numbers = [run.mean_rank, *(column.value(run) for column in columns)]
    return {
        "id": run.id,
        "g": group,
        "name": run.name,
        "what": " · ".join(part for part in (run.family, run.what or "base recipe", run.marks) if part),
        "k": [float(f"{v:.6g}") if known(v) else None for v in numbers],
        "f": [factor.place(run) for factor in factors],
    }


def _factors(board: Board) -> list[Factor]:
    """Return the factors that differ between ranked runs, those of the page's words first, then the configuration's own."""
    configs = {
        r.id: {f"config.{key}": value for key, value in _flat(r.facts.get("config")).items()} for r in board.ranked
    }
    keys = dict.fromkeys((*WORDS, *sorted({key for config in configs.values() for key in config})))
    found: list[Factor] = []
    for key in keys:
        of = {r.id: _said(r.facts.get(key) if key in WORDS else configs[r.id].get(key)) for r in board.ranked}
        values = sorted(set(of.values()), key=_by_number)
        alike = any(other.same_parting(of) for other in found)  # `optimizer` and `config.optimizer.name` say the same
        if 1 < len(values) <= MOST_VALUES and not alike:
            found.append(Factor(key.removeprefix("config."), WORDS.get(key, key.removeprefix("config.")), values, of))
    return found[:MOST_FACTORS]


def _flat(config: object, above: str = "") -> dict[str, str]:
    """Return a configuration as dotted keys and words; {} for what is no configuration."""
    if isinstance(config, str) and not above:
        try:
            config = json.loads(config)
        except ValueError:
            return {}
    if not isinstance(config, dict):
        return {above: str(config)} if above else {}
    return {k: v for key, value in config.items() for k, v in _flat(value, f"{above}.{key}".strip(".")).items()}


def _said(value: object) -> str:
    """Return a factor's value as a reader meets it; "not set" where a run has none."""
    return "not set" if value is None or value != value or value == "" else str(value)


def _by_number(word: str) -> tuple[float, str]:
    """Return what sorts numbers by size, and words after them by letter."""
    try:
        return (float(word), "")
    except ValueError:
        return (float("inf"), word)


def _base(board: Board) -> str:
    """Return the recipe shared by the runs that differ from the base by nothing."""
    plain = next((r for r in board.ranked if not r.what or re.fullmatch(r"seed \d+", r.what)), None)
    if plain is None:
        return ""
    keys = ("optimizer", "loss", "uncertainty", "preprocessing", "augmentation", "weights")
    return ", ".join(str(plain.facts[k]) for k in keys if plain.facts.get(k))


def _legend() -> dict[str, Markup]:
    """Return the three marks of the strip."""
    external = svg.line(2, 5, 20, 5, "i-ext") + svg.circle(11, 5, 4.4, "m-ext")
    return {
        "worst": svg.svg(10, 10, svg.diamond(5, 5, 4.4, "m-wst"), "", "ky"),
        "external": svg.svg(22, 10, external, "", "ky"),
        "internal": svg.svg(10, 10, svg.circle(5, 5, 3.8, "m-int"), "", "ky"),
    }


KEYS = _legend()
