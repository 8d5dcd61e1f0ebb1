"""Coverage of the 95 % intervals of net benefit with few positive patients and unequal numbers of images.

    python benchmarks/benefits.py                    # writes benchmarks/benefits.csv; some CPU minutes

A patient has one image, 1 to 6 images, or 1 to 30 (a Pareto distribution, so few patients have most of the images). All images
of a patient have the same label. Scores are normal with an AUROC of .86, and probabilities are calibrated: this gives the
true sensitivity and specificity at each threshold. The calls of a patient's images are independent, or correlated (beta
distribution of the patients' rates with the stated correlation). The intervals are those of
`bench.extensions.decisions.net_benefit`. "normal" is the estimate plus and minus 1.96 standard errors
of the influences of patients. Samples without a positive patient are left out. The mean is that of three such hospitals.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtr

from bench.extensions.decisions.net_benefit import MEASURES, intervals_of, measures_of
from bench.scoring.area_intervals import effective_patients, mean_interval
from bench.scoring.influence import error_of
from bench.scoring.intervals import NORMAL_QUANTILE
from benchmarks.rates import IMAGES, events_of, images_of
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]
DISTANCE = 1.53  # of the mean scores of both classes, in standard deviations: AUROC .86
# patients, prevalence, thresholds
WORLDS = (
    (1000, 0.005, (0.005, 0.05, 0.2)),
    (300, 0.05, (0.02, 0.05, 0.2)),
    (1000, 0.05, (0.05, 0.3)),
    (150, 0.25, (0.1, 0.25, 0.5)),
)
NUM_HOSPITALS = 3
DRAW = np.random.default_rng(0)


def hospital(
    draw: np.random.Generator,
    kind: str,
    num_patients: int,
    prevalence: float,
    threshold: Array,
    correlation: float,
    num: int,
) -> tuple[Array, Array, Array, Array]:
    """Draw `num` samples of one hospital.

    Return the counts of `intervals_of`, called [R, D, 2, P] and total [R, 2, P], the sizes [R, 2], and the true MEASURES
    [M, D]. R is below `num` if samples have no positive patient.
    """
    images, positive = images_of(draw, kind, (num, num_patients)), draw.random((num, num_patients)) < prevalence
    kept = positive.any(1)
    images, positive = images[kept], positive[kept]
    cut = (logit(threshold) - logit(prevalence)) / DISTANCE + DISTANCE / 2
    rates = np.stack([ndtr(-cut), ndtr(DISTANCE - cut)], 1)  # [D, 2]: of negative and positive images
    classes = np.stack([~positive, positive])
    total = np.stack([images * of_class for of_class in classes], 1).astype(np.float64)
    called = np.stack(
        [
            np.stack(
                [
                    events_of(draw, images * of_class, rate, correlation).astype(np.float64)
                    for of_class, rate in zip(classes, of_threshold.tolist(), strict=True)
                ],
                1,
            )
            for of_threshold in rates
        ],
        1,
    )
    shares = np.array([1 - prevalence, prevalence])
    true = measures_of(rates * shares, shares, threshold)
    return called, total, np.stack([images.sum(1), effective_patients(images)], 1), true


def values_of(called: Array, total: Array, threshold: Array) -> Array:
    """Return the MEASURES [R, M, D] of the samples of a hospital."""
    counts = zip(called.sum(-1), total.sum(-1), strict=True)
    return np.stack([measures_of(*of, threshold) for of in counts])


def intervals(called: Array, total: Array, threshold: Array, sizes: Array) -> tuple[Array, Array]:
    """Return the intervals [R, 2, M, D] of the samples of a hospital, and the standard errors [R, M, D]."""
    found = [intervals_of(*of, threshold, size) for *of, size in zip(called, total, sizes, strict=True)]
    return np.stack([bounds for bounds, _ in found]), np.stack([error_of(influence) for _, influence in found])


def row(number: str, cell: Row, true: float, bounds: Array, normal: Array) -> Row:
    """Return a row: how often bounds [2, R] and normal bounds [2, R] contain the true number."""
    held, before = ((ends[0] <= true + 1e-12) & (true - 1e-12 <= ends[1]) for ends in (bounds, normal))
    width, earlier = bounds[1] - bounds[0], normal[1] - normal[0]
    numbers = {"true": true, **dict(zip(("coverage", "low", "high"), share(held), strict=True))}
    numbers |= {"mean_width": width.mean(), "zero_width": (width <= 0).mean()}
    numbers |= {"coverage_normal": before.mean(), "zero_width_normal": (earlier <= 1e-12).mean()}
    return {"number": number, **cell, **{name: f"{x:.4f}" for name, x in numbers.items()}, "num": len(held)}


def rows(cell: tuple[str, int, float, tuple[float, ...], float], cases: int) -> list[Row]:
    """Return the rows of a cell: images per patient, patients, prevalence, thresholds, correlation."""
    kind, num_patients, prevalence, thresholds, correlation = cell
    at, parts, out = np.array(thresholds), [], list[Row]()
    of_hospitals = NUM_HOSPITALS if correlation else 1
    for _ in range(of_hospitals):
        called, total, sizes, true = hospital(DRAW, kind, num_patients, prevalence, at, correlation, cases)
        parts.append((values_of(called, total, at), *intervals(called, total, at, sizes)))
    values, bounds, error = parts[0]
    half = NORMAL_QUANTILE * error
    for (m, measure), (d, t) in product(enumerate(MEASURES), enumerate(thresholds)):
        of_cell: Row = {"images_per_patient": kind, "patients": num_patients, "prevalence": prevalence}
        of_cell |= {"correlation": correlation, "threshold": t}
        value, ends = values[:, m, d], bounds[:, :, m, d].T
        normal = np.stack([value - half[:, m, d], value + half[:, m, d]])
        out.append(row(measure, of_cell, float(true[m, d]), ends, normal))
        if of_hospitals > 1:
            size = min(len(part[0]) for part in parts)
            numbers, errors = (np.stack([part[i][:size, m, d] for part in parts]) for i in (0, 2))  # [H, R]
            of_each = np.stack([part[1][:size, :, m, d] for part in parts])  # [H, R, 2]
            alone = np.eye(of_hospitals)
            means = [mean_interval(measure, numbers[:, r], of_each[:, r].T, alone) for r in range(size)]
            center, wide = numbers.mean(0), NORMAL_QUANTILE * np.linalg.norm(errors, axis=0) / of_hospitals
            normal, name = np.stack([center - wide, center + wide]), f"{measure}, mean of {NUM_HOSPITALS} hospitals"
            out.append(row(name, of_cell, float(true[m, d]), np.array(means).T, normal))
    return out


def cells() -> Iterator[tuple[str, int, float, tuple[float, ...], float]]:
    """Yield images per patient, patients, prevalence, thresholds and correlation of each cell."""
    for kind in IMAGES:
        for num_patients, prevalence, thresholds in WORLDS:
            for correlation in (0.0,) if kind == "1" else (0.0, 0.3):
                yield kind, num_patients, prevalence, thresholds, correlation


if __name__ == "__main__":
    main(__file__, __doc__, cells(), rows)
