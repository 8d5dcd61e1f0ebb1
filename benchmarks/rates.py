"""Coverage of the 95 % intervals of rates (sensitivity, specificity and others), of F1 and of macro means.

    python benchmarks/rates.py                       # writes benchmarks/rates.csv

A patient has one image, 1 to 6 images, or 1 to 30 (a Pareto distribution, so few patients have most of the images). A
rate is a share of these images. The events of a patient's images are independent, or correlated (beta distribution of the patients'
rates with the stated correlation). For F1, an image is a true positive, false positive or false negative; the share of true positives
is the stated rate. A macro is the mean over five rates, which differ by up to .2.
The intervals are those of `bench.scoring.rates` and `share_interval`, with the influences of patients.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import effective_patients, mean_interval
from bench.scoring.influence import correlations, error_of, ratio
from bench.scoring.intervals import share_interval, wilson

Array = NDArray[np.float64]
TABLE = Path(__file__).with_name("rates.csv")
IMAGES = ("1", "1 to 6", "1 to 30")
PATIENTS = (5, 10, 20, 40, 100)
RATES = (0.02, 0.1, 0.3, 0.5, 0.8, 0.9, 0.97, 0.995)
HEAD = (
    "number",
    "images_per_patient",
    "patients",
    "correlation",
    "rate",
    "coverage",
    "low",
    "high",
    "mean_width",
    "zero_width",
    "num",
    "command",
)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of the simulation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    num, rows = options.repetitions, list[tuple[object, ...]]()
    command = f"python benchmarks/rates.py --repetitions {num} --seed {options.seed}"
    draw = np.random.default_rng(options.seed)

    def add(name: str, cell: tuple[object, ...], rate: float, bounds: Array) -> None:
        holds, width = (bounds[0] <= rate + 1e-12) & (rate - 1e-12 <= bounds[1]), bounds[1] - bounds[0]
        coverage = float(holds.mean())
        low, high = wilson(np.array(coverage), np.array(float(len(holds))))
        numbers = (f"{x:.4f}" for x in (rate, coverage, low, high, width.mean()))
        rows.append((name, *cell, *numbers, int((width <= 0).sum()), len(holds), command))

    for kind in IMAGES:
        for num_patients in PATIENTS:
            for correlation in (0.0,) if kind == "1" else (0.0, 0.3, 0.8):
                cell = (kind, num_patients, correlation)
                for rate in RATES:
                    images = images_of(draw, kind, (num, num_patients))
                    _, _, bounds = shares(images, events_of(draw, images, rate, correlation))
                    add("rate", cell, rate, bounds)
                    if correlation < 0.8:
                        add("F1", cell, 2 * rate / (1 + rate), 2 * bounds / (1 + bounds))
                    print(*rows[-1][:-1], sep=", ", flush=True)
    for kind, num_patients, correlation in (
        ("1", 10, 0.0),
        ("1 to 6", 10, 0.3),
        ("1 to 6", 40, 0.3),
        ("1 to 30", 40, 0.3),
    ):
        for rate in (0.3, 0.8, 0.97):
            true = np.clip(rate + np.linspace(-0.2, 0.2, 5) * min(1.0, 5 * (1 - rate)), 0.01, 0.999)
            of_rates = []
            for of_finding in true:
                images = images_of(draw, kind, (num, num_patients))
                of_rates.append(shares(images, events_of(draw, images, of_finding, correlation)))
            values, influence, bounds = (np.stack(each) for each in zip(*of_rates, strict=True))
            matrix = correlations(np.einsum("krp,lrp->rkl", influence, influence))
            means = [mean_interval("rate", values[:, r], bounds[:, :, r].T, matrix[r]) for r in range(num)]
            add("macro of five rates", (kind, num_patients, correlation), float(true.mean()), np.array(means).T)
            print(*rows[-1][:-1], sep=", ", flush=True)
    with options.output.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
