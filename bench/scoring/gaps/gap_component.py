"""The components of a gap, each with its replicates.

A component is the amount of a gap that one cause explains. In every replicate, the components and the remainder sum to
the gap. Some components are computed with weights of images. A cell is one combination of sex, age decade and view.

Shapes: B replicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import mean_interval
from bench.scoring.bootstrap.intervals import excess, mean_of

Array = NDArray[np.float64]
NEITHER = (float("nan"), float("nan"))  # two unknown numbers
COMPONENTS = ("gap", "prevalence", "case_mix", "labels", "remainder")
MEASURED = ("prevalence", "case_mix", "labels")


class ComponentEstimate(NamedTuple):
    """A number with its replicates [B] and its 95 % interval, NEITHER for a calibration error."""

    value: float
    replicates: Array
    interval: tuple[float, float] = NEITHER

    @property
    def excess(self) -> float:
        """The mean of the replicates minus the value."""
        return float(excess(np.array(self.value), self.replicates))


@dataclass(frozen=True, slots=True, eq=False)
class GapComponent:
    """One component of one gap, with replicates [B]: the difference of two metrics, or a mean of such differences.

    The value is NaN if the component cannot be measured.
    """

    value: float
    replicates: Array
    interval: tuple[float, float] = NEITHER  # 95 %; that of calibration errors follows from `excess` instead
    reason: str = ""  # why the value is NaN; for other values, the method of measurement
    effective: tuple[float, float] = NEITHER  # effective numbers of positives and negatives under the weights
    # share of the internal images for which an external image has the same label, sex, age decade and view
    covered: float = float("nan")
    num_findings: int = 1
    bounds: tuple[float, float] = NEITHER  # of the component labels: minimum and maximum over all label mappings
    # only for the component labels: share of findings for which the two compared label sources label the same images
    paired: float = float("nan")
    # excess (mean of the replicates minus the value) of each of the two metrics; intervals of calibration errors use it
    excess: tuple[float, float] = (
        0.0,
        0.0,
    )
    counted: tuple[int, int] = (1, 1)  # of a mean: number of findings at hospitals that were measured, and of all


GapComponents = dict[str, GapComponent]  # name in COMPONENTS -> component


def unknown(
    like: Array, reason: str, effective: tuple[float, float] = NEITHER, covered: float = float("nan")
) -> GapComponent:
    """Build an unknown component with its reason: value and replicates are NaN; the replicates have the shape of `like`."""
    return GapComponent(
        float("nan"), np.full_like(like, np.nan), NEITHER, reason, effective, covered, 0, counted=(0, 1)
    )


def remainder(components: Mapping[str, GapComponent]) -> GapComponent:
    """Compute the remainder: the gap minus all measured components, also in every replicate.

    Its interval combines theirs, with the correlations of the replicates (`mean_interval`).
    """
    gap = components["gap"]
    measured = [components[name] for name in MEASURED if np.isfinite(components[name].value)]
    excess_internal, excess_external = gap.excess
    for component in measured:
        after, before = component.excess
        # each component changes the external metric, and thus the excess of the external metric
        excess_external += after - before
    terms = (gap, *measured)
    sign = np.array([1.0, *[-1.0] * len(measured)])
    value, replicates = (np.array([getattr(term, name) for term in terms]) for name in ("value", "replicates"))
    value, replicates = sign * value, sign[:, None] * replicates
    bounds = np.sort(sign[:, None] * np.array([term.interval for term in terms]), axis=1).T
    low, high = (len(terms) * bound for bound in mean_interval("", value, bounds, replicates))
    excesses = (excess_internal, excess_external)
    return GapComponent(
        float(value.sum()), replicates.sum(0), (low, high), num_findings=gap.num_findings, excess=excesses
    )


def mean(groups: Sequence[GapComponents], total: Callable[[Iterable[int]], int], place: str = "") -> GapComponents:
    """Compute the mean of each component over findings or hospitals; unknown if one of them is unknown.

    An unknown component is not 0, so a mean over the measured findings only would understate or overstate it. It is part of the
    remainder. `total` is the function that combines the numbers of findings: sum for a mean over findings, min for a mean
    over hospitals. `place` ends the reason of an unknown mean, such as ", summed over 5 hospitals".
    """
    means: GapComponents = {}
    for name in ("gap", *MEASURED):
        components = [of_group[name] for of_group in groups]
        bounds_of_components = np.array([component.bounds for component in components])
        bounds = NEITHER
        if not np.isnan(bounds_of_components).all():
            # no mapping changes the labels of a finding without bounds: its change is 0
            least, most = np.nan_to_num(bounds_of_components).mean(0).tolist()
            bounds = (least, most)
        num_measured, num_all = np.sum([component.counted for component in components], axis=0).tolist()
        num_findings = total(component.num_findings for component in components)
        if any(np.isnan(component.value) for component in components):
            reason = (
                f"measured for {num_measured} of {num_all} findings{place}" if num_measured else _common(components)
            )
            means[name] = replace(
                unknown(components[0].replicates, reason),
                bounds=bounds,
                counted=(num_measured, num_all),
                num_findings=num_findings,
            )
            continue
        values, of_components = (
            np.array([getattr(component, name) for component in components]) for name in ("value", "replicates")
        )
        value, replicates = mean_of(values, of_components)
        intervals = np.array([component.interval for component in components]).T
        effective = tuple(min(component.effective[side] for component in components) for side in (0, 1))
        means[name] = GapComponent(
            value,
            replicates,
            mean_interval("", values, intervals, of_components),
            reason=_common(components),
            effective=(effective[0], effective[1]),
            covered=min(component.covered for component in components),
            num_findings=num_findings,
            bounds=bounds,
            paired=float(np.mean([component.paired for component in components])),
            excess=_mean_excess(components),
            counted=(num_measured, num_all),
        )
    return means | {"remainder": remainder(means)}


def _mean_excess(components: Sequence[GapComponent]) -> tuple[float, float]:
    """Compute the mean excess of the components, for each of the two metrics whose difference is the gap."""
    first, second = np.mean([component.excess for component in components], axis=0).tolist()
    return first, second


def _common(components: Sequence[GapComponent]) -> str:
    """Return the distinct reasons of the components, joined by "; "."""
    reasons = dict.fromkeys(text for component in components for text in component.reason.split("; "))
    return "; ".join(text for text in reasons if text)
