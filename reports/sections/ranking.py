"""The ranking: runs by mean AUROC away, in groups that the data cannot separate."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports import agreeing, sentences, svg
from reports.board import Board
from reports.entries import Run
from reports.headline import Estimate
from reports.section import Section, write
from reports.text import known, two_figures, whole

WIDTH = 262.0  # px of the dot strip


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers: its head, how a run's number is shown below it, and the number to sort and copy by."""

    key: str
    head: str
    unit: str
    value: Callable[[Run], float]
    shown: Callable[[Run], str]
    estimate: Callable[[Run], Estimate | None] = lambda _: None
    small: Callable[[Run], str] = lambda _: ""
    note: Callable[[Run], str] = lambda _: ""  # in words, below everything else
    figure: Callable[[Run], Markup] = lambda _: Markup("")
    css: str = "more"  # `more` is hidden on a phone


def ranking(board: Board) -> Section:
    """Write the ranking; also the runs without a score, last and with the reason."""
    columns = _columns(board)
    strips, grid, scale = _strips(board)
    groups = [
        {"words": sentences.group_head(k, len(runs), runs[0].label), "number": k, "runs": runs}
        for k, runs in enumerate(board.groups, start=1)
    ]
    context = {
        "board": board,
        "columns": columns,
        "groups": groups,
        "strips": strips,
        "axis": svg.axis(scale, grid),
        "grid": svg.strip_grid(scale, grid),
        "bars": {r.id: svg.rank_bar(r.rank_low, r.rank_high, r.mean_rank, len(board.ranked)) for r in board.ranked},
        "ranks": {
            r.id: str(r.rank_low) if r.rank_low == r.rank_high else f"{r.rank_low}–{r.rank_high}" for r in board.ranked
        },
        "keys": KEYS,
        "sort_keys": {r.id: _sort_keys(r, columns) for r in board.ranked},
        "single": len(board.ranked) == 1,
        "why": {
            r.id: sentences.unranked(r.reason or _fewer(board, r), r.home, board.num_away, board.has_common)
            for r in board.unranked
        },
        "factors": _factors(board),
        "base": _base(board),
        "alike": agreeing.agreement(board),
        "seeds": agreeing.seeds(board),
    }
    return Section("ranking", "Ranking", write("ranking.html.j2", **context))


def _fewer(board: Board, run: Run) -> str:
    """Return what a run learns that learns fewer findings than others, with its AUROC; "" for the rest."""
    own = board.meta.get("learns", {}).get(run.id)
    if own is None or not run.away.known:
        return ""
    home = f", at home {run.home.with_interval}" if run.home.known else ""
    return f"learns {' and '.join(own) if len(own) < 3 else f'{len(own)} findings'} only: away {run.away.with_interval}{home}"


def _columns(board: Board) -> list[Column]:
    """Return the columns after the strip."""
    gaps = [b for r in board.ranked if r.gap.known for b in (r.gap.value, r.gap.low, r.gap.high) if known(b)]
    low, high = min([0.0, *gaps]), max([0.05, *gaps])
    chance = next((r.probe.chance for r in board.ranked if r.probe.known), 0.0)
    num_away = len(board.hospitals)

    def gap_figure(run: Run) -> Markup:
        return svg.micro(run.gap, low, high, 0.0) if run.gap.known else Markup("")

    def gap_note(run: Run) -> str:
        return sentences.zero(run.gap)

    def probe_figure(run: Run) -> Markup:
        return svg.micro(run.probe, 0.0, 1.0, chance) if run.probe.known else Markup("")

    def estimated(key: str, head: str, unit: str, of: Callable[[Run], Estimate], **more: Any) -> Column:
        more = {"small": lambda r: of(r).span, **more}
        return Column(key, head, unit, lambda r: of(r).value, lambda r: of(r).text, of, **more)

    def costing(key: str, head: str, unit: str, name: str, per: float, shown: Callable[[float], str]) -> Column:
        return Column(key, head, unit, lambda r: r.quantity(name), lambda r: shown(r.quantity(name) / per))

    mean = f"mean of {num_away}" if num_away != 1 else "one hospital"
    return [
        estimated("home", "Home", "AUROC", lambda r: r.home_common, css="c-int"),
        estimated("away", "Away", mean, lambda r: r.away, css="c-ext", note=_other_findings),
        estimated(
            "worst", "Worst", "hospital", lambda r: r.at_worst, css="c-worst", small=lambda r: board.title(r.worst)
        ),
        estimated("gap", "Gap", "home − away", lambda r: r.gap, css="c-gap mc", figure=gap_figure, note=gap_note),
        estimated("ece", "ECE", "away", lambda r: r.ece),
        estimated("shortcut", "Shortcut", "source probe", lambda r: r.probe, css="more mc", figure=probe_figure),
        costing("params", "Params", "million", "params", 1e6, two_figures),
        costing("gmacs", "GMACs", "per image", "macs", 1e9, two_figures),
        costing("speed", "Speed", "images/s", "images_per_second", 1.0, whole),
    ]


def _strips(board: Board) -> tuple[dict[str, Markup], list[float], svg.Scale]:
    """Return the dot strip of each run, and the axis they all share."""
    numbers = [
        b
        for r in (*board.ranked, *board.derived)
        for e in (r.home_common, _compared(r), r.at_worst)
        for b in (e.value, e.low, e.high)
        if known(b)
    ] or [0.5, 1.0]
    low, high = min(numbers), max(numbers)
    margin = max(0.02, 0.04 * (high - low))
    scale = svg.Scale(low - margin, min(1.0, high + margin), 8, WIDTH - 8)
    grid = svg.ticks(scale.low, scale.high, 6)
    strips = {
        r.id: svg.strip(
            r.at_worst, _compared(r), r.home_common, scale,
            f"at home {r.home_common.text}, away {_compared(r).text}, worst hospital {r.at_worst.text}",
        )
        for r in (*board.ranked, *board.derived)
    }  # fmt: skip
    return strips, grid, scale


def _compared(run: Run) -> Estimate:
    """Return the mean away that stands beside home; where nothing is in common, the one that ranks."""
    return run.away_common if run.away_common.known else run.away


def _other_findings(run: Run) -> str:
    """Return the mean away that the gap compares, where it is not the one that ranks."""
    other = run.away_common.known and run.away_common.text != run.away.text
    return f"in the gap {run.away_common.text}" if other else ""


def _sort_keys(run: Run, columns: list[Column]) -> str:
    """Return the numbers to sort a row by, "" where one is missing, in the order of the sortable heads."""
    values = [run.mean_rank, *(column.value(run) for column in columns)]
    return " ".join(f"{v:.6g}" if known(v) else "x" for v in values)


def _factors(board: Board) -> list[tuple[str, str, list[str]]]:
    """Return (column, word, values) of the factors that differ between runs, for the filters."""
    words = (("family", "Family"), ("optimizer", "Optimizer"), ("loss", "Loss"), ("uncertainty", "Uncertain labels"),
             ("preprocessing", "Preprocessing"), ("seed", "Seed"))  # fmt: skip
    found = []
    for key, said in words:
        values = sorted({str(r.facts.get(key, "")) for r in board.ranked} - {""})
        if 1 < len(values) <= 12:
            found.append((key, said, values))
    return found


def _base(board: Board) -> str:
    """Return the recipe shared by the runs that differ from the base by nothing."""
    plain = next((r for r in board.ranked if not r.what or re.fullmatch(r"seed \d+", r.what)), None)
    if plain is None:
        return ""
    keys = ("optimizer", "loss", "uncertainty", "preprocessing", "augmentation", "weights")
    return ", ".join(str(plain.facts[k]) for k in keys if plain.facts.get(k))


def _legend() -> dict[str, Markup]:
    """Return the three marks of the strip."""
    away = svg.line(2, 5, 20, 5, "i-ext") + svg.circle(11, 5, 4.4, "m-ext")
    return {
        "worst": svg.svg(10, 10, svg.diamond(5, 5, 4.4, "m-wst"), "", "ky"),
        "away": svg.svg(22, 10, away, "", "ky"),
        "home": svg.svg(10, 10, svg.circle(5, 5, 3.8, "m-int"), "", "ky"),
    }


KEYS = _legend()
