"""Coverage of rank intervals, and of the intervals of paired differences between runs with few positive patients.

    python benchmarks/pairs.py                       # writes benchmarks/pairs.csv
    python benchmarks/pairs.py --parts ranks         # computes only the rows of some parts again

A part has cells; each cell is a table row and has `--cases` samples. All runs are tested on the same patients, one image each,
seven times as many without the finding as with it, at least 150. Scores are normal, positives have a larger mean, and runs share
half of the variance (.95 of it in the cells "alike"). So the true AUROC of a run is a normal probability.
  ranks       whether the rank intervals of all runs contain the true ranks. The AUROC falls from run to run by `step`, with a mean
              of `auroc`. A true rank of equal runs is any of their ranks. `first`: the same for the run printed first only
  difference  whether the interval of the AUROC of the first run minus that of the second, lower by `step`, contains the true difference
  mean gap    whether the interval of the mean gap of all runs contains the true gap: all runs have the AUROC `auroc` at the internal
              hospital, and `step` less at the external one, which has as many patients

Columns: `coverage` with Wilson's interval `low` to `high`, mean `width`, share of intervals of zero width (`zero_width`), and `false`: the
share of samples with a significant difference in the wrong direction, or between equal runs.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.across_runs.paired_tests import all_pairs, own_error, pair_tests
from bench.scoring.across_runs.ranks import SIGNIFICANT, rank_sets
from bench.scoring.area_intervals import ClassSizes, area_interval, mean_interval
from bench.scoring.column import Column
from bench.scoring.influence import correlations
from bench.scoring.intervals import interval_of_difference
from benchmarks.areas import sample_of
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]
SHARED = {"half": 0.5, "alike": 0.95}  # share of the variance that all runs have in common


class Cell(NamedTuple):
    """One row of the table."""

    part: str
    runs: int
    shared: str
    positives: int
    auroc: float
    step: float

    @property
    def aurocs(self) -> Array:
        """The true AUROC of each run, from the best to the worst."""
        return self.auroc + self.step * ((self.runs - 1) / 2 - np.arange(self.runs))


class Areas(NamedTuple):
    """AUROCs of R runs on the same patients: value [R], low [R], high [R] and covariance [R, R]."""

    value: Array
    low: Array
    high: Array
    covariance: Array


class Seen(NamedTuple):
    """Whether an interval held, its width, and whether a difference was wrongly significant."""

    held: bool
    held_first: bool
    width: float
    false: bool


def draw(cell: Cell, aurocs: Array, generator: np.random.Generator) -> Areas:
    """Return estimates of the AUROCs of runs on newly drawn patients."""
    label = np.repeat(np.array([1, 0], np.int8), [cell.positives, max(150, 7 * cell.positives)])
    patient, share = np.arange(len(label), dtype=np.int32), SHARED[cell.shared]
    common = np.sqrt(share) * generator.normal(size=len(label))
    noise = common[:, None] + np.sqrt(1 - share) * generator.normal(size=(len(label), cell.runs))
    score = noise + np.sqrt(2) * ndtri(aurocs) * label[:, None]
    sample, columns = sample_of(patient, len(label)), [Column.of(patient, label, of_run) for of_run in score.T]
    values, influences = zip(*(column.auroc() for column in columns), strict=True)
    influence = np.stack([sample.sums(of, column.rows) for of, column in zip(influences, columns, strict=True)])
    value, covariance = np.array(values), influence @ influence.T
    sizes = ClassSizes.of_labels(np.repeat(label[:, None], cell.runs, 1), patient)
    return Areas(value, *area_interval("auroc", value, np.sqrt(np.diag(covariance)), sizes), covariance)


def ranks(cell: Cell, generator: np.random.Generator) -> Seen:
    """Return whether rank intervals contain the true ranks."""
    areas = draw(cell, cell.aurocs, generator)
    order = np.argsort(-areas.value, kind="stable")
    own = own_error(areas.value, areas.low, areas.high)
    tests = pair_tests(areas.value[order], areas.covariance[np.ix_(order, order)], own[order])
    wrong = (order[:, None] > order) | (cell.step == 0)  # the true order is that of the numbers of the runs
    false = bool((np.triu(tests.p < SIGNIFICANT, 1) & wrong).any())
    first, last = (np.ones(cell.runs), np.full(cell.runs, cell.runs)) if cell.step == 0 else (order + 1, order + 1)
    low, high = rank_sets(tests.p)
    held = (low <= last) & (first <= high)
    return Seen(bool(held.all()), bool(held[0]), float((high - low).mean()), false)


def seen(true: float, low: float, high: float) -> Seen:
    """Return whether an interval of a difference holds; it is false if it excludes 0 on the other side than the true difference."""
    held = low <= true <= high
    return Seen(held, held, high - low, (low > 0 and true <= 0) or (high < 0 and true >= 0))


def difference(cell: Cell, generator: np.random.Generator) -> Seen:
    """Return whether the interval of a paired difference holds."""
    areas = draw(cell, cell.aurocs, generator)
    _, _, found = all_pairs(areas.value, areas.covariance, own_error(areas.value, areas.low, areas.high))
    return seen(cell.step, float(found.low[0]), float(found.high[0]))


def mean_gap(cell: Cell, generator: np.random.Generator) -> Seen:
    """Return whether the interval of the mean gap over runs holds."""
    aurocs = np.full((2, cell.runs), cell.auroc) - np.array([[0.0], [cell.step]])
    inside, outside = (draw(cell, of_hospital, generator) for of_hospital in aurocs)
    sides = [np.stack(both) for both in zip(inside[:3], outside[:3], strict=True)]
    bounds, value = interval_of_difference(*sides, np.zeros(cell.runs)), inside.value - outside.value
    matrix = correlations(inside.covariance + outside.covariance, unknown=1.0)
    return seen(cell.step, *mean_interval("gap", value, bounds, matrix))


# part -> numbers of runs, kinds of shared variance, numbers of positives, mean AUROCs and steps
CELLS: dict[str, tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...]]] = {
    "ranks": ((3, 10, 24), ("half",), (40,), (0.85,), (0.0, 0.0005, 0.002, 0.005)),
    "difference": ((2,), ("half", "alike"), (5, 10, 20, 40), (0.75, 0.90, 0.97, 0.995), (0.0, 0.008)),
    "mean gap": ((3,), ("half",), (5, 12, 40), (0.90, 0.995), (0.0, 0.05)),
}
SIMULATIONS: dict[str, Callable[[Cell, np.random.Generator], Seen]] = {
    "ranks": ranks,
    "difference": difference,
    "mean gap": mean_gap,
}


def cells(part: str) -> Iterator[Cell]:
    """Return the cells of a part."""
    for runs, shared, positives, auroc, step in product(*CELLS[part]):
        yield Cell(part, runs, shared, positives, auroc, step)


def rows(cell: Cell, cases: int) -> list[Row]:
    """Return the row of a cell, with the columns of Cell and those that the module names."""
    generator = np.random.default_rng([0, *repr(cell).encode()])
    found = pd.DataFrame([SIMULATIONS[cell.part](cell, generator) for _ in range(cases)])
    coverage = dict(zip(("coverage", "low", "high"), share(found["held"]), strict=True))
    means = {"first": found["held_first"], "width": found["width"]}
    means |= {"zero_width": found["width"] == 0, "false": found["false"]}
    return [
        {**cell._asdict(), **coverage}
        | {name: float(numbers.mean()) for name, numbers in means.items()}
        | {"simulations": cases}
    ]


if __name__ == "__main__":
    main(__file__, __doc__, {part: cells(part) for part in CELLS}, rows)
