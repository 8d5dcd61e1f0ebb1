"""The parts of one gap, each with its replicates: they sum to the gap in every one.

Shapes: B replicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.intervals import mean_of

Array = NDArray[np.float64]
NEITHER = (float("nan"), float("nan"))
PARTS = ("gap", "prevalence", "case_mix", "labels", "remainder")
MEASURED = ("prevalence", "case_mix", "labels")


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One part of one gap; value NaN with the reason where it cannot be measured, replicates [B]."""

    value: float
    replicates: Array
    reason: str = ""  # why there is no value; of a value: what was done, where there is a choice
    effective: tuple[float, float] = NEITHER  # positives and negatives that the weights leave
    covered: float = float("nan")  # share of the internal images whose cell occurs externally, too
    num_findings: int = 1
    bounds: tuple[float, float] = NEITHER  # of the labels: least and most over the admissible mappings
    paired: float = float("nan")  # of the labels: share of findings in which both readings are of the same images


Pieces = dict[str, Piece]  # part -> piece


def unknown(like: Array, reason: str, effective: tuple[float, float] = NEITHER, covered: float = float("nan")) -> Piece:
    """Return a part that could not be measured, and why."""
    return Piece(float("nan"), np.full_like(like, np.nan), reason, effective, covered, 0)


def remainder(pieces: Mapping[str, Piece]) -> Piece:
    """Return the gap less all that was measured."""
    value, replicates = pieces["gap"].value, pieces["gap"].replicates
    for part in MEASURED:
        if np.isfinite(pieces[part].value):
            value, replicates = value - pieces[part].value, replicates - pieces[part].replicates
    return Piece(value, replicates, num_findings=pieces["gap"].num_findings)


def mean(of: Sequence[Pieces], total: Callable[[Iterable[int]], int], noun: str) -> Pieces:
    """Return the mean of each part, one that is unknown somewhere counted as 0 there; `total` adds up num_findings."""
    found: Pieces = {}
    for part in ("gap", *MEASURED):
        each = [pieces[part] for pieces in of]
        known = [piece for piece in each if np.isfinite(piece.value)]
        ends = np.array([piece.bounds for piece in each])
        bounds = (
            NEITHER
            if np.isnan(ends).all()
            else (float(np.nan_to_num(ends[:, 0]).mean()), float(np.nan_to_num(ends[:, 1]).mean()))
        )
        if not known:
            found[part] = replace(unknown(each[0].replicates, _common(each)), bounds=bounds)
            continue
        value, replicates = mean_of(
            np.array([piece.value for piece in known]), np.stack([piece.replicates for piece in known])
        )
        share = len(known) / len(each)
        said = [_common(known)] if _common(known) else []
        said += [f"unknown for {len(each) - len(known)} of {len(each)} {noun}"] * (len(known) < len(each))
        effective = tuple(min(piece.effective[side] for piece in known) for side in (0, 1))
        covered = min(piece.covered for piece in known)
        num_findings = total(piece.num_findings for piece in known)
        found[part] = Piece(
            share * value, share * replicates, "; ".join(said), (effective[0], effective[1]), covered, num_findings,
            bounds, float(np.mean([piece.paired for piece in known])),
        )  # fmt: skip
    return found | {"remainder": remainder(found)}


def _common(pieces: Sequence[Piece]) -> str:
    """Return the reasons that occur, without how many findings of each hospital were unknown."""
    every = dict.fromkeys(text for piece in pieces for text in piece.reason.split("; "))
    return "; ".join(text for text in every if text and not text.startswith("unknown for"))
