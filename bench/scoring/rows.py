"""Rows of the scores table: every metric per finding, as macro over findings, and as mean over hospitals.

Shapes: K findings, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.calibration import BIASED
from bench.scoring.gap import AWAY, CORE, MACRO, Gap
from bench.scoring.intervals import mean_of, of_area, percentile, reflected
from bench.scoring.measure import RANKED, Key, Measured
from bench.scoring.parts import Counts, Settings

Array = NDArray[np.float64]
Row = tuple[Any, ...]

FLOATS: tuple[str, ...] = ("value", "low", "high", "home", "away", "confidence", "observed")
FLOATS += ("threshold", "se_image", "se_patient", "se_bootstrap", "effective_positive", "effective_negative", "covered")
WHOLE: tuple[str, ...] = ("n", "num_positive", "num_negative", "num_patients", "num_findings", "bin", "count")
WHOLE += ("true_positive", "false_positive", "false_negative", "true_negative")


def frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Return a table whose dtypes are the same when it is empty: float64, int64, else text."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    kinds = {name: "float64" if name in FLOATS else "int64" for name in columns if name in FLOATS + WHOLE}
    return table.astype(kinds)


class Sizes(NamedTuple):
    """How much a number rests on, in the order of the columns."""

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
    sizes: Sizes  # the least of its findings; of hospitals: summed, with the least num_findings


def macro(measured: Measured, key: Key, counted: NDArray[np.bool_] | None = None) -> Macro:
    """Return the mean over the findings that have a value; `counted` [K] leaves others out."""
    value, counts = measured.value[key], measured.counts
    if counted is not None:
        value = np.where(counted, value, np.nan)
    centre, replicates = mean_of(value, measured.replicates[key])
    known = np.isfinite(value)
    if not known.any():
        return Macro(centre, replicates, Sizes())
    return Macro(centre, replicates, _least(counts, known, int(known.sum())))


def mean_of_macros(macros: Sequence[Macro]) -> Macro:
    """Return the unweighted mean over the hospitals that have a macro."""
    values = np.array([each.value for each in macros])
    centre, replicates = mean_of(values, np.stack([each.replicates for each in macros]))
    known = [each.sizes for each in macros if np.isfinite(each.value)]
    if not known:
        return Macro(centre, replicates, Sizes())
    n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*known, strict=True))
    num_findings = min(each.num_findings for each in known)
    return Macro(centre, replicates, Sizes(n, num_positive, num_negative, num_patients, num_findings))


class Writer:
    """Collects the rows of one run."""

    def __init__(self, run_id: str, settings: Settings) -> None:
        self.rows: list[Row] = []
        self._run_id = run_id
        self._fixed = (settings.mapping, settings.subgroup, settings.selection)

    def _add(
        self, place: Sequence[str], key: Key, finding: str, numbers: Sequence[float], sizes: Sequence[int]
    ) -> None:
        names = (self._run_id, *place, *self._fixed, key.calibrator, key.operating_point, finding, key.metric)
        self.rows.append((*names, *numbers, *sizes))

    def _add_macro(self, place: Sequence[str], key: Key, mean: Macro, name: str = MACRO) -> None:
        low, high = _interval(key, np.array([mean.value]), mean.replicates[None])
        self._add(place, key, name, (mean.value, float(low[0]), float(high[0])), mean.sizes)

    def add_part(self, findings: Sequence[str], measured: Measured, macros: Mapping[Key, Macro]) -> None:
        """Add each metric of one split of one cohort: per finding, then macro."""
        place, counts = _place([measured]), measured.counts
        for key, value in measured.value.items():
            low, high = _interval(key, value, measured.replicates[key])
            for k, finding in enumerate(findings):
                numbers = (float(value[k]), float(low[k]), float(high[k]))
                self._add(place, key, finding, numbers, _least(counts, np.array([k]), 1))
            self._add_macro(place, key, macros[key])

    def add_away(self, away: Sequence[Measured], means: Mapping[Key, Macro]) -> None:
        """Add the mean over hospitals of each macro."""
        for key, mean in means.items():
            self._add_macro((AWAY, *_place(away)[1:]), key, mean)

    def add_core(self, test: Measured, away: Sequence[Measured], core: NDArray[np.bool_]) -> None:
        """Add the mean over the findings that all cohorts have: of home test, each hospital, and their mean."""
        for key in test.value:
            means = [macro(each, key, core) for each in (test, *away)]
            for each, mean in zip((test, *away), means, strict=True):
                self._add_macro(_place([each]), key, mean, CORE)
            self._add_macro((AWAY, *_place(away)[1:]), key, mean_of_macros(means[1:]), CORE)

    def add_gaps(self, gaps: Sequence[tuple[Key, Gap]], away: Sequence[Measured]) -> None:
        """Add each gap of the hospital away under its metric, such as auroc_gap."""
        for key, gap in gaps:
            there = [each for each in away if gap.dataset in (AWAY, each.part.dataset)]
            sizes = Sizes(gap.n, gap.num_positive, gap.num_negative, gap.num_patients, gap.num_findings)
            place = (gap.dataset, *_place(there)[1:])
            self._add(place, key, gap.finding, (gap.value, gap.low, gap.high), sizes)


def _least(counts: Counts, chosen: NDArray[np.integer | np.bool_], num_findings: int) -> Sizes:
    """Return the least of each count over the chosen findings."""
    columns = (counts.n, counts.num_positive, counts.num_negative, counts.num_patients)
    n, num_positive, num_negative, num_patients = (int(column[chosen].min()) for column in columns)
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)


def _interval(key: Key, value: Array, replicates: Array) -> tuple[Array, Array]:
    if key in RANKED:
        return of_area(value, replicates)
    return reflected(value, replicates) if key.metric in BIASED else percentile(value, replicates)


def _place(measured: Sequence[Measured]) -> tuple[str, str, str]:
    """Return dataset, split and reference; "mixed" where the parts differ."""
    names = ({each.part.dataset for each in measured}, {each.part.split for each in measured})
    references = {each.part.reference for each in measured}
    dataset, split, reference = (found.pop() if len(found) == 1 else "mixed" for found in (*names, references))
    return dataset, split, reference
