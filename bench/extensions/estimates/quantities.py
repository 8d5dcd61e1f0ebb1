"""`InternalFinding`, what an estimator knows about one run and one finding, and the quantities that are estimated.

An estimator never gets labels of the hospital that it estimates. What it learns comes from the internal hospital and from
other hospitals with labels.
Shapes: N images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.extensions.estimates.schemas import ESTIMATED
from bench.scoring.calibrators import Platt

Array = NDArray[np.float64]
Estimates = Mapping[str, float]  # quantity -> value; a quantity that an estimator cannot estimate is missing or NaN

QUANTITIES = ESTIMATED


@dataclass(frozen=True, slots=True, eq=False)
class InternalFinding:
    """One finding of one run at the internal hospital.

    label [N] of 0 and 1, logit [N]: the labeled images of the validation split. threshold: the stored threshold on the
    logit, NaN without one. platt: the calibrator that was fitted on the validation split. bins: number of bins of the ECE.
    """

    label: NDArray[np.int8]
    logit: Array
    threshold: float
    platt: Platt
    bins: int = 15

    @property
    def has_confidence(self) -> bool:
        """Return whether there are a threshold and a calibrator, which the confidence of a call needs."""
        return bool(np.isfinite([self.threshold, self.platt.a, self.platt.b]).all())

    def calls(self, logit: Array) -> NDArray[np.bool_]:
        """Return a mask of the images that are called positive; no image is called positive without a threshold."""
        return np.asarray(logit >= self.threshold)

    def confidence(self, logit: Array) -> Array:
        """Compute the calibrated probability that the call of each image is correct [N]."""
        prob = self.platt.apply(logit)
        return np.where(self.calls(logit), prob, 1 - prob)

    def correct(self) -> NDArray[np.bool_]:
        """Return a mask of the validation images whose call is correct."""
        return np.asarray(self.calls(self.logit) == (self.label == 1))


def finite_mean(values: Array, axis: int | tuple[int, ...] = 0) -> Array:
    """Compute the mean of the finite values over some axes; NaN where there is none."""
    has = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(has, values, 0).sum(axis) / has.sum(axis))


def rates(true_positive: float, false_positive: float, false_negative: float, true_negative: float) -> dict[str, float]:
    """Compute sensitivity, specificity, accuracy and prevalence from expected numbers of images by label and call.

    >>> rates(3, 2, 1, 4)
    {'sensitivity': 0.75, 'specificity': 0.6666666666666666, 'accuracy': 0.7, 'prevalence': 0.4}
    """
    positive, negative = true_positive + false_negative, true_negative + false_positive
    return {
        "sensitivity": _share(true_positive, positive),
        "specificity": _share(true_negative, negative),
        "accuracy": _share(true_positive + true_negative, positive + negative),
        "prevalence": _share(positive, positive + negative),
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
