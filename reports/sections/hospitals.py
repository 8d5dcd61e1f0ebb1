"""Where it breaks: run x hospital as a heat map, and home against away."""

from collections import Counter
from typing import Any

from reports import charts, sentences
from reports.board import Board, Run
from reports.section import Section, write

STEP = 0.02  # AUROC lost for each of the eight steps of colour
SHOWN = 40  # rows of the heat map before the rest is folded away


def hospitals(board: Board) -> Section:
    """Write the heat map and the scatter of home against away."""
    worst = Counter(r.worst for r in board.ranked if r.worst)
    most, times = min(worst.items(), key=lambda item: (-item[1], item[0])) if worst else ("", 0)
    costly = [h.title for h in board.hospitals if h.is_costly]
    rows = [_row(board, run) for run in board.ranked]
    context = {
        "board": board,
        "title": sentences.breaks(costly, len(board.hospitals), board.title(most), times, len(board.ranked)),
        "heads": [_head(board, key) for key in (h.key for h in board.everyone)],
        "rows": rows[:SHOWN],
        "folded": rows[SHOWN:],
        "scatter": len(board.ranked) > 1,
        "say": _scatter_words(board),
        "legend": charts.families(board.ranked),
    }
    drawn = (charts.home_against_away(board),) if len(board.ranked) > 1 else ()
    return Section("hospitals", "Hospitals", write("hospitals.html.j2", **context), drawn)


def step(lost: float) -> int:
    """Return the colour step, 0 to 7, of an AUROC loss; what is gained has the lightest."""
    return max(0, min(7, int(lost / STEP)))


def _head(board: Board, key: str) -> dict[str, Any]:
    """Return the words over one column."""
    hospital = next(h for h in board.everyone if h.key == key)
    found = [board.cells[r.id, key, "macro"] for r in board.ranked if (r.id, key, "macro") in board.cells]
    return {
        "hospital": hospital,
        "home": key == board.home.key,
        "findings": max((e.num_findings for e in found), default=0),
        "n": min((e.n for e in found), default=0),
    }


def _row(board: Board, run: Run) -> dict[str, Any]:
    """Return one row: the home cell, then one for each hospital away."""
    cells = []
    for hospital in board.hospitals:
        value, lost = run.hospitals[hospital.key], run.lost[hospital.key]
        cells.append(
            {
                "value": value,
                "lost": lost,
                "css": (f"q{step(lost.value)}" if lost.known else "qx") + (" w" if hospital.key == run.worst else ""),
            }
        )
    return {"run": run, "cells": cells}


def _scatter_words(board: Board) -> str:
    """Return what the scatter shows, without a claim that four points cannot carry."""
    known = [r for r in board.ranked if r.home.known]
    below = sum(r.away.value < r.home.value for r in known)
    if below == len(known):
        return f"{'Both' if len(known) == 2 else 'All'} measured means away lie below the dashed line of equal reading"
    return f"{below} of {len(known)} measured means away lie below the dashed line of equal reading"
