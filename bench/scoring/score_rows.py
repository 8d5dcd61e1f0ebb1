"""Rows of the `scores` table: each metric for each finding, its macro over findings, and its mean over hospitals.

Shapes: K findings, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import mean_interval
from bench.scoring.bootstrap.intervals import distance_interval, mean_of, normal_interval, positive_interval
from bench.scoring.calibration_metrics import BIASED, ERRORS
from bench.scoring.gaps.gap import CORE, EXTERNAL, MACRO, MACRO_ALL, UNKNOWN, Gap
from bench.scoring.metric_bounds import BOUNDS
from bench.scoring.metrics_of_split import AUROC, Key, SplitMetrics
from bench.scoring.scored_split import Counts, Settings
from reports import extensions, hooks

Array = NDArray[np.float64]
Row = tuple[Any, ...]

FLOATS: tuple[str, ...] = ("value", "low", "high", "internal", "external", "confidence")
FLOATS += ("threshold", "se_image", "se_patient", "se_bootstrap", "effective_positive", "effective_negative", "covered")
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


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """An unweighted mean over findings, or over hospitals, with its replicates [B]."""

    value: float
    replicates: Array
    # of a mean over findings: the minimum of each number over the findings
    # of a mean over hospitals: the sum of each number over the hospitals, but the minimum of num_findings
    sizes: Sizes
    bounds: tuple[float, float] | None = None  # 95 % interval; None if `Writer.rows` computes it from the replicates


def macro(measured: SplitMetrics, key: Key, used: NDArray[np.bool_] | None = None) -> Macro:
    """Compute the mean of a metric over the findings with a value; the mask `used` [K] limits the findings (None: all)."""
    value, counts = measured.value[key], measured.counts_of_values
    if used is not None:
        value = np.where(used, value, np.nan)
    mean, replicates = mean_of(value, measured.replicates[key])
    finite = np.isfinite(value)
    num = int(np.count_nonzero(finite))
    if not num:
        return Macro(mean, replicates, Sizes())
    # The sizes are cached, because most metrics have values for the same findings.
    key_of_sizes = ("least", finite.tobytes())
    sizes = measured.scored.cached(key_of_sizes, lambda: least_sizes(counts, finite, num), counts)
    bounds = None
    if key in measured.bounds:
        bounds = mean_interval(key.metric, value, measured.bounds[key], measured.replicates[key])
    return Macro(mean, replicates, sizes, bounds)


def mean_of_macros(key: Key, macros: Sequence[Macro]) -> Macro:
    """Compute the unweighted mean over hospitals of their macros of one metric; a NaN macro is ignored."""
    values = np.array([hospital_macro.value for hospital_macro in macros])
    replicates_HB = np.stack([hospital_macro.replicates for hospital_macro in macros])
    mean, replicates = mean_of(values, replicates_HB)
    sizes = [hospital_macro.sizes for hospital_macro in macros if np.isfinite(hospital_macro.value)]
    if not sizes:
        return Macro(mean, replicates, Sizes())
    n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*sizes, strict=True))
    fewest_findings = min(hospital_macro.num_findings for hospital_macro in sizes)
    bounds = None
    if any(hospital_macro.bounds for hospital_macro in macros):
        of_hospitals = np.array([hospital_macro.bounds or UNKNOWN for hospital_macro in macros]).T
        bounds = mean_interval(key.metric, values, of_hospitals, replicates_HB)
    return Macro(mean, replicates, Sizes(n, num_positive, num_negative, num_patients, fewest_findings), bounds)


class _Block(NamedTuple):
    """F rows (findings) of one metric on one split: value [F], replicates [F, B] and F sizes.

    bounds [2, F]: the intervals; None if `Writer.rows` computes them from the replicates.
    """

    prefix: tuple[str, ...]  # values of the table's columns to the left of the column `finding`
    key: Key
    findings: Sequence[str]
    value: Array
    replicates: Array
    sizes: Sequence[Sizes]
    bounds: Array | None

    @property
    def interval_group(self) -> tuple[int, str]:
        """Return number of replicates and kind of interval; the intervals of all equal blocks are computed together."""
        kind = "distance" if self.key.metric in BIASED else "loss" if self.key.metric in ERRORS else "other"
        return self.replicates.shape[1], kind


class Writer:
    """A collector for the rows of one run; `rows` computes all intervals together, which is faster than one by one."""

    def __init__(self, run_id: str, settings: Settings) -> None:
        self._added: list[_Block | list[Row]] = []
        self._run_id = run_id
        self._fixed = (settings.mapping, settings.subgroup, settings.selection)

    @property
    def rows(self) -> list[Row]:
        """Return the rows in the order in which they were added.

        If all replicates are equal, there is no interval: this does not show that the true value is known.
        """
        groups: dict[tuple[int, str], list[_Block]] = {}
        for block in self._added:
            if isinstance(block, _Block) and block.bounds is None:
                groups.setdefault(block.interval_group, []).append(block)
        numbers = {}
        for group, blocks in groups.items():
            value = np.concatenate([block.value for block in blocks])
            _, interval = group
            low, high = INTERVALS[interval](value, np.concatenate([block.replicates for block in blocks]))
            largest = [np.full(block.value.shape, LARGEST.get(block.key.metric, np.inf)) for block in blocks]
            # a value lies in its interval, also a resolution that is slightly below its smallest possible value
            low, high = np.minimum(low, value), np.maximum(np.minimum(high, np.concatenate(largest)), value)
            bounds = np.where(low < high, (low, high), np.nan)
            numbers[group] = zip(value.tolist(), *(bound.tolist() for bound in bounds), strict=True)
        all_rows: list[Row] = []
        for block in self._added:
            if not isinstance(block, _Block):
                all_rows += block
                continue
            of_block = (
                islice(numbers[block.interval_group], len(block.findings))
                if block.bounds is None
                else zip(block.value.tolist(), *block.bounds.tolist(), strict=True)
            )
            cells = zip(block.findings, of_block, block.sizes, strict=True)
            all_rows += [(*block.prefix, finding, block.key.metric, *number, *size) for finding, number, size in cells]
        return all_rows

    def _prefix(self, cohort: Sequence[str], key: Key) -> tuple[str, ...]:
        return (self._run_id, *cohort, *self._fixed, key.calibrator, key.operating_point)

    def add_macro(self, cohort: Sequence[str], key: Key, mean: Macro, name: str = MACRO) -> None:
        """Add one mean over findings; cohort: dataset, split and label source, see `cohort_of`."""
        value, replicates = np.array([mean.value]), mean.replicates[None]
        bounds = None if mean.bounds is None else np.array(mean.bounds)[:, None]
        self._added.append(_Block(self._prefix(cohort, key), key, (name,), value, replicates, (mean.sizes,), bounds))

    def add_split(self, findings: Sequence[str], measured: SplitMetrics, macros: Mapping[Key, Macro]) -> None:
        """Add the rows of one split: for each metric, the rows of the findings, then the macro."""
        cohort, counts = cohort_of([measured]), measured.counts_of_values
        sizes = [least_sizes(counts, np.array([k]), 1) for k in range(len(findings))]
        for key, value in measured.value.items():
            prefix, replicates = self._prefix(cohort, key), measured.replicates[key]
            self._added.append(_Block(prefix, key, findings, value, replicates, sizes, measured.bounds.get(key)))
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
            self._added.append([(*prefix, gap.finding, key.metric, gap.value, gap.low, gap.high, *sizes)])


def least_sizes(counts: Counts, selected: NDArray[np.integer | np.bool_], num_findings: int) -> Sizes:
    """Compute the minimum over the selected findings of each count: images, positives, negatives and patients."""
    columns = np.array((counts.n, counts.num_positive, counts.num_negative, counts.num_patients))
    n, num_positive, num_negative, num_patients = columns[:, selected].min(1).tolist()
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)


INTERVALS = {"distance": distance_interval, "loss": positive_interval, "other": normal_interval}
# the largest possible value of metrics whose upper bound could be above it; nll has none
LARGEST = {name: BOUNDS[name][1] for name in ERRORS if name in BOUNDS}


def cohort_of(measured: Sequence[SplitMetrics]) -> tuple[str, str, str]:
    """Return dataset, split and label source of the given splits; "mixed" replaces a value in which the splits differ."""

    def common(names: set[str]) -> str:
        return names.pop() if len(names) == 1 else "mixed"

    return (
        common({split.scored.dataset for split in measured}),
        common({split.scored.split for split in measured}),
        common({split.scored.reference for split in measured}),
    )
