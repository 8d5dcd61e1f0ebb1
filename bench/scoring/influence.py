"""Standard errors in closed form: the influence of each patient on a number.

The influence of an image is the derivative of the number with respect to the weight of the image; the influence of a patient is
the sum over the patient's images. The sum of the squared influences of P patients, with a factor such as P / (P - 1), is the
variance of the number. The influences of a sum or a mean of numbers of the same patients are the sum or the mean of their influences.
Sources: Efron 1982, doi:10.1137/1.9781611970319 (infinitesimal jackknife); Satterthwaite 1946, doi:10.2307/3002019.
Shapes: N images, P patients.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.scoring.bootstrap.intervals import LEVEL

Array = NDArray[np.float64]
LEAST_DEGREES = 3.0  # with fewer, intervals are much wider, but contain the truth no more often (`benchmarks/calibration_curves.py`)


def degrees_of_freedom(influence: Array) -> Array:
    """Compute the degrees of freedom [...] of the variance that influences [..., P] give, at least LEAST_DEGREES; NaN if it is 0.

    With Q the squared influences, they are (sum Q)^2 / sum Q^2 - 1: P - 1 if all patients have the same influence, and few if few
    patients decide.

    >>> degrees_of_freedom(np.array([[1.0, -1.0] * 5, [3.0, -3.0] + [0.1] * 8])).round(2)
    array([9., 3.])
    """
    squares = influence**2
    fourth = (squares**2).sum(-1)
    ratio = np.divide(squares.sum(-1) ** 2, fourth, out=np.full(fourth.shape, np.nan), where=fourth > 0)
    return np.asarray(np.maximum(ratio - 1, LEAST_DEGREES))


def half_width(influence: Array) -> Array:
    """Compute half the width [...] of the 95 % interval from influences [..., P]: t times the standard error; NaN if all are 0."""
    return np.asarray(stdtrit(degrees_of_freedom(influence), (1 + LEVEL) / 2) * np.linalg.norm(influence, axis=-1))


class Influenced(NamedTuple):
    """A number with the influence of each patient on it; the sum of their squares is its variance."""

    value: float = math.nan
    influence: Array = np.full(1, np.nan)  # [P]

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the bounds of the 95 % interval."""
        half = float(half_width(self.influence))
        return self.value - half, self.value + half

    @classmethod
    def mean(cls, numbers: "Sequence[Influenced]") -> "Influenced":
        """Return the mean of numbers of the same patients."""
        longest = max(len(number.influence) for number in numbers)
        padded = [np.pad(number.influence, (0, longest - len(number.influence))) for number in numbers]
        return cls(float(np.mean([number.value for number in numbers])), np.mean(padded, 0))

    @classmethod
    def mean_of_samples(cls, numbers: "Sequence[Influenced]") -> "Influenced":
        """Return the mean of numbers of different patients, such as those of several hospitals."""
        influence = np.concatenate([number.influence for number in numbers]) / len(numbers)
        return cls(float(np.mean([number.value for number in numbers])), influence)
