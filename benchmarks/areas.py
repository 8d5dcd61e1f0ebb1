"""Simulated coverage of the 95 % intervals of AUROC and AUPRC with few positive patients.

    python benchmarks/areas.py                       # writes benchmarks/areas.csv
    python benchmarks/areas.py --parts auroc mean    # computes only the rows of some parts again

A part has cells; each cell is a table row and has `--cases` samples. "independent": one image per patient. "clustered": 1 to
30 images per patient, very unequal (half of the patients have one, one of thirty has 30), with a random effect of the patient; the
images of a patient share the label. Scores are normal; positives have a larger mean. So the true AUROC is a normal probability,
and the true AUPRC an integral.
  auroc   5 to 100 patients with the finding, AUROC .60 to .995, and 7 times as many patients without it, at least 150
  unequal the same, but scores of positives scatter 1.5 times as much ("unequal"), or one in ten patients with the finding has the
          scores of the others ("missed")
  family  whether all intervals of a family hold: five hospitals, or six runs on the same patients
  auprc   a prevalence of 2 to 20 %; the number of positives is random, with this mean; samples with fewer than 5 are drawn again
  mean    mean over five findings of the same patients, with a correlation of their scores, or over five hospitals
  gap     difference of two hospitals, and its mean over three external hospitals

Columns: `coverage` with Wilson's interval `low` to `high`, mean `width`, share of intervals of zero width (`zero_width`), and `oracle`: the
distance of the 2.5th and the 97.5th percentile of the estimates, the width of an interval that knows their distribution.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import norm

from bench.scoring.across_runs.paired_tests import simultaneous_own
from bench.scoring.area_intervals import ClassSizes, area_interval, effective_patients, mean_interval
from bench.scoring.column import Column
from bench.scoring.influence import correlations
from bench.scoring.intervals import interval_of_difference
from bench.scoring.sample import Sample
from benchmarks.planted import NOISE_SD, PATIENT_SD, SD
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]
# estimates [S, F], and the bounds [S, F] of their intervals
Found = tuple[Array, Array, Array]

POSITIVES, AUROCS = (5, 10, 20, 40, 100), (0.60, 0.75, 0.90, 0.97, 0.995)
IMAGES = ("independent", "clustered")
MISSED = 0.1  # share of the patients with the finding who look like the others
UNEQUAL = 1.5  # standard deviation of the scores of positives, of negatives 1
MOST_IMAGES = 30


class Cell(NamedTuple):
    """One row of the table. auroc: true AUROC; of a gap, the internal one; prevalence: NaN outside the part auprc."""

    part: str
    kind: str
    images: str
    positives: int
    prevalence: float
    auroc: float


class Samples(NamedTuple):
    """Areas of S samples of F numbers: value [S, F], covariance [S, F, F] of one metric, with sizes [2, S, F]."""

    value: Array
    covariance: Array
    sizes: ClassSizes

    def bounds(self, metric: str) -> tuple[Array, Array]:
        """Return the bounds [S, F] of each number alone."""
        error = np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))
        return area_interval(metric, self.value, error, self.sizes)


def sample_of(patient: NDArray[np.int32], num: int) -> Sample:
    """Return the sample of images whose patients have the codes 0 to num - 1."""
    return Sample("", patient, patient, num, num, 0)


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


def draw(cell: Cell, generator: np.random.Generator, num_samples: int, count: int = 1) -> Samples:
    """Return samples of `count` numbers: of the same patients (findings, runs; half of the variance is shared), or of hospitals."""
    sd = UNEQUAL if cell.kind == "unequal" else 1.0
    missed = MISSED * (cell.kind == "missed")
    distance = float(ndtri((cell.auroc - missed / 2) / (1 - missed))) * np.hypot(1.0, sd)
    is_shared = cell.kind in ("five findings", "six runs")
    value, sizes = np.empty((num_samples, count)), np.empty((2, 2, num_samples, count))
    covariance = np.zeros((num_samples, count, count))

    def noise(patient: NDArray[np.int32], num: int) -> Array:
        return np.asarray(
            (PATIENT_SD * generator.normal(size=num)[patient] + NOISE_SD * generator.normal(size=len(patient))) / SD
        )

    for s in range(num_samples):
        influence = []
        for f in range(count):
            if not f or not is_shared:
                patient, label_of_patient = patients(cell, generator)
                label, shared = label_of_patient[patient], noise(patient, len(label_of_patient)) if is_shared else 0.0
                images = np.bincount(patient).astype(np.float64)
                of_class = np.stack([images * (label_of_patient == sign) for sign in (1, 0)])
            score = noise(patient, len(label_of_patient))
            score = (score + shared) / np.sqrt(2) if is_shared else score
            sample = sample_of(patient, len(label_of_patient))
            seen = label * (generator.random(len(label_of_patient)) >= missed)[patient] if missed else label
            column = Column.of(patient, label, score * np.where(label == 1, sd, 1.0) + distance * seen)
            value[s, f], of_images = column.average_precision() if cell.part == "auprc" else column.auroc()
            influence.append(sample.sums(of_images, column.rows))
            covariance[s, f, f] = influence[-1] @ influence[-1]
            sizes[:, :, s, f] = effective_patients(of_class), of_class.sum(1)
        if is_shared:
            covariance[s] = np.array(influence) @ np.array(influence).T
    return Samples(value, covariance, ClassSizes(*sizes))


def single(cell: Cell, generator: np.random.Generator, num_samples: int) -> Found:
    """Return the intervals of one area."""
    drawn = draw(cell, generator, num_samples)
    return drawn.value, *drawn.bounds("auprc" if cell.part == "auprc" else "auroc")


def mean(cell: Cell, generator: np.random.Generator, num_samples: int) -> Found:
    """Return the intervals of a mean of five AUROCs."""
    drawn = draw(cell, generator, num_samples, 5)
    numbers = zip(drawn.value, np.stack(drawn.bounds("auroc"), 1), correlations(drawn.covariance), strict=True)
    low, high = np.array([mean_interval("auroc", *of_sample) for of_sample in numbers]).T[..., None]
    return drawn.value.mean(1, keepdims=True), low, high


def family(cell: Cell, generator: np.random.Generator, num_samples: int) -> Found:
    """Return the simultaneous intervals of the AUROCs of a family."""
    drawn = draw(cell, generator, num_samples, {"five hospitals": 5, "six runs": 6}[cell.kind])
    numbers = zip(drawn.value, *drawn.bounds("auroc"), drawn.covariance, strict=True)
    low, high = np.array([simultaneous_own("auroc", *of_sample) for of_sample in numbers]).swapaxes(0, 1)
    return drawn.value, low, high


def gap(cell: Cell, generator: np.random.Generator, num_samples: int) -> Found:
    """Return the intervals of the mean of the gaps to one or three external hospitals, whose AUROC is that of `external`."""
    count = 3 if cell.kind == "three hospitals" else 1
    inside = draw(cell, generator, num_samples)
    there = draw(cell._replace(auroc=external(cell.auroc)), generator, num_samples, count)
    first, second = ((one.value, *one.bounds("auroc")) for one in (inside, there))
    sides = [np.stack(np.broadcast_arrays(*both)) for both in zip(first, second, strict=True)]
    bounds = interval_of_difference(*sides, np.zeros(there.value.shape))
    value, matrix = inside.value - there.value, correlations(inside.covariance + there.covariance)
    numbers = zip(value, np.stack(bounds, 1), matrix, strict=True)
    low, high = np.array([mean_interval("", *of_sample) for of_sample in numbers]).T[..., None]
    return value.mean(1, keepdims=True), low, high


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
    "unequal": (("unequal", "missed"), (5, 20, 100), (np.nan,), (0.75, 0.90, 0.94)),
    "family": (("five hospitals", "six runs"), (5, 12), (np.nan,), (0.90, 0.995)),
    "auprc": (("equal",), (5, 10, 40), (0.02, 0.06, 0.20), (0.75, 0.90)),
    "mean": (("five findings", "five hospitals"), (5, 12), (np.nan,), (0.90, 0.995)),
    "gap": (("one hospital", "three hospitals"), (5, 12), (np.nan,), (0.90, 0.995)),
}


def cells(part: str) -> Iterator[Cell]:
    """Return the cells of a part."""
    kinds, positives, prevalences, aurocs = CELLS[part]
    for images, kind, num, prevalence, auroc in product(IMAGES, kinds, positives, prevalences, aurocs):
        yield Cell(part, kind, images, num, prevalence, auroc)


SIMULATIONS: dict[str, Callable[[Cell, np.random.Generator, int], Found]] = {
    "auroc": single,
    "unequal": single,
    "auprc": single,
    "mean": mean,
    "family": family,
    "gap": gap,
}


def rows(cell: Cell, cases: int) -> list[Row]:
    """Return the row of a cell, with the columns of Cell and those that the module names."""
    true = truth(cell)
    value, low, high = SIMULATIONS[cell.part](cell, np.random.default_rng([0, *repr(cell).encode()]), cases)
    known = np.isfinite(low).all(1)
    found = dict(zip(("coverage", "low", "high"), share(((low <= true) & (true <= high)).all(1)[known]), strict=True))
    width, zero = (high - low)[known].mean(), (low == high)[known].any(1).mean()
    oracle = np.ptp(np.quantile(value, (0.025, 0.975), axis=0), axis=0).mean()
    return [
        {
            **cell._asdict(),
            **found,
            "width": width,
            "zero_width": zero,
            "oracle": oracle,
            "simulations": int(known.sum()),
        }
    ]


if __name__ == "__main__":
    main(__file__, __doc__, {part: cells(part) for part in CELLS}, rows)
