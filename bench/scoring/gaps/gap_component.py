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
COMPONENTS = ("gap", "prevalence", "case_mix", "labels", "remainder")
MEASURED = ("prevalence", "case_mix", "labels")


@dataclass(frozen=True, slots=True, eq=False)
class GapComponent:
    """One part of one gap; value NaN with the reason where it cannot be measured, replicates [B]."""

    value: float
    replicates: Array
    reason: str = ""  # why there is no value; of a value: what was done, where there is a choice
    effective: tuple[float, float] = NEITHER  # positives and negatives that the weights leave
    covered: float = float("nan")  # share of the internal images whose cell occurs externally, too
    num_findings: int = 1
    bounds: tuple[float, float] = NEITHER  # of the labels: least and most over the admissible mappings
    paired: float = float("nan")  # of the labels: share of findings in which both readings are of the same images


GapComponents = dict[str, GapComponent]  # part -> piece


def unknown(
    like: Array, reason: str, effective: tuple[float, float] = NEITHER, covered: float = float("nan")
) -> GapComponent:
    """Return a part that could not be measured, and why."""
    return GapComponent(float("nan"), np.full_like(like, np.nan), reason, effective, covered, 0)


def remainder(components: Mapping[str, GapComponent]) -> GapComponent:
    """Return the gap less all that was measured."""
    value, replicates = components["gap"].value, components["gap"].replicates
    for name in MEASURED:
        if np.isfinite(components[name].value):
            value, replicates = value - components[name].value, replicates - components[name].replicates
    return GapComponent(value, replicates, num_findings=components["gap"].num_findings)


def mean(of: Sequence[GapComponents], total: Callable[[Iterable[int]], int], noun: str) -> GapComponents:
    """Return the mean of each part, one that is unknown somewhere counted as 0 there; `total` adds up num_findings."""
    found: GapComponents = {}
    for name in ("gap", *MEASURED):
        each = [components[name] for components in of]
        known = [component for component in each if np.isfinite(component.value)]
        ends = np.array([component.bounds for component in each])
        bounds = (
            NEITHER
            if np.isnan(ends).all()
            else (float(np.nan_to_num(ends[:, 0]).mean()), float(np.nan_to_num(ends[:, 1]).mean()))
        )
        if not known:
            found[name] = replace(unknown(each[0].replicates, _common(each)), bounds=bounds)
            continue
        value, replicates = mean_of(
            np.array([component.value for component in known]), np.stack([component.replicates for component in known])
        )
        share = len(known) / len(each)
        said = [_common(known)] if _common(known) else []
        said += [f"unknown for {len(each) - len(known)} of {len(each)} {noun}"] * (len(known) < len(each))
        effective = tuple(min(component.effective[side] for component in known) for side in (0, 1))
        covered = min(component.covered for component in known)
        num_findings = total(component.num_findings for component in known)
        found[name] = GapComponent(
            share * value, share * replicates, "; ".join(said), (effective[0], effective[1]), covered, num_findings,
            bounds, float(np.mean([component.paired for component in known])),
        )  # fmt: skip
    return found | {"remainder": remainder(found)}


def _common(components: Sequence[GapComponent]) -> str:
    """Return the reasons that occur, without how many findings of each hospital were unknown."""
    every = dict.fromkeys(text for component in components for text in component.reason.split("; "))
    return "; ".join(text for text in every if text and not text.startswith("unknown for"))
