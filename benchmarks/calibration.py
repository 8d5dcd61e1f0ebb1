"""Coverage of the intervals of calibration intercept, slope and O:E, on simulated patients with known truth.

Scores of images are normal, with a higher mean (by `distance`) if the patient has the finding. Images of one patient have the same
label, and their scores correlate by .5. The reported logits are twice the correct ones plus .5, so the true slope is .5; the true
intercept and O:E are integrals over the normal distributions. `undefined` is the share of cases without an interval, because a
class has fewer than two patients or the logits separate the classes.

python benchmarks/calibration.py      # writes benchmarks/calibration.csv
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from bench.extensions.calibration.fits import calibration
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]

PATIENTS = ((10, 40), (10, 190), (20, 180), (40, 160), (100, 400))  # expected numbers with and without the finding
IMAGES = (1, 4, "1 to 30")  # of a patient: mean number, or a range from which numbers are drawn evenly on the log scale
DISTANCES = (0.5, 1.2, 2.5)  # AUROC .64, .80 and .96
CORRELATION = 0.5
FACTOR, SHIFT = 2.0, 0.5  # reported logit = FACTOR * correct logit + SHIFT
MEASURES = ("intercept", "slope", "observed_expected")


def reported(score: Array, prevalence: float, distance: float) -> Array:
    """Return the reported logits of scores, which are too extreme."""
    return FACTOR * (logit(prevalence) + distance * score - distance**2 / 2) + SHIFT


def truths(prevalence: float, distance: float) -> dict[str, float]:
    """Return the true intercept, slope and O:E, by Gauss-Hermite quadrature."""
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    x = np.stack([reported(node, prevalence, distance), reported(node + distance, prevalence, distance)])
    share = np.array([[1 - prevalence], [prevalence]]) * weight
    intercept = brentq(lambda a: float((share * expit(x + a)).sum()) - prevalence, -20, 20)
    return {
        "intercept": intercept,
        "slope": 1 / FACTOR,
        "observed_expected": prevalence / float((share * expit(x)).sum()),
    }


def drawn(
    positive: int, negative: int, images: int | str, distance: float, draw: np.random.Generator
) -> tuple[Array, NDArray[np.bool_], NDArray[np.int32]]:
    """Draw falling logits, labels and patients; each patient has the finding with the same probability."""
    num = positive + negative
    has = draw.random(num) < positive / num
    if isinstance(images, str):
        least, most = (int(word) for word in images.split(" to "))
        numbers = np.exp(draw.uniform(np.log(least), np.log(most + 1), num)).astype(int)
    else:
        numbers = draw.integers(1, 2 * images, num)
    patient = np.repeat(np.arange(num, dtype=np.int32), numbers)
    score = np.sqrt(CORRELATION) * draw.normal(size=num)[patient]
    score += np.sqrt(1 - CORRELATION) * draw.normal(size=len(patient)) + distance * has[patient]
    x = reported(score, positive / num, distance)
    order = np.argsort(-x)
    return x[order], has[patient][order], patient[order]


def rows(cell: tuple[int, int, int | str, float], cases: int) -> list[Row]:
    """Return one row for each of MEASURES: how often its interval contains the truth. cell: positive, negative, images, distance."""
    positive, negative, images, distance = cell
    draw = np.random.default_rng([positive, negative, IMAGES.index(images), round(10 * distance)])
    found = []
    for _ in range(cases):
        [one] = calibration(*drawn(*cell, draw), [(1.0, 0.0)])
        found.append([one.intercept, one.slope, one.observed_expected])
    numbers, truth = np.array(found), truths(positive / (positive + negative), distance)
    out = []
    for m, measure in enumerate(MEASURES):
        low, high = numbers[np.isfinite(numbers[:, m, 1]), m, 1:3].T
        held = share((low <= truth[measure]) & (truth[measure] <= high))
        shown = (*held, float(np.median(high - low)), 1 - len(low) / cases)
        numbers_of = {
            name: f"{n:.3f}" for name, n in zip(("found", "low", "high", "width", "undefined"), shown, strict=True)
        }
        of_cell = dict(zip(("positive", "negative", "images", "distance"), cell, strict=True))
        out.append({"measure": measure, **of_cell, **numbers_of, "cases": cases})
    return out


if __name__ == "__main__":
    main(__file__, __doc__, [(*p, i, d) for p, i, d in product(PATIENTS, IMAGES, DISTANCES)], rows)
