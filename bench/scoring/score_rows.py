"""Rows of the scores table: each metric per finding, as macro over findings, and as mean over hospitals.

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

from bench.scoring.bootstrap.intervals import area_interval, mean_of, percentile, reflected
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import CORE, EXTERNAL, MACRO, Gap
from bench.scoring.metrics_of_split import RANKED, Key, Measured
from bench.scoring.scored_split import Counts, Settings

Array = NDArray[np.float64]
Row = tuple[Any, ...]

FLOATS: tuple[str, ...] = ("value", "low", "high", "internal", "external", "confidence", "observed")
FLOATS += ("threshold", "se_image", "se_patient", "se_bootstrap", "effective_positive", "effective_negative", "covered")
FLOATS += ("least", "most", "paired", "bin_low", "bin_high")
WHOLE: tuple[str, ...] = ("n", "num_positive", "num_negative", "num_patients", "num_findings", "bin", "count")
WHOLE += ("true_positive", "false_positive", "false_negative", "true_negative", "present", "absent")


def frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Build a table with fixed dtypes, even when it is empty: float64, int64, else text."""
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pd.DataFrame({name: _column(name, cell) for name, cell in zip(columns, cells, strict=True)}, copy=False)


def _column(name: str, cells: tuple[Any, ...]) -> Any:
    """Build a column of a table; text skips the type inference of pandas, which is slow."""
    if name in FLOATS + WHOLE:
        return np.array(cells, np.float64 if name in FLOATS else np.int64)
    if cells and isinstance(cells[0], str):
        return pa.array(cells, pa.large_string()).to_pandas().array
    return pd.Series(cells, dtype=None if cells else object).array


class Sizes(NamedTuple):
    """The counts behind a value, in the order of the columns."""

    n: int = 0
    num_positive: int = 0
    num_negative: int = 0
    num_patients: int = 0
    num_findings: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """An unweighted mean over findings (or hospitals) with its replicates [B]."""

    value: float
    replicates: Array
    sizes: Sizes  # minimum over the findings; over hospitals: sums, and minimum num_findings


def macro(measured: Measured, key: Key, counted: NDArray[np.bool_] | None = None) -> Macro:
    """Compute the mean over the findings with a value; `counted` [K] restricts the findings."""
    value, counts = measured.value[key], measured.counts
    if counted is not None:
        value = np.where(counted, value, np.nan)
    centre, replicates = mean_of(value, measured.replicates[key])
    finite = np.isfinite(value)
    num = int(np.count_nonzero(finite))
    if not num:
        return Macro(centre, replicates, Sizes())
    of = ("least", finite.tobytes())  # most metrics have values for the same findings
    return Macro(centre, replicates, measured.scored.once(of, lambda: _least(counts, finite, num), counts))


def mean_of_macros(macros: Sequence[Macro]) -> Macro:
    """Compute the unweighted mean over the hospitals with a macro."""
    values = np.array([of_hospital.value for of_hospital in macros])
    centre, replicates = mean_of(values, np.stack([of_hospital.replicates for of_hospital in macros]))
    sizes = [of_hospital.sizes for of_hospital in macros if np.isfinite(of_hospital.value)]
    if not sizes:
        return Macro(centre, replicates, Sizes())
    n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*sizes, strict=True))
    num_findings = min(of_hospital.num_findings for of_hospital in sizes)
    return Macro(centre, replicates, Sizes(n, num_positive, num_negative, num_patients, num_findings))


class _Block(NamedTuple):
    """Values of one metric on one split, without intervals yet: value [F], replicates [F, B], sizes of each."""

    prefix: tuple[str, ...]  # the columns before the finding
    key: Key
    findings: Sequence[str]
    value: Array
    replicates: Array
    sizes: Sequence[Sizes]

    @property
    def interval_group(self) -> tuple[int, str]:
        """Return a key that is equal for blocks whose intervals are computed together."""
        return self.replicates.shape[1], _kind(self.key)


class Writer:
    """Collects the rows of one run; computes all intervals together at the end, which is faster."""

    def __init__(self, run_id: str, settings: Settings) -> None:
        self._added: list[_Block | list[Row]] = []
        self._run_id = run_id
        self._fixed = (settings.mapping, settings.subgroup, settings.selection)

    @property
    def rows(self) -> list[Row]:
        """Return the rows in the order in which they were added."""
        groups: dict[tuple[int, str], list[_Block]] = {}
        for block in self._added:
            if isinstance(block, _Block):
                groups.setdefault(block.interval_group, []).append(block)
        numbers = {}
        for what, blocks in groups.items():
            value = np.concatenate([block.value for block in blocks])
            bounds = INTERVALS[what[1]](value, np.concatenate([block.replicates for block in blocks]))
            numbers[what] = zip(value.tolist(), *(bound.tolist() for bound in bounds), strict=True)
        out: list[Row] = []
        for block in self._added:
            if not isinstance(block, _Block):
                out += block
                continue
            cells = zip(
                block.findings, islice(numbers[block.interval_group], len(block.findings)), block.sizes, strict=True
            )
            out += [(*block.prefix, finding, block.key.metric, *number, *size) for finding, number, size in cells]
        return out

    def _before(self, place: Sequence[str], key: Key) -> tuple[str, ...]:
        return (self._run_id, *place, *self._fixed, key.calibrator, key.operating_point)

    def _add_macro(self, place: Sequence[str], key: Key, mean: Macro, name: str = MACRO) -> None:
        value, replicates = np.array([mean.value]), mean.replicates[None]
        self._added.append(_Block(self._before(place, key), key, (name,), value, replicates, (mean.sizes,)))

    def add_split(self, findings: Sequence[str], measured: Measured, macros: Mapping[Key, Macro]) -> None:
        """Add each metric of one split: per finding, then macro."""
        place, counts = _place([measured]), measured.counts
        sizes = [_least(counts, np.array([k]), 1) for k in range(len(findings))]
        for key, value in measured.value.items():
            self._added.append(_Block(self._before(place, key), key, findings, value, measured.replicates[key], sizes))
            self._add_macro(place, key, macros[key])

    def add_external(self, external: Sequence[Measured], means: Mapping[Key, Macro]) -> None:
        """Add the mean over hospitals of each macro."""
        for key, mean in means.items():
            self._add_macro((EXTERNAL, *_place(external)[1:]), key, mean)

    def add_core(self, test: Measured, external: Sequence[Measured], core: NDArray[np.bool_]) -> None:
        """Add the mean over the findings that all cohorts score: internal test, each hospital, and the external mean."""
        places = [_place([each]) for each in (test, *external)]
        for key in test.value:
            means = [macro(each, key, core) for each in (test, *external)]
            for place, mean in zip(places, means, strict=True):
                self._add_macro(place, key, mean, CORE)
            self._add_macro((EXTERNAL, *_place(external)[1:]), key, mean_of_macros(means[1:]), CORE)

    def add_gaps(self, gaps: Sequence[tuple[Key, Gap]], external: Sequence[Measured]) -> None:
        """Add each gap of the external hospital under its metric, such as auroc_gap."""
        of = (
            {EXTERNAL: _place(external), **{each.scored.dataset: _place([each]) for each in external}}
            if external
            else {}
        )
        for key, gap in gaps:
            sizes = Sizes(gap.n, gap.num_positive, gap.num_negative, gap.num_patients, gap.num_findings)
            before = self._before((gap.dataset, *of[gap.dataset][1:]), key)
            self._added.append([(*before, gap.finding, key.metric, gap.value, gap.low, gap.high, *sizes)])


def _least(counts: Counts, chosen: NDArray[np.integer | np.bool_], num_findings: int) -> Sizes:
    """Compute the minimum of each count over the chosen findings."""
    columns = np.array((counts.n, counts.num_positive, counts.num_negative, counts.num_patients))
    n, num_positive, num_negative, num_patients = columns[:, chosen].min(1).tolist()
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)


def _kind(key: Key) -> str:
    """Return the name of the interval of a metric in INTERVALS."""
    return "area" if key in RANKED else "distance" if key.metric in BIASED else "other"


INTERVALS = {"area": area_interval, "distance": reflected, "other": percentile}


def _place(measured: Sequence[Measured]) -> tuple[str, str, str]:
    """Return dataset, split and reference; "mixed" where the splits differ."""
    names = ({each.scored.dataset for each in measured}, {each.scored.split for each in measured})
    references = {each.scored.reference for each in measured}
    dataset, split, reference = (found.pop() if len(found) == 1 else "mixed" for found in (*names, references))
    return dataset, split, reference
