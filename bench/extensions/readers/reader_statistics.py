"""Operating points and agreement of readers, and the curve of a network at these points.

The reference of a reader is the majority of the other readers who answered; an image without a majority (a tie, or no other
reader) is left out for this reader. So no reader is compared with a reference that contains the reader's own answer, and the
network is compared with each reader on the same images and the same reference. Uncertain answers are left out.
Shapes: R readers, N images, n of them with an answer and a reference, P patients (or groups of them, see `Sample`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.area_intervals import effective_patients, paired_interval
from bench.scoring.influence import LEVEL, correlations, error_of, ratio
from bench.scoring.intervals import share_interval
from bench.scoring.sample import Sample

Array = NDArray[np.float64]
Answers = NDArray[np.int8]  # 1 present, 0 absent, NONE no answer
NONE = -1
EPSILON = 1e-12
GRID = np.linspace(0, 1, 51)  # false positive rates at which curves are drawn
RATES = ("sensitivity", "specificity", "precision")


class ReaderPoint(NamedTuple):
    """The operating point of a reader, with the images on which the network is compared with it.

    rows [n]: indices of the images. reference, called [n]: label and the reader's call of each of these images.
    value, low, high [3]: RATES. influence [P]: of the patients on the sensitivity. num_patients: of these images. sizes [2]: number
    of images with the finding in the reference, and effective number of their patients. num_undecided: number of other images that
    the reader answered, on which the other readers have no majority.
    """

    rows: NDArray[np.intp]
    reference: NDArray[np.bool_]
    called: NDArray[np.bool_]
    value: Array
    low: Array
    high: Array
    influence: Array
    num_patients: int
    sizes: Array
    num_undecided: int

    @property
    def false_positive_rate(self) -> float:
        """Return the share of images without the finding that the reader calls positive."""
        return float(1 - self.value[1])


def references(answer_RN: Answers) -> Answers:
    """Return the majority of the other readers [R, N] for each reader; NONE without a majority.

    >>> references(np.array([[1], [1], [0]], np.int8)).ravel().tolist()
    [-1, -1, 1]
    """
    present, absent = (answer_RN == 1, answer_RN == 0)
    margin = present.sum(0) - present.astype(int) - absent.sum(0) + absent
    return np.select([margin > 0, margin < 0], [1, 0], NONE).astype(np.int8)


def points(answer_RN: Answers, sample: Sample, min_count: int) -> dict[int, ReaderPoint]:
    """Return the operating point of each reader with enough patients with and without the finding in the reference.

    Intervals: `share_interval`, clustered by patient.
    """
    found = {}
    for r, (answer, reference) in enumerate(zip(answer_RN, references(answer_RN), strict=True)):
        rows = np.flatnonzero((answer != NONE) & (reference != NONE))
        undecided = int((answer != NONE).sum()) - len(rows)
        label = reference[rows] == 1
        called = answer[rows] == 1
        who = sample.patient[rows]
        if min(len(set(who[label])), len(set(who[~label]))) < min_count:
            continue
        denominators = np.stack([label, ~label, called])
        value, of_images = ratio(np.stack([called & label, ~called & ~label, called & label]), denominators)
        influence = sample.sums(of_images, rows)
        sizes = np.array(
            [(part.sum(), effective_patients(np.bincount(who[part])) if part.any() else 0.0) for part in denominators]
        )
        low, high = share_interval(value, error_of(influence), *sizes.T)
        num_patients = len(set(who.tolist()))
        found[r] = ReaderPoint(rows, label, called, value, low, high, influence[0], num_patients, sizes[0], undecided)
    return found


def curve(point: ReaderPoint, score: Array) -> tuple[Array, Array]:
    """Return false positive rate and sensitivity [cuts] of a network on the images of a reader.

    score [N]: scores of all images. The first cut calls no image positive; images with equal scores are called together.
    """
    score = score[point.rows]
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    right, wrong = (np.append(0.0, np.cumsum(of[order])[ends]) for of in (point.reference, ~point.reference))
    return wrong / wrong[-1], right / right[-1]


def sensitivity_at(rate: Array, fpr: Array, tpr: Array) -> Array:
    """Return the sensitivity [Q] of a ROC curve [cuts] at false positive rates [Q]: the highest, linear between cuts."""
    last, share = _between(rate, fpr)
    after = np.minimum(last + 1, len(fpr) - 1)
    return np.asarray(tpr[last] + share * (tpr[after] - tpr[last]))


def _between(rate: Array, fpr: Array) -> tuple[NDArray[np.intp], Array]:
    """Return the last cut [Q] at or below each false positive rate [Q], and the share of the way to the next cut."""
    last = np.maximum(np.searchsorted(fpr, rate + EPSILON, side="right") - 1, 0)
    step = fpr[np.minimum(last + 1, len(fpr) - 1)] - fpr[last]
    share = np.divide(rate - fpr[last], step, out=np.zeros(len(rate)), where=step > EPSILON)
    return last, np.clip(share, 0, 1)


def at_point(point: ReaderPoint, score: Array, sample: Sample) -> tuple[float, Array]:
    """Return the sensitivity of a network at the reader's false positive rate, and the influences of the patients on it [P].

    The rate of the network at its threshold and the rate of the reader both vary with the patients; a difference of the rates
    moves the threshold, and the sensitivity by the slope of the curve. The slope is that over one standard error of this
    difference to both sides, because between two neighbouring cuts it is chance.
    """
    fpr, tpr = curve(point, score)
    rate = point.false_positive_rate
    value = float(sensitivity_at(np.array([rate]), fpr, tpr)[0])
    (last,), (share,) = _between(np.array([rate]), fpr)
    of_images = np.unique(-score[point.rows], return_inverse=True)[1]  # the first cut with the image
    called = np.where(of_images < last, 1.0, np.where(of_images == last, share, 0.0))
    absent = ~point.reference
    found = ratio(called * point.reference, point.reference)[1]
    false = ratio((point.called - called) * absent, absent)[1]
    of_found, of_false = sample.sums(np.stack([found, false]), point.rows)
    step = max(float(error_of(of_false)), 1 / np.count_nonzero(absent))
    ends = np.clip([rate - step, rate + step], 0.0, 1.0)
    slope = float(np.diff(sensitivity_at(ends, fpr, tpr))[0] / np.diff(ends)[0])
    return value, of_found + slope * of_false


def difference(point: ReaderPoint, value: float, influence: Array) -> Array:
    """Return the network's minus the reader's sensitivity with the bounds of its interval [3].

    value, influence [P]: sensitivity of the network (`at_point`). The interval combines both intervals, because influences
    of few patients hardly vary. If the reader raised no false alarm, the curve may be anywhere below at the reader's true rate.
    """
    num_images, num_patients = point.sizes[:, None]
    low, high = share_interval(np.array([value]), error_of(influence)[None], num_images, num_patients)
    low *= point.false_positive_rate > 0
    of_network = (value, *low, *high)
    of_reader = (point.value[0], point.low[0], point.high[0])  # the sensitivity is the first of RATES
    values, lows, highs = np.array([of_network, of_reader]).T
    both = np.stack([influence, point.influence])
    correlation = float(correlations(both @ both.T)[0, 1])
    bounds = paired_interval(values, lows, highs, correlation, patients=float(num_patients[0]))
    return np.array([values[0] - values[1], *bounds])


def share_below(differences: Array) -> tuple[int, float, float, float]:
    """Return how many of R readers are below the curve, their share, and its interval over patients.

    differences [R, 3]: see `difference`. Their intervals are widened to hold together (Bonferroni): the lower bound counts the readers
    who are clearly below, the upper bound all who are not clearly above. An unknown bound is the furthest possible, -1 or 1.
    """
    value, low, high = differences.T
    wider = ndtri(1 - (1 - LEVEL) / 2 / len(value)) / ndtri((1 + LEVEL) / 2)
    low = value + wider * (np.nan_to_num(low, nan=-1.0) - value)
    high = value + wider * (np.nan_to_num(high, nan=1.0) - value)
    below, least, most = (int((numbers > EPSILON).sum()) for numbers in (value, low, high))
    return below, below / len(value), least / len(value), most / len(value)


def fleiss(answer_RN: Answers) -> tuple[float, int, int]:
    """Return Fleiss' kappa, the number of images, and the number of answers to each.

    Only images with the most frequent number of answers count, because the kappa needs equally many; they may be of different
    readers. NaN without such images, or if all answers are the same. Source: Fleiss 1971, doi:10.1037/h0031619.
    """
    num = (answer_RN != NONE).sum(0)
    several = num[num > 1]
    if not len(several):
        return float("nan"), 0, 0
    most = int(np.bincount(several).argmax())
    present = (answer_RN[:, num == most] == 1).sum(0)
    alike = (present * (present - 1) + (most - present) * (most - present - 1)) / (most * (most - 1))
    share = present.mean() / most
    expected = share**2 + (1 - share) ** 2
    kappa = (alike.mean() - expected) / (1 - expected) if expected < 1 - EPSILON else np.nan
    return float(kappa), len(present), most
