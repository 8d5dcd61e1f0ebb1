"""Coverage of the band of the smooth calibration curve, and of its slope and intercept, on simulated patients with a known curve.

Reported logits are normal (standard deviation 1.6); images of one patient have nearly the same logit. The true logit is .6 times the
reported one ("straight"), or bends further down on both sides of the middle ("bent"). A constant sets the share of images with
the finding. Half of the patients have one uniform number for all their labels, so labels correlate beyond their probabilities. The
curve is measured at the 5 %, 25 %, 50 %, 75 % and 95 % quantiles of the reported probability. The true slope and intercept are those
of the logistic regressions on infinitely many images. `undefined` is the share of samples without a curve.

python benchmarks/calibration_curves.py      # writes benchmarks/calibration_curves.csv
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, root
from scipy.special import expit, ndtri

from bench.scoring.smooth_calibration import CalibrationPairs
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]

BENDS = {"straight": 0.0, "bent": 0.12}
PATIENTS = (60, 150, 400)
IMAGES = (1, 4)  # mean number of images of a patient
SHARES = (0.1, 0.3)  # of images with the finding
MIDDLE, OF_PATIENT, OF_IMAGE = (
    -1.0,
    1.5,
    0.55,
)  # mean of the reported logits; standard deviations of patients and images
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MEASURES = (*(f"curve {quantile:g}" for quantile in QUANTILES), "slope", "intercept")
NODE, WEIGHT = np.polynomial.hermite_e.hermegauss(120)
LOGIT, WEIGHT = MIDDLE + np.hypot(OF_PATIENT, OF_IMAGE) * NODE, WEIGHT / WEIGHT.sum()  # of Gauss-Hermite quadrature


def true_share(reported: Array, bend: float, constant: float) -> Array:
    """Return the probabilities of the finding at reported logits."""
    return np.asarray(expit(constant + 0.6 * reported - bend * (reported - MIDDLE) ** 2))


def truths(bend: float, share: float) -> tuple[float, Array]:
    """Return the constant with which this share of images has the finding, and the true numbers of MEASURES."""
    constant = float(brentq(lambda c: float(WEIGHT @ true_share(LOGIT, bend, c)) - share, -20, 20))
    true = true_share(LOGIT, bend, constant)

    def score(at: Array) -> list[float]:
        residual = WEIGHT * (true - expit(at[0] + at[1] * LOGIT))
        return [residual.sum(), residual @ LOGIT]

    intercept = brentq(lambda a: float(WEIGHT @ expit(a + LOGIT)) - share, -20, 20)
    at = MIDDLE + np.hypot(OF_PATIENT, OF_IMAGE) * ndtri(QUANTILES)
    return constant, np.array([*true_share(at, bend, constant), root(score, [0.0, 0.6]).x[1], intercept])


def drawn(
    num: int, images: int, bend: float, constant: float, draw: np.random.Generator
) -> tuple[Array, NDArray[np.bool_], NDArray[np.int32]]:
    """Draw reported logits, labels and patients."""
    patient = np.repeat(np.arange(num, dtype=np.int32), draw.integers(1, 2 * images, num))
    reported = MIDDLE + OF_PATIENT * draw.normal(size=num)[patient] + OF_IMAGE * draw.normal(size=len(patient))
    alike = (draw.random(num) < 0.5)[patient]
    uniform = np.where(alike, draw.random(num)[patient], draw.random(len(patient)))
    return reported, uniform < true_share(reported, bend, constant), patient


def rows(cell: tuple[str, int, int, float], cases: int) -> list[Row]:
    """Return one row for each of MEASURES: how often its interval contains the truth. cell: curve, patients, images, share."""
    curve, num, images, of_images = cell
    bend = BENDS[curve]
    constant, truth = truths(bend, of_images)
    at = expit(MIDDLE + np.hypot(OF_PATIENT, OF_IMAGE) * ndtri(QUANTILES))
    draw = np.random.default_rng([num, images, round(10 * of_images), round(100 * bend)])
    bounds = np.full((cases, 2, len(MEASURES)), np.nan)
    for case in range(cases):
        reported, positive, patient = drawn(num, images, bend, constant, draw)
        pairs = CalibrationPairs.of(reported, positive, patient)
        line = np.array([pairs.slope().bounds, pairs.intercept().bounds]).T
        bounds[case] = np.concatenate([np.array(pairs.curve(at)[1:]), line], 1)
    low, high = bounds[np.isfinite(bounds).all((1, 2))].transpose(1, 0, 2)
    held, width = (low <= truth) & (truth <= high), np.median(high - low, 0)
    of_cell = dict(zip(("curve", "patients", "images", "share"), cell, strict=True))
    out = []
    for m, measure in enumerate(MEASURES):
        shown = (*share(held[:, m]), width[m], 1 - len(low) / cases)
        numbers = {
            name: f"{n:.3f}" for name, n in zip(("found", "low", "high", "width", "undefined"), shown, strict=True)
        }
        out.append({**of_cell, "measure": measure, **numbers, "cases": cases})
    return out


if __name__ == "__main__":
    main(__file__, __doc__, product(BENDS, PATIENTS, IMAGES, SHARES), rows, 2500)
