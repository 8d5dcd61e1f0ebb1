"""Rows of the `scores` table: each metric for each finding, its macro over findings, and its mean over hospitals.

Shapes: K findings, P patients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.calibration_metrics import BIASED, ERRORS
from bench.scoring.gaps.gap import CORE, EXTERNAL, MACRO, MACRO_ALL, UNKNOWN, Gap
from bench.scoring.influence import Estimate, Influence, correlations, half_width, mean_of
from bench.scoring.intervals import distance_interval, plain_interval, positive_interval
from bench.scoring.metric_bounds import BOUNDS
from bench.scoring.metrics_of_split import AUROC, Key, SplitMetrics
from bench.scoring.scored_split import Counts, Settings
from reports import extensions, hooks

Array = NDArray[np.float64]
Row = tuple[Any, ...]

FLOATS: tuple[str, ...] = ("value", "low", "high", "internal", "external", "confidence")
FLOATS += ("threshold", "se_image", "se_patient", "effective_positive", "effective_negative", "covered")
FLOATS += ("p", "least", "most", "paired", "bin_low", "bin_high")
FLOATS += ("mean", "q05", "q25", "q50", "q75", "q95")
FLOATS += tuple(name for module in extensions.modules(hooks.Schemas) for name in module.FLOATS)
INTEGERS: tuple[str, ...] = ("n", "num_positive", "num_negative", "num_patients", "num_findings", "bin", "count")
INTEGERS += ("true_positive", "false_positive", "false_negative", "true_negative", "present", "absent")


def frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Build a table from rows.

    The name of a column decides its dtype (float64, int64 or text), even if there are no rows.
    """
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pd.DataFrame({name: _column(name, cell) for name, cell in zip(columns, cells, strict=True)}, copy=False)


def _column(name: str, cells: tuple[Any, ...]) -> Any:
    """Build a column of a table; pyarrow converts text, because the type inference of pandas is slow."""
    if name in FLOATS + INTEGERS:
        return np.array(cells, np.float64 if name in FLOATS else np.int64)
    if cells and isinstance(cells[0], str):
        return pa.array(cells, pa.large_string()).to_pandas().array
    return pd.Series(cells, dtype=None if cells else object).array


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
    # of a mean over findings: the minimum of each number over the findings
    # of a mean over hospitals: the sum of each number over the hospitals, but the minimum of num_findings
    sizes: Sizes = NO_SIZES
    bounds: tuple[float, float] | None = None  # 95 % interval; None if `Writer` computes it from the influences
    excess: float = 0.0  # of a calibration error: the mean of the excesses

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


def mean_of_macros(key: Key, macros: Sequence[Macro]) -> Macro:
    """Compute the unweighted mean over hospitals of their macros of one metric; a NaN macro is ignored."""
    known = [hospital_macro for hospital_macro in macros if np.isfinite(hospital_macro.value)]
    if not known:
        return Macro(np.nan, macros[0].influence)
    values = np.array([hospital_macro.value for hospital_macro in known])
    sizes = [hospital_macro.sizes for hospital_macro in known]
    n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*sizes, strict=True))
    fewest_findings = min(hospital_macro.num_findings for hospital_macro in sizes)
    bounds = None
    if any(hospital_macro.bounds for hospital_macro in known):
        of_hospitals = np.array([hospital_macro.bounds or UNKNOWN for hospital_macro in known]).T
        bounds = mean_interval(key.metric, values, of_hospitals, np.eye(len(known)))
    return Macro(
        float(values.mean()),
        Influence.mean([hospital_macro.influence for hospital_macro in known]),
        Sizes(n, num_positive, num_negative, num_patients, fewest_findings),
        bounds,
        float(np.mean([hospital_macro.excess for hospital_macro in known])),
    )


class Writer:
    """A collector for the rows of one run, in the order in which they are added.

    A value whose patients have no influence has no interval: this does not show that the true value is known.
    """

    def __init__(self, run_id: str, settings: Settings) -> None:
        self.rows: list[Row] = []
        self._run_id = run_id
        self._fixed = (settings.mapping, settings.subgroup, settings.selection)

    def _add(
        self,
        cohort: Sequence[str],
        key: Key,
        findings: Sequence[str],
        value: Array,
        bounds: Array,
        sizes: Sequence[Sizes],
    ) -> None:
        """Add the rows of one metric of some findings on one split; bounds [2, F]."""
        prefix = self._prefix(cohort, key)
        cells = zip(findings, value.tolist(), *bounds.tolist(), sizes, strict=True)
        self.rows += [(*prefix, finding, key.metric, *number, *size) for finding, *number, size in cells]

    def _prefix(self, cohort: Sequence[str], key: Key) -> tuple[str, ...]:
        return (self._run_id, *cohort, *self._fixed, key.calibrator, key.operating_point)

    def add_macro(self, cohort: Sequence[str], key: Key, mean: Macro, name: str = MACRO) -> None:
        """Add one mean over findings; cohort: dataset, split and label source, see `cohort_of`."""
        value = np.array([mean.value])
        bounds = np.array(mean.bounds)[:, None] if mean.bounds else None
        if bounds is None:
            half = half_width(mean.influence.all[None]) if mean.influence.of else np.full(1, np.nan)
            bounds = interval_of(key.metric, value, half, np.array([mean.excess]))
        self._add(cohort, key, (name,), value, bounds, (mean.sizes,))

    def add_split(self, findings: Sequence[str], measured: SplitMetrics, macros: Mapping[Key, Macro]) -> None:
        """Add the rows of one split: for each metric, the rows of the findings, then the macro."""
        cohort, counts = cohort_of([measured]), measured.counts_of_values
        sizes = [least_sizes(counts, np.array([k]), 1) for k in range(len(findings))]
        for key, value in measured.value.items():
            bounds = measured.bounds.get(key)
            if bounds is None:
                excess = measured.excess.get(key, np.zeros(len(value)))
                bounds = interval_of(key.metric, value, half_width(measured.influence[key]), excess)
            self._add(cohort, key, findings, value, bounds, sizes)
            self.add_macro(cohort, key, macros[key])

    def add_external(self, external: Sequence[SplitMetrics], means: Mapping[Key, Macro]) -> None:
        """Add the external mean of each metric; `means` are the means of the macros over hospitals."""
        for key, mean in means.items():
            self.add_macro((EXTERNAL, *cohort_of(external)[1:]), key, mean)

    def add_all_findings(self, external: Sequence[SplitMetrics], macros: Sequence[Macro], mean: Macro) -> None:
        """Add the AUROC over all findings that an external hospital scores: of each hospital (`macros`), and their mean."""
        for split, of_hospital in zip(external, macros, strict=True):
            self.add_macro(cohort_of([split]), AUROC, of_hospital, MACRO_ALL)
        self.add_macro((EXTERNAL, *cohort_of(external)[1:]), AUROC, mean, MACRO_ALL)

    def add_core(
        self,
        test: SplitMetrics,
        external: Sequence[SplitMetrics],
        core: NDArray[np.bool_],
        known: tuple[Sequence[Mapping[Key, Macro]], Mapping[Key, Macro]] | None,
    ) -> None:
        """Add each metric's mean over the core findings: for the internal test split, each hospital, and the external mean.

        core [K] is the mask of the core findings. known: macros of the external splits and their means, if they are over the
        core findings.
        """
        of_hospitals, means = known or (
            [{key: macro(split, key, core) for key in split.value} for split in external],
            {},
        )
        cohorts = [cohort_of([split]) for split in external]
        for key in test.value:
            self.add_macro(cohort_of([test]), key, macro(test, key, core), CORE)
            of_key = [macros[key] for macros in of_hospitals]
            for cohort, mean in zip(cohorts, of_key, strict=True):
                self.add_macro(cohort, key, mean, CORE)
            mean = means[key] if key in means else mean_of_macros(key, of_key)
            self.add_macro((EXTERNAL, *cohort_of(external)[1:]), key, mean, CORE)

    def add_gaps(self, gaps: Sequence[tuple[Key, Gap]], external: Sequence[SplitMetrics]) -> None:
        """Add the rows of gaps; the key of a gap names the metric of its row, such as auroc_gap."""
        cohort_of_dataset = {split.scored.dataset: cohort_of([split]) for split in external}
        if external:
            cohort_of_dataset[EXTERNAL] = cohort_of(external)
        for key, gap in gaps:
            sizes = Sizes(gap.n, gap.num_positive, gap.num_negative, gap.num_patients, gap.num_findings)
            prefix = self._prefix((gap.dataset, *cohort_of_dataset[gap.dataset][1:]), key)
            self.rows.append((*prefix, gap.finding, key.metric, gap.value, gap.low, gap.high, *sizes))


def least_sizes(counts: Counts, selected: NDArray[np.integer | np.bool_], num_findings: int) -> Sizes:
    """Compute the minimum over the selected findings of each count: images, positives, negatives and patients."""
    columns = np.array((counts.n, counts.num_positive, counts.num_negative, counts.num_patients))
    n, num_positive, num_negative, num_patients = columns[:, selected].min(1).tolist()
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)


def interval_of(metric: str, value: Array, half: Array, excess: Array) -> Array:
    """Return low and high [2, ...] of a metric that is no area and no rate, from half of the widths; NaN without a width.

    excess: of calibration errors. A value lies in its interval, and no bound is above the largest possible value.
    """
    if metric in BIASED:
        low, high = distance_interval(value, half, excess)
    else:
        low, high = (positive_interval if metric in ERRORS else plain_interval)(value, half)
    largest = BOUNDS[metric][1] if metric in ERRORS and metric in BOUNDS else np.inf
    # a value lies in its interval, also a resolution that is slightly below its smallest possible value
    low, high = np.minimum(low, value), np.maximum(np.minimum(high, largest), value)
    return np.where(low < high, (low, high), np.nan)


def cohort_of(measured: Sequence[SplitMetrics]) -> tuple[str, str, str]:
    """Return dataset, split and label source of the given splits; "mixed" replaces a value in which the splits differ."""

    def common(names: set[str]) -> str:
        return names.pop() if len(names) == 1 else "mixed"

    return (
        common({split.scored.dataset for split in measured}),
        common({split.scored.split for split in measured}),
        common({split.scored.reference for split in measured}),
    )
