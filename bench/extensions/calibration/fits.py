"""Calibration intercept, calibration slope and O:E of the probabilities of one finding, with 95 % intervals over patients.

All three compare probabilities with labels; x is the logit of a probability, y a label.

    intercept   calibration in the large: a in the logistic regression logit P(y = 1) = a + x, so x is an offset; 0 is ideal
    slope       b in the logistic regression logit P(y = 1) = a + b x; 1 is ideal
    O:E         observed number of images with the finding, divided by the sum of the probabilities; 1 is ideal

An interval is the number (O:E: its logarithm) ± t × standard error. The variance is the sandwich estimator, whose terms are summed
by patient first, with the factor P / (P - 1) for P patients: images of the same patient need not be independent. t is the quantile of
a t distribution with Satterthwaite's degrees of freedom (`bench/scoring/influence.py`): few, if few patients decide.
Sources: Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7; Debray et al. 2017,
doi:10.1136/bmj.i6460 (O:E on the log scale); Liang and Zeger 1986, doi:10.1093/biomet/73.1.13 (sandwich by cluster).
Shapes: n images, P patients.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.influence import Estimate, Influence
from bench.scoring.smooth_calibration import CalibrationPairs

Array = NDArray[np.float64]

NO_IMAGES = "too few patients"
NO_PROBABILITIES = "Platt scaling could not be fitted"
NO_POSITIVE, NO_NEGATIVE = "no image with the finding", "all images have the finding"
ONE_PATIENT = "only one patient with the finding, or only one without"
EQUAL, SEPARATED = "slope: all probabilities are equal", "slope: the logits separate both classes completely"


class Bounded(NamedTuple):
    """A number with the bounds of its 95 % interval and its standard error (O:E: error of the logarithm); NaN if unknown."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    error: float = math.nan


class Calibration(NamedTuple):
    """Intercept, slope and O:E of one calibrator; reason: why numbers are NaN, else ""."""

    of_intercept: Estimate = Estimate()
    of_slope: Estimate = Estimate()
    observed_expected: Bounded = Bounded()
    reason: str = ""

    @property
    def intercept(self) -> Bounded:
        """The intercept with its interval."""
        return Bounded(self.of_intercept.value, *self.of_intercept.bounds, self.of_intercept.error)

    @property
    def slope(self) -> Bounded:
        """The slope with its interval."""
        return Bounded(self.of_slope.value, *self.of_slope.bounds, self.of_slope.error)


def calibration(
    logit: Array, positive: NDArray[np.bool_], patient: NDArray[np.int32], scales: Sequence[tuple[float, float]]
) -> list[Calibration]:
    """Compute the calibration of the probabilities sigmoid(a * logit + b) for each (a, b) in `scales`.

    logit [n] (falling), positive [n], patient [n] (indices). The slopes follow from one fit: logits that are a times as large
    have a slope that is a times as small.
    """
    pairs = CalibrationPairs.of(logit, positive, patient)
    if pairs.num_of_class < 2:
        return [Calibration(reason=_why_no_calibration(positive))] * len(scales)
    why_no_slope = _why_no_slope(logit, positive)
    slope = Estimate() if why_no_slope else pairs.slope()
    return [_calibration(pairs, a, b, slope, why_no_slope) for a, b in scales]


def _why_no_calibration(positive: NDArray[np.bool_]) -> str:
    if not len(positive):
        return NO_IMAGES
    if not positive.any():
        return NO_POSITIVE
    return NO_NEGATIVE if positive.all() else ONE_PATIENT


def _why_no_slope(logit: Array, positive: NDArray[np.bool_]) -> str:
    if logit.std() <= 1e-12 * max(1.0, abs(float(logit.mean()))):
        return EQUAL
    # highest and lowest logit of each class
    (high, low), (other_high, other_low) = (
        (logit[of.argmax()], logit[len(of) - 1 - of[::-1].argmax()]) for of in (positive, ~positive)
    )
    return SEPARATED if low >= other_high or other_low >= high else ""


def _calibration(pairs: CalibrationPairs, a: float, b: float, slope: Estimate, why_no_slope: str) -> Calibration:
    """Return the calibration of the probabilities sigmoid(a * x + b); slope: that of the logits as they are."""
    if not math.isfinite(a):
        return Calibration(reason=NO_PROBABILITIES)
    prob = expit(a * pairs.x + b)
    observed, expected = pairs.positive.sum(), prob.sum()
    of_patient = np.bincount(pairs.patient, pairs.positive / observed - prob / expected)
    factor = math.sqrt(pairs.num_patients / (pairs.num_patients - 1))
    of_log = Estimate(math.log(observed / expected), Influence({"": of_patient.astype(np.float64) * factor}))
    low, high = of_log.bounds
    ratio = Bounded(math.exp(of_log.value), math.exp(low), math.exp(high), of_log.error)
    if a == 0:
        return Calibration(pairs.intercept(a, b), Estimate(), ratio, EQUAL)
    return Calibration(pairs.intercept(a, b), Estimate(slope.value / a, slope.influence * (1 / a)), ratio, why_no_slope)
