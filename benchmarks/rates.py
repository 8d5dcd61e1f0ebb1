"""Coverage of the 95 % intervals of rates (sensitivity, specificity and others), of F1 and of macro means.

    python benchmarks/rates.py                       # writes benchmarks/rates.csv

A patient has one image, 1 to 6 images, or 1 to 30 (a Pareto distribution, so few patients have most of the images). A
rate is a share of these images. The events of a patient's images are independent, or correlated (beta distribution of the patients'
rates with the stated correlation). For F1, an image is a true positive, false positive or false negative; the share of true positives
is the stated rate. A macro is the mean over five rates, which differ by up to .2.
The intervals are those of `bench.scoring.rates` and `share_interval`, with the influences of patients.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import effective_patients, mean_interval
from bench.scoring.influence import correlations, error_of, ratio
from bench.scoring.intervals import share_interval
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]
IMAGES = ("1", "1 to 6", "1 to 30")
PATIENTS = (5, 10, 20, 40, 100)
RATES = (0.02, 0.1, 0.3, 0.5, 0.8, 0.9, 0.97, 0.995)
DRAW = np.random.default_rng(0)


def images_of(draw: np.random.Generator, kind: str, shape: tuple[int, int]) -> Array:
    """Draw the number of images of each patient."""
    if kind == "1":
        return np.ones(shape)
    if kind == "1 to 6":
        return draw.integers(1, 7, shape).astype(np.float64)
    return np.minimum(np.floor(draw.random(shape) ** (-1 / 1.1)), 30.0)


def events_of(draw: np.random.Generator, images: Array, rate: float, correlation: float) -> Array:
    """Draw the number of images of each patient with the event."""
    of_patient: Array | float = rate
    if correlation:
        scale = (1 - correlation) / correlation
        of_patient = draw.beta(rate * scale, (1 - rate) * scale, images.shape)
    return draw.binomial(images.astype(np.int64), of_patient).astype(np.float64)


def shares(images: Array, events: Array) -> tuple[Array, Array, Array]:
    """Return shares [R], the influences of patients [R, P], and the intervals [2, R]."""
    value, influence = ratio(events, images)
    sizes = images.sum(1), effective_patients(images)
    return value, influence, np.stack(share_interval(value, error_of(influence), *sizes))


def row(number: str, cell: tuple[object, ...], rate: float, bounds: Array) -> Row:
    """Return a row: how often bounds [2, R] contain the rate."""
    held, width = (bounds[0] <= rate + 1e-12) & (rate - 1e-12 <= bounds[1]), bounds[1] - bounds[0]
    numbers = zip(("rate", "coverage", "low", "high", "mean_width"), (rate, *share(held), width.mean()), strict=True)
    return {"number": number, **dict(zip(("images_per_patient", "patients", "correlation"), cell, strict=True))} | {
        **{name: f"{x:.4f}" for name, x in numbers},
        "zero_width": int((width <= 0).sum()),
        "num": len(held),
    }


def rows(cell: tuple[str, str, int, float, float], cases: int) -> list[Row]:
    """Return the rows of a cell: number, images per patient, patients, correlation, rate."""
    number, kind, num_patients, correlation, rate = cell
    if number == "rate":
        images = images_of(DRAW, kind, (cases, num_patients))
        _, _, bounds = shares(images, events_of(DRAW, images, rate, correlation))
        out = [row("rate", cell[1:4], rate, bounds)]
        return out + (
            [row("F1", cell[1:4], 2 * rate / (1 + rate), 2 * bounds / (1 + bounds))] if correlation < 0.8 else []
        )
    true = np.clip(rate + np.linspace(-0.2, 0.2, 5) * min(1.0, 5 * (1 - rate)), 0.01, 0.999)
    of_rates = []
    for of_finding in true:
        images = images_of(DRAW, kind, (cases, num_patients))
        of_rates.append(shares(images, events_of(DRAW, images, of_finding, correlation)))
    values, influence, bounds = (np.stack(each) for each in zip(*of_rates, strict=True))
    matrix = correlations(np.einsum("krp,lrp->rkl", influence, influence))
    means = [mean_interval("rate", values[:, r], bounds[:, :, r].T, matrix[r]) for r in range(cases)]
    return [row("macro of five rates", cell[1:4], float(true.mean()), np.array(means).T)]


def cells() -> Iterator[tuple[str, str, int, float, float]]:
    """Yield the cells of single rates, then those of macros."""
    for kind, num_patients in product(IMAGES, PATIENTS):
        for correlation, rate in product((0.0,) if kind == "1" else (0.0, 0.3, 0.8), RATES):
            yield "rate", kind, num_patients, correlation, rate
    for of_macro, rate in product(
        (("1", 10, 0.0), ("1 to 6", 10, 0.3), ("1 to 6", 40, 0.3), ("1 to 30", 40, 0.3)), (0.3, 0.8, 0.97)
    ):
        yield "macro", *of_macro, rate


if __name__ == "__main__":
    main(__file__, __doc__, cells(), rows, 500)
