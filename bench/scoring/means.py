"""Means over findings and over hospitals, with the influences of patients on them.

Shapes: K findings, P patients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.influence import Estimate, Influence, correlations, mean_of
from bench.scoring.metrics_of_split import Key, SplitMetrics
from bench.scoring.scored_split import Counts

UNKNOWN = (float("nan"), float("nan"))  # bounds


class Sizes(NamedTuple):
    """Numbers of images, patients and findings from which a value was computed, in the order of the table's columns."""

    n: int = 0
    num_positive: int = 0
    num_negative: int = 0
    num_patients: int = 0
    num_findings: int = 0


NO_SIZES = Sizes()


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """An unweighted mean over findings, or over hospitals, with the influences of patients on it."""

    value: float
    influence: Influence
    # for a mean over findings: the minimum of each number over the findings
    # for a mean over hospitals: the sum of each number over the hospitals, but the minimum of num_findings
    sizes: Sizes = NO_SIZES
    bounds: tuple[float, float] | None = None  # 95 % interval; None if `Writer` computes it from the influences
    excess: float = 0.0  # only for a calibration error: the mean of the excesses

    @property
    def is_impossible(self) -> bool:
        """Return whether the mean of a hospital without some of the findings is outside the range of the metric (`hospital_means`)."""
        return math.isnan(self.value) and self.sizes.num_findings > 0

    @property
    def estimate(self) -> Estimate:
        """Return the value with its influences."""
        return Estimate(self.value, self.influence)


def macro(measured: SplitMetrics, key: Key, used: NDArray[np.bool_] | None = None) -> Macro:
    """Compute the mean of a metric over the findings with a value; the mask `used` [K] limits the findings (None: all)."""
    value, counts = measured.value[key], measured.counts_of_values
    if used is not None:
        value = np.where(used, value, np.nan)
    mean, of_mean = mean_of(value, measured.influence[key])
    influence = Influence({measured.sample.key: of_mean})
    finite = np.isfinite(value)
    num = int(np.count_nonzero(finite))
    if not num:
        return Macro(mean, influence)
    # The sizes are cached, because most metrics have values for the same findings.
    key_of_sizes = ("least", finite.tobytes())
    sizes = measured.scored.cached(key_of_sizes, lambda: least_sizes(counts, finite, num), counts)
    bounds = None
    if key in measured.bounds:
        of_findings = measured.influence[key]
        bounds = mean_interval(key.metric, value, measured.bounds[key], correlations(of_findings @ of_findings.T))
    excess = float(measured.excess[key][finite].mean()) if key in measured.excess else 0.0
    return Macro(mean, influence, sizes, bounds, excess)


def mean_of_macros(key: Key, macros: Sequence[Macro], used: NDArray[np.bool_] | None = None) -> Macro:
    """Compute the unweighted mean over hospitals of their macros of one metric; a NaN macro is ignored.

    used [K]: the findings of the mean; it is NaN if there are none, or if the macro of a hospital is impossible.
    """
    known = [macro for macro in macros if np.isfinite(macro.value) and (used is None or used.any())]
    impossible = [macro for macro in macros if macro.is_impossible]
    if impossible or not known:
        return (impossible or [Macro(np.nan, macros[0].influence)])[0]
    values = np.array([hospital_macro.value for hospital_macro in known])
    sizes = [hospital_macro.sizes for hospital_macro in known]
    n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*sizes, strict=True))
    fewest_findings = min(hospital_macro.num_findings for hospital_macro in sizes)
    bounds = None
    if any(hospital_macro.bounds for hospital_macro in known):
        of_hospitals = np.array([hospital_macro.bounds or UNKNOWN for hospital_macro in known]).T
        matrix = correlations(Influence.stack([hospital_macro.influence for hospital_macro in known]).covariance)
        bounds = mean_interval(key.metric, values, of_hospitals, matrix)
    return Macro(
        float(values.mean()),
        Influence.mean([hospital_macro.influence for hospital_macro in known]),
        Sizes(n, num_positive, num_negative, num_patients, fewest_findings),
        bounds,
        float(np.mean([hospital_macro.excess for hospital_macro in known])),
    )


def least_sizes(counts: Counts, selected: NDArray[np.integer | np.bool_], num_findings: int) -> Sizes:
    """Compute the minimum over the selected findings of each count: images, positives, negatives and patients."""
    columns = np.array((counts.n, counts.num_positive, counts.num_negative, counts.num_patients))
    n, num_positive, num_negative, num_patients = columns[:, selected].min(1).tolist()
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)
