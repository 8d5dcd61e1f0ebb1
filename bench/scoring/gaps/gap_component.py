"""The components of a gap, each with the influences of patients on it.

A component is the amount of a gap that one cause explains. The components and the remainder sum to
the gap. Some components are computed with weights of images. A cell is one combination of sex, age decade and view.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.influence import Influence, correlations

Array = NDArray[np.float64]
NEITHER = (float("nan"), float("nan"))  # two unknown numbers
COMPONENTS = ("gap", "prevalence", "case_mix", "labels", "remainder")
MEASURED = ("prevalence", "case_mix", "labels")


class ComponentEstimate(NamedTuple):
    """A number with its influences and its 95 % interval, NEITHER for a calibration error, which has an excess instead."""

    value: float
    influence: Influence
    interval: tuple[float, float] = NEITHER
    excess: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class GapComponent:
    """One component of one gap: the difference of two metrics, or a mean of such differences.

    The value is NaN if the component cannot be measured.
    """

    value: float
    influence: Influence
    interval: tuple[float, float] = NEITHER  # 95 %; for calibration errors, `excess` gives it instead
    reason: str = ""  # why the value is NaN; for other values, the method of measurement
    effective: tuple[float, float] = NEITHER  # effective numbers of positives and negatives under the weights
    # share of the internal images for which an external image has the same label, sex, age decade and view
    covered: float = float("nan")
    num_findings: int = 1
    bounds: tuple[float, float] = NEITHER  # label component only: minimum and maximum over all label mappings
    # only for the component labels: share of findings for which the two compared label sources label the same images
    paired: float = float("nan")
    excess: tuple[float, float] = (0.0, 0.0)  # excess of each metric, for intervals of calibration errors
    counted: tuple[int, int] = (1, 1)  # of a mean: number of findings at hospitals that were measured, and of all


GapComponents = dict[str, GapComponent]  # name in COMPONENTS -> component


def unknown(reason: str, effective: tuple[float, float] = NEITHER, covered: float = float("nan")) -> GapComponent:
    """Build an unknown component with its reason: its value is NaN."""
    return GapComponent(float("nan"), Influence({}), NEITHER, reason, effective, covered, 0, counted=(0, 1))


def remainder(components: Mapping[str, GapComponent]) -> GapComponent:
    """Compute the remainder: the gap minus all measured components. Its interval combines theirs (`mean_interval`)."""
    gap = components["gap"]
    measured = [components[name] for name in MEASURED if np.isfinite(components[name].value)]
    excess_internal, excess_external = gap.excess
    for component in measured:
        after, before = component.excess
        # each component changes the external metric, and thus the excess of the external metric
        excess_external += after - before
    terms = (gap, *measured)
    sign = np.array([1.0, *[-1.0] * len(measured)])
    value = sign * np.array([term.value for term in terms])
    influences = [float(s) * term.influence for s, term in zip(sign, terms, strict=True)]
    bounds = np.sort(sign[:, None] * np.array([term.interval for term in terms]), axis=1).T
    matrix = correlations(Influence.stack(influences).covariance)
    low, high = (len(terms) * bound for bound in mean_interval("", value, bounds, matrix))
    excesses = (excess_internal, excess_external)
    total = sum(influences[1:], influences[0])
    return GapComponent(float(value.sum()), total, (low, high), num_findings=gap.num_findings, excess=excesses)


def mean(
    groups: Sequence[GapComponents],
    total: Callable[[Iterable[int]], int],
    what: str = "findings",
    weight: Array | None = None,
) -> GapComponents:
    """Compute the mean of each component over findings or hospitals; unknown if one of them is unknown.

    weight: weights of a sum over groups in place of the mean; they sum to 1.

    An unknown component is not 0, so a mean over the measured findings only would understate or overstate it. It is part of the
    remainder. `total` is the function that combines the numbers of findings: sum for a mean over findings, min for a mean
    over hospitals. `what` names in the reason of an unknown mean what was measured.
    """
    means: GapComponents = {}
    share = np.full(len(groups), 1 / len(groups)) if weight is None else weight
    for name in ("gap", *MEASURED):
        components = [of_group[name] for of_group in groups]
        bounds_of_components = np.array([component.bounds for component in components])
        bounds = NEITHER
        if not np.isnan(bounds_of_components).all():
            # no mapping changes the labels of a finding without bounds: its change is 0
            least, most = (share @ np.nan_to_num(bounds_of_components)).tolist()
            bounds = (least, most)
        num_measured, num_all = np.sum([component.counted for component in components], axis=0).tolist()
        num_findings = total(component.num_findings for component in components)
        if any(np.isnan(component.value) for component in components):
            reason = f"measured for {num_measured} of {num_all} {what}" if num_measured else _common(components)
            means[name] = replace(
                unknown(reason),
                bounds=bounds,
                counted=(num_measured, num_all),
                num_findings=num_findings,
            )
            continue
        values = np.array([component.value for component in components])
        intervals = np.array([component.interval for component in components]).T
        influences = [component.influence for component in components]
        matrix = correlations(Influence.stack(influences).covariance)
        effective = tuple(min(component.effective[side] for component in components) for side in (0, 1))
        means[name] = GapComponent(
            float(values.mean() if weight is None else share @ values),
            Influence.mean([float(w) * len(share) * one for w, one in zip(share, influences, strict=True)]),
            mean_interval("", values, intervals, matrix, share),
            reason=_common(components),
            effective=(effective[0], effective[1]),
            covered=min(component.covered for component in components),
            num_findings=num_findings,
            bounds=bounds,
            paired=float(np.mean([component.paired for component in components])),
            excess=_mean_excess(components, share),
            counted=(num_measured, num_all),
        )
    return means | {"remainder": remainder(means)}


def _mean_excess(components: Sequence[GapComponent], share: Array) -> tuple[float, float]:
    """Compute the mean excess of the components, for each of the two metrics whose difference is the gap."""
    first, second = (share @ np.array([component.excess for component in components])).tolist()
    return first, second


def _common(components: Sequence[GapComponent]) -> str:
    """Return the distinct reasons of the components, joined by "; "."""
    reasons = dict.fromkeys(text for component in components for text in component.reason.split("; "))
    return "; ".join(text for text in reasons if text)
