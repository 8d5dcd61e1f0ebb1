"""Rows of the `scores` table: each metric for each finding, its macro over findings, and its mean over hospitals.

Shapes: K findings, P patients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.calibration_metrics import BIASED, ERRORS
from bench.scoring.gaps.gap import EXTERNAL, MACRO, Gap
from bench.scoring.influence import half_width
from bench.scoring.intervals import distance_interval, plain_interval, positive_interval
from bench.scoring.means import Macro, Sizes, least_sizes
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.metrics_of_split import Key, SplitMetrics
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

    def add_macro(self, cohort: Sequence[str], key: Key, mean: Macro) -> None:
        """Add one mean over findings; cohort: dataset, split and label source, see `cohort_of`."""
        value = np.array([mean.value])
        if mean.bounds is None:
            half = half_width(mean.influence.all[None]) if mean.influence.of else np.full(1, np.nan)
            bounds = interval_of(key.metric, value, half, np.array([mean.excess]))
        else:
            bounds = np.clip(np.array(mean.bounds)[:, None], *bounds_of(key.metric))
        self._add(cohort, key, (MACRO,), value, bounds, (mean.sizes,))

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

    def add_gaps(self, gaps: Sequence[tuple[Key, Gap]], external: Sequence[SplitMetrics]) -> None:
        """Add the rows of gaps; the key of a gap names the metric of its row, such as auroc_gap."""
        cohort_of_dataset = {split.scored.dataset: cohort_of([split]) for split in external}
        if external:
            cohort_of_dataset[EXTERNAL] = cohort_of(external)
        for key, gap in gaps:
            sizes = Sizes(gap.n, gap.num_positive, gap.num_negative, gap.num_patients, gap.num_findings)
            prefix = self._prefix((gap.dataset, *cohort_of_dataset[gap.dataset][1:]), key)
            self.rows.append((*prefix, gap.finding, key.metric, gap.value, gap.low, gap.high, *sizes))


def interval_of(metric: str, value: Array, half: Array, excess: Array) -> Array:
    """Return low and high [2, ...] of a metric that is no area and no rate, from half of the widths; NaN without a width.

    excess: excess of calibration errors. A value lies in its interval, and no bound is above the largest possible value.
    """
    if metric in BIASED:
        low, high = distance_interval(value, half, excess)
    else:
        low, high = positive_interval(value, half) if metric in ERRORS else plain_interval(value, half)
    largest = bounds_of(metric)[1]
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
