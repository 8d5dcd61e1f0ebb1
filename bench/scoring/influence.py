"""Standard errors in closed form: the influence of each patient on a score.

The influence of an image is the derivative of the score with respect to the weight of the image; the influence of a patient is
the sum over the patient's images (`Sample.sums`). The sum of the squared influences is the variance of the score, and the sum of
the products of the influences on two scores is their covariance. The influences of a sum, a difference or a mean of scores
are the sum, the difference or the mean of their influences. Different samples, such as two hospitals, are independent.
Sources: Efron 1982, doi:10.1137/1.9781611970319 (infinitesimal jackknife); DeLong 1988 and Obuchowski 1997 (AUROC);
Satterthwaite 1946, doi:10.2307/3002019 (degrees of freedom).
Shapes: n images, P patients (or groups of patients, see `Sample`), R scores.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]
LEVEL = 0.95  # confidence level of all intervals
LEAST_DEGREES = 3.0  # with fewer, intervals are much wider, but contain the truth no more often (`benchmarks/calibration_curves.py`)
NUM_JACKKNIFE = 50  # groups of patients in `jackknife`


def auroc(positive: NDArray[np.bool_], last: NDArray[np.bool_], weight: Array | None = None) -> tuple[float, Array]:
    """Compute the AUROC of images in the order of falling scores, and the influence of each image on it [n].

    positive [n]: whether the finding is present. last [n]: whether the next image has a lower score (`Column`). weight [n]: weights
    of the images; None: all 1. The influence is the derivative with respect to this weight. Ties count half. NaN when a class is
    absent.

    >>> area, influence = auroc(np.array([True, False, True, False]), np.ones(4, bool))
    >>> area, influence.tolist()
    (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    of_class = _weights(positive, weight)
    group = _groups(last)
    total = of_class.sum(1)
    if not total.all():
        return math.nan, np.full(len(positive), np.nan)
    present, absent = (np.cumsum(weights)[last] for weights in of_class)
    # the mean of both sides counts an equal score as one half
    above, below = ((sums + np.append(0.0, sums[:-1])) / 2 for sums in (present, absent))
    # without weights, this number of pairs is exact
    area = float((of_class[0] * (total[1] - below[group])).sum() / (total[0] * total[1]))
    placement = np.where(positive, 1 - below[group] / total[1], above[group] / total[0])
    return area, (placement - area) / np.where(positive, *total)


def average_precision(
    positive: NDArray[np.bool_], last: NDArray[np.bool_], weight: Array | None = None
) -> tuple[float, Array]:
    """Compute the average precision (AUPRC) of images in the order of falling scores, and the influence of each image; as `auroc`."""
    of_class = _weights(positive, weight)
    if not of_class.sum(1).all():
        return math.nan, np.full(len(positive), np.nan)
    group = _groups(last)
    present, absent = (np.cumsum(weights)[last] for weights in of_class)
    total = present[-1]
    # images of weight 0 can have the highest scores; no image is before them
    counted = np.maximum(present + absent, np.finfo(np.float64).tiny)
    precision, at_score = present / counted, np.diff(present, prepend=0.0)
    area = float((at_score * precision).sum() / total)
    # an image counts at its own and at all lower thresholds
    of_present, of_all = (np.cumsum((at_score * term / counted)[::-1])[::-1][group] for term in (1.0, precision))
    return area, (positive * (precision[group] - area + of_present) - of_all) / total


def _weights(positive: NDArray[np.bool_], weight: Array | None) -> Array:
    """Return the weights [2, n] of the images as positive and as negative images."""
    of_class = np.stack([positive, ~positive]).astype(np.float64)
    return of_class if weight is None else of_class * weight


def _groups(last: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of distinct higher scores of each image."""
    return np.asarray(np.cumsum(last) - last, np.int64)


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> tuple[Array, Array]:
    """Compute the ratios [...] of sums over images [..., n], and the influence of each image [..., n]; NaN without a denominator.

    A mean has the denominators 1; a share has denominators of 0 and 1.

    >>> value, influence = ratio(np.array([1, 0, 0]), np.array([1, 1, 0]))
    >>> float(value), influence.tolist()
    (0.5, [0.25, -0.25, 0.0])
    """
    total = np.asarray(denominator.sum(-1), np.float64)
    known = total > 0
    value = np.divide(numerator.sum(-1), total, out=np.full(total.shape, np.nan), where=known)
    scale = np.divide(1.0, total, out=np.full(total.shape, np.nan), where=known)
    return value, (numerator - value[..., None] * denominator) * scale[..., None]


def jackknife(
    function: Callable[[NDArray[np.intp]], Any], group: NDArray[np.integer], num_groups: int
) -> tuple[Any, Array]:
    """Compute a function of images, and the influences [..., P] of the patients on its numbers [...], for any function.

    function: gets the indices of the images to use, and returns a number or an array. group [n]: the patient of each image,
    below num_groups. At most NUM_JACKKNIFE parts of the patients are left out in turn; the first patient of a part has the
    influence of all its patients. NaN where a result is not finite.
    """
    value = np.asarray(function(np.arange(len(group))), np.float64)
    num = min(NUM_JACKKNIFE, num_groups)
    influence = np.zeros((*value.shape, num_groups))
    if num < 2:
        return value, np.full(influence.shape, np.nan)
    part = np.random.default_rng(0).permutation(num_groups) % num
    without = np.stack([function(np.flatnonzero(part[group] != j)) for j in range(num)], -1).astype(np.float64)
    centered = without.mean(-1, keepdims=True) - without
    first = np.array([np.flatnonzero(part == j)[0] for j in range(num)])
    influence[..., first] = centered * math.sqrt((num - 1) / num)
    return value, influence


def mean_of(value: Array, influence: Array) -> tuple[float, Array]:
    """Compute the mean of the finite numbers in value [K], and its influences [P] from their influences [K, P]; NaN without any."""
    finite = np.isfinite(value)
    if not finite.any():
        return math.nan, np.full(influence.shape[-1], np.nan)
    return float(value[finite].mean()), np.asarray(influence[finite].mean(0, dtype=np.float64))


def error_of(influence: Array) -> Array:
    """Compute the standard error [...] from influences [..., P]."""
    return np.asarray(np.sqrt(np.einsum("...p,...p->...", influence, influence, dtype=np.float64)))


def correlations(covariance: Array, unknown: float = 0.0) -> Array:
    """Return the correlations [..., R, R] of a covariance; `unknown` with a number whose variance is 0."""
    error = np.sqrt(np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0))
    both = error[..., :, None] * error[..., None, :]
    known = both > 1e-24  # numbers with a smaller standard error differ by rounding only
    matrix = np.divide(covariance, both, out=np.full(covariance.shape, unknown), where=known)
    index = np.arange(covariance.shape[-1])
    matrix[..., index, index] = 1.0
    return np.asarray(np.clip(matrix, -1.0, 1.0))


def degrees_of_freedom(influence: Array) -> Array:
    """Compute the degrees of freedom [...] of the variance that influences [..., P] give, at least LEAST_DEGREES; NaN if it is 0.

    With Q the squared influences, they are (sum Q)^2 / sum Q^2 - 1: P - 1 if all patients have the same influence, and few if few
    patients decide.

    >>> degrees_of_freedom(np.array([[1.0, -1.0] * 5, [3.0, -3.0] + [0.1] * 8])).round(2)
    array([9., 3.])
    """
    squares = np.square(influence, dtype=np.float64)
    fourth = (squares**2).sum(-1)
    total = squares.sum(-1) ** 2
    degrees = np.divide(total, fourth, out=np.full(fourth.shape, np.nan), where=fourth > 0) - 1
    return np.asarray(np.maximum(degrees, LEAST_DEGREES))


def half_width(influence: Array) -> Array:
    """Compute half the width [...] of the 95 % interval from influences [..., P]: t times the standard error; NaN if all are 0."""
    return np.asarray(stdtrit(degrees_of_freedom(influence), (1 + LEVEL) / 2) * error_of(influence))


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """The influences on scores [...] of the patients of one or several independent samples: name of a sample -> [..., P].

    They can be added, subtracted and multiplied by numbers like the scores. An unknown score has influences of NaN.
    """

    of: Mapping[str, NDArray[Any]]

    def __add__(self, other: "Influence") -> "Influence":
        return Influence(
            {
                name: self.of[name] + other.of[name]
                if name in self.of and name in other.of
                else (self.of | other.of)[name]  # type: ignore[operator]
                for name in {**self.of, **other.of}
            }
        )

    def __mul__(self, factor: float) -> "Influence":
        return Influence({name: factor * influence for name, influence in self.of.items()})

    __rmul__ = __mul__

    def __neg__(self) -> "Influence":
        return self * -1.0

    def __sub__(self, other: "Influence") -> "Influence":
        return self + -other

    def __getitem__(self, index: Any) -> "Influence":
        return Influence({name: influence[index] for name, influence in self.of.items()})

    @classmethod
    def stack(cls, influences: "Sequence[Influence]") -> Self:
        """Return the influences on R scores [R, ...] from those on each; a score does not depend on samples that it does not name."""
        shapes = {name: of.shape for one in influences for name, of in one.of.items()}
        return cls(
            {
                name: np.stack([one.of[name] if name in one.of else np.zeros(shape) for one in influences])
                for name, shape in shapes.items()
            }
            or {"": np.zeros((len(influences), 0))}
        )

    @classmethod
    def mean(cls, influences: "Sequence[Influence]") -> "Influence":
        """Return the influences on the mean of scores."""
        return sum(influences[1:], influences[0]) * (1 / len(influences)) if influences else cls({})

    @property
    def all(self) -> Array:
        """Return the influences of the patients of all samples [..., P]."""
        return np.concatenate([np.asarray(of, np.float64) for of in self.of.values()] or [np.zeros(0)], -1)

    @property
    def error(self) -> Array:
        """Return the standard errors [...] of the scores."""
        return np.asarray(np.sqrt(sum(error_of(of) ** 2 for of in self.of.values())))

    @property
    def covariance(self) -> Array:
        """Return the covariance [R, R] of R scores."""
        return np.asarray(sum(of.astype(np.float64) @ of.astype(np.float64).T for of in self.of.values()))


class Estimate(NamedTuple):
    """A score with the influences of patients on it; unknown by default."""

    value: float = math.nan
    influence: Influence = Influence({"": np.full(1, np.nan)})

    @property
    def error(self) -> float:
        """Return the standard error."""
        return float(self.influence.error)

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the bounds of the 95 % interval."""
        half = float(half_width(self.influence.all))
        return self.value - half, self.value + half
