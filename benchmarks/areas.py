"""Simulated coverage of the 95 % intervals of AUROC and AUPRC with few positive patients.

    python benchmarks/areas.py                       # writes benchmarks/areas.csv
    python benchmarks/areas.py --parts auroc mean    # computes only the rows of some parts again

A part has cells; each cell is a table row and has `--simulations` samples. "independent": one image per patient. "clustered": 1 to
30 images per patient, very unequal (half of the patients have one, one of thirty has 30), with a random effect of the patient; the
images of a patient share the label. Scores are normal; positives have a larger mean. So the true AUROC is a normal probability,
and the true AUPRC an integral.
  auroc   5 to 100 patients with the finding, AUROC .60 to .995, and 7 times as many patients without it, at least 150
  unequal the same, but scores of positives scatter 1.5 times as much
  family  whether all intervals of a family hold: five hospitals, or six runs on the same patients
  auprc   a prevalence of 2 to 20 %; the number of positives is random, with this mean; samples with fewer than 5 are drawn again
  mean    mean over five findings of the same patients, with a correlation of their scores, or over five hospitals
  gap     difference of two hospitals, and its mean over three external hospitals

Columns: `coverage` with Wilson's interval `low` to `high`, mean `width`, and share of intervals of zero width (`zero_width`). The columns
`old_...` have the same of an earlier method: normal on the logit scale, or percentiles if a replicate is 0 or 1; for gaps percentiles.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from bench.scoring.bootstrap.area_intervals import (
    NORMAL_QUANTILE,
    ClassSizes,
    area_interval,
    effective_patients,
    mean_interval,
)
from bench.scoring.bootstrap.bootstrap import column_metrics
from bench.scoring.bootstrap.intervals import interval_of_difference, wilson
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sorted_images import Column
from numpy.typing import NDArray
from parts import run_parts
from planted import NOISE_SD, PATIENT_SD, SD, percentile
from scipy.special import expit, logit, ndtri
from scipy.stats import norm

from bench.scoring.across_runs.paired_tests import simultaneous, simultaneous_own

Array = NDArray[np.float64]
Bounds = tuple[Array, Array]
# bounds of all intervals, [S, F] each: those of this project, then those of the earlier method
Compared = tuple[Bounds, Bounds]

POSITIVES, AUROCS = (5, 10, 20, 40, 100), (0.60, 0.75, 0.90, 0.97, 0.995)
IMAGES = ("independent", "clustered")
UNEQUAL = 1.5  # standard deviation of the scores of positives, of negatives 1
MOST_IMAGES = 30
SEEDS = 8  # number of different resamples of one number of patients; they do not depend on the simulated patients


class Cell(NamedTuple):
    """One row of the table. auroc: true AUROC; of a gap, the internal one; prevalence: NaN outside the part auprc."""

    part: str
    kind: str
    images: str
    positives: int
    prevalence: float
    auroc: float


class Samples(NamedTuple):
    """Areas of S samples of F numbers: value [S, F] and replicates [S, F, B] of one metric, with sizes [2, S, F]."""

    value: Array
    replicates: Array
    sizes: ClassSizes

    def bounds(self, metric: str) -> Bounds:
        """Return the bounds [S, F] of each number alone."""
        return area_interval(metric, self.value, self.replicates, self.sizes)


@lru_cache(32)
def resamples_of(num_patients: int, name: str, num: int) -> Resamples:
    """Return `num` resamples of patients with one image each; `name` chooses them."""
    return Resamples.draw(np.array([f"{p:06}" for p in range(num_patients)], object), num, name)


def patients(cell: Cell, generator: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Return the patient of each image and the label of each patient."""
    if np.isfinite(cell.prevalence):
        label = np.zeros(0, np.int8)
        while label.sum() < POSITIVES[0]:
            label = (generator.random(round(cell.positives / cell.prevalence)) < cell.prevalence).astype(np.int8)
    else:
        label = np.repeat(np.array([1, 0], np.int8), [cell.positives, max(150, 7 * cell.positives)])
    num_images = np.ones(len(label), np.int64)
    if cell.images == "clustered":
        num_images = np.minimum(MOST_IMAGES, 1 / generator.random(len(label))).astype(np.int64)
    return np.repeat(np.arange(len(label), dtype=np.int32), num_images), label


def draw(
    cell: Cell, generator: np.random.Generator, num_samples: int, num_resamples: int, count: int = 1, first: int = 0
) -> Samples:
    """Return samples of `count` numbers: of the same patients (findings, runs; half of the variance is shared), or of hospitals.

    first: number of the first hospital; it chooses the resamples.
    """
    metric = 1 if cell.part == "auprc" else 0
    sd = UNEQUAL if cell.kind == "unequal" else 1.0
    distance = float(ndtri(cell.auroc)) * np.hypot(1.0, sd)
    is_shared = cell.kind in ("five findings", "six runs")
    value, sizes = np.empty((num_samples, count)), np.empty((2, 2, num_samples, count))
    replicates = np.empty((num_samples, count, num_resamples))

    def noise(patient: NDArray[np.int32], num: int) -> Array:
        return np.asarray(
            (PATIENT_SD * generator.normal(size=num)[patient] + NOISE_SD * generator.normal(size=len(patient))) / SD
        )

    for s in range(num_samples):
        for f in range(count):
            if not f or not is_shared:
                patient, label_of_patient = patients(cell, generator)
                label, shared = label_of_patient[patient], noise(patient, len(label_of_patient)) if is_shared else 0.0
                images = np.bincount(patient).astype(np.float64)
                of_class = np.stack([images * (label_of_patient == sign) for sign in (1, 0)])
            score = noise(patient, len(label_of_patient))
            score = (score + shared) / np.sqrt(2) if is_shared else score
            name = str((s + (0 if is_shared else f) + first) % SEEDS)
            resamples = replace(resamples_of(len(label_of_patient), name, num_resamples), patient=patient)
            column = Column.of(patient, label, score * np.where(label == 1, sd, 1.0) + distance * label)
            value[s, f] = column.areas()[metric]
            replicates[s, f] = column_metrics(resamples, column, with_auprc=metric == 1)[metric]
            sizes[:, :, s, f] = effective_patients(of_class), of_class.sum(1)
    return Samples(value, replicates, ClassSizes(*sizes))


def earlier(value: Array, replicates: Array) -> Bounds:
    """Return intervals of the earlier method: normal on the logit scale; percentiles if an area or a replicate is 0 or 1."""
    low, high = percentile(value, replicates)
    inside = (value > 0) & (value < 1) & ~((replicates <= 0) | (replicates >= 1)).any(-1) & np.isfinite(low)
    half = NORMAL_QUANTILE * np.nanstd(logit(replicates[inside]), axis=-1, ddof=1)
    low[inside], high[inside] = expit(logit(value[inside]) - half), expit(logit(value[inside]) + half)
    return low, high


def single(cell: Cell, generator: np.random.Generator, num_samples: int, num_resamples: int) -> Compared:
    """Return the intervals of one area."""
    drawn = draw(cell, generator, num_samples, num_resamples)
    return drawn.bounds("auprc" if cell.part == "auprc" else "auroc"), earlier(drawn.value, drawn.replicates)


def mean(cell: Cell, generator: np.random.Generator, num_samples: int, num_resamples: int) -> Compared:
    """Return the intervals of a mean of five AUROCs."""
    drawn = draw(cell, generator, num_samples, num_resamples, 5)
    bounds = drawn.bounds("auroc")
    found = [
        mean_interval("auroc", *numbers)
        for numbers in zip(drawn.value, np.stack(bounds, 1), drawn.replicates, strict=True)
    ]
    low, high = np.array(found).T[..., None]
    return (low, high), earlier(drawn.value.mean(1, keepdims=True), drawn.replicates.mean(1, keepdims=True))


def family(cell: Cell, generator: np.random.Generator, num_samples: int, num_resamples: int) -> Compared:
    """Return the simultaneous intervals of the AUROCs of a family; those of the earlier method are on one scale for all."""
    drawn = draw(cell, generator, num_samples, num_resamples, {"five hospitals": 5, "six runs": 6}[cell.kind])
    found, old = np.empty((2, 2, *drawn.value.shape))
    low, high = drawn.bounds("auroc")
    for s, (value, replicates) in enumerate(zip(drawn.value, drawn.replicates, strict=True)):
        found[:, s] = simultaneous_own("auroc", value, low[s], high[s], replicates)
        complete = replicates[:, np.isfinite(replicates).all(0)]
        areas = np.column_stack([value, complete])
        if ((areas > 0) & (areas < 1)).all():
            old[:, s] = expit(simultaneous(logit(value), logit(complete)))
        else:
            old[:, s] = np.clip(simultaneous(value, complete), 0, 1)
    return (found[0], found[1]), (old[0], old[1])


def gap(cell: Cell, generator: np.random.Generator, num_samples: int, num_resamples: int) -> Compared:
    """Return the intervals of the mean of the gaps to one or three external hospitals, whose AUROC is that of `external`."""
    count = 3 if cell.kind == "three hospitals" else 1
    inside = draw(cell, generator, num_samples, num_resamples)
    there = draw(cell._replace(auroc=external(cell.auroc)), generator, num_samples, num_resamples, count, 1)
    first, second = ((one.value, *one.bounds("auroc")) for one in (inside, there))
    sides = [np.stack(np.broadcast_arrays(*both)) for both in zip(first, second, strict=True)]
    bounds = interval_of_difference(*sides, np.zeros(there.value.shape))
    value, replicates = inside.value - there.value, inside.replicates - there.replicates
    found = [mean_interval("", *numbers) for numbers in zip(value, np.stack(bounds, 1), replicates, strict=True)]
    low, high = np.array(found).T[..., None]
    return (low, high), percentile(value.mean(1, keepdims=True), replicates.mean(1, keepdims=True))


def external(auroc: float) -> float:
    """Return the external AUROC of a gap."""
    return auroc if auroc > 0.99 else auroc - 0.05


@cache
def true_auprc(prevalence: float, auroc: float) -> float:
    """Return the AUPRC: the mean precision at the scores of the positives, an integral."""
    distance = norm.ppf(auroc) * np.sqrt(2)
    score = np.linspace(-8, 12, 400_001)
    true, false = norm.sf(score - distance) * prevalence, norm.sf(score) * (1 - prevalence)
    return float(np.trapezoid(true / (true + false) * norm.pdf(score - distance), score))


def truth(cell: Cell) -> float:
    """Return the true number that the intervals of a cell should contain."""
    if cell.part == "auprc":
        return true_auprc(cell.prevalence, cell.auroc)
    return cell.auroc - external(cell.auroc) if cell.part == "gap" else cell.auroc


# part -> kinds, numbers of patients with the finding, prevalences and AUROCs
CELLS: dict[str, tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...]]] = {
    "auroc": (("equal",), POSITIVES, (np.nan,), AUROCS),
    "unequal": (("unequal",), (5, 20, 100), (np.nan,), (0.75, 0.90)),
    "family": (("five hospitals", "six runs"), (5, 12), (np.nan,), (0.90, 0.995)),
    "auprc": (("equal",), (10, 40), (0.02, 0.06, 0.20), (0.75, 0.90)),
    "mean": (("five findings", "five hospitals"), (5, 12), (np.nan,), (0.90, 0.995)),
    "gap": (("one hospital", "three hospitals"), (5, 12), (np.nan,), (0.90, 0.995)),
}


def cells(part: str) -> Iterator[Cell]:
    """Return the cells of a part."""
    kinds, positives, prevalences, aurocs = CELLS[part]
    for images, kind, num, prevalence, auroc in product(IMAGES, kinds, positives, prevalences, aurocs):
        yield Cell(part, kind, images, num, prevalence, auroc)


SIMULATIONS: dict[str, Callable[..., Compared]] = {
    "auroc": single,
    "unequal": single,
    "auprc": single,
    "mean": mean,
    "family": family,
    "gap": gap,
}


def simulate(part: str, num_samples: int, num_resamples: int, seed: int) -> pd.DataFrame:
    """Return one row per cell, with the columns of Cell and those that the module names."""
    rows = []
    for cell in cells(part):
        generator, true = np.random.default_rng([seed, *repr(cell).encode()]), truth(cell)
        numbers = []
        for low, high in SIMULATIONS[cell.part](cell, generator, num_samples, num_resamples):
            known = np.isfinite(low).all(1)
            held = ((low <= true) & (true <= high)).all(1)[known]
            numbers.append((held.mean(), (high - low)[known].mean(), (low == high)[known].any(1).mean(), len(held)))
        (coverage, width, zero, num), old = numbers
        low, high = wilson(np.array(coverage), np.array(float(num)))
        rows.append((*cell, coverage, float(low), float(high), width, zero, *old[:3], num))
        print(*rows[-1], flush=True)
    columns = [*Cell._fields, "coverage", "low", "high", "width", "zero_width"]
    return pd.DataFrame(rows, columns=[*columns, "old_coverage", "old_width", "old_zero_width", "simulations"])


if __name__ == "__main__":
    run_parts(simulate, CELLS, __file__, __doc__.splitlines()[0])
