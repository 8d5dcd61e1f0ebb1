"""Operating points and agreement of readers, and the curve of a network at these points.

The reference of a reader is the majority of the other readers who answered; an image without a majority (a tie, or no other
reader) is left out for this reader. So no reader is compared with a reference that contains the reader's own answer, and the
network is compared with each reader on the same images and the same reference. Uncertain answers are left out.
Shapes: R readers, N images (or studies), B replicates; axis 0 of a result has the value, then its replicates.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.bootstrap.area_intervals import effective_patients, paired_interval
from bench.scoring.bootstrap.intervals import LEVEL, deviation, enough, share_bounds, share_interval
from bench.scoring.bootstrap.resamples import FOR_DETAIL, Resamples

Array = NDArray[np.float64]
Answers = NDArray[np.int8]  # 1 present, 0 absent, NONE no answer
NONE = -1
EPSILON = 1e-12
GRID = np.linspace(0, 1, 51)  # positions at which curves are drawn
RATES = ("sensitivity", "specificity", "precision")


class ReaderPoint(NamedTuple):
    """The operating point of a reader, with the rows and weights that the network needs at the same point.

    rows: indices of the images. reference: label of each of these images. weight [1 + B, rows]: times that each image counts.
    value, low, high [3]: RATES; sensitivity, false_positive_rate [1 + B]. num_patients: of these images. sizes [2]: number of images
    with the finding in the reference, and effective number of their patients. num_undecided: number of other images that the
    reader answered, on which the other readers have no majority.
    """

    rows: NDArray[np.intp]
    reference: NDArray[np.bool_]
    weight: Array
    value: Array
    low: Array
    high: Array
    sensitivity: Array
    false_positive_rate: Array
    num_patients: int
    sizes: Array
    num_undecided: int


def weights(patient_id: NDArray[np.object_], name: str) -> tuple[NDArray[np.int32], Array]:
    """Return the patient code [N] of each image, and how often each image counts [1 + B, N]: once, then as resampled."""
    resamples = Resamples.draw(patient_id, FOR_DETAIL, name)
    drawn = resamples.weight[:, resamples.patient, :].transpose(0, 2, 1).reshape(-1, len(patient_id))[: resamples.num]
    return resamples.patient, np.concatenate([np.ones((1, len(patient_id))), drawn])


def references(answer_RN: Answers) -> Answers:
    """Return the majority of the other readers [R, N] for each reader; NONE without a majority.

    >>> references(np.array([[1], [1], [0]], np.int8)).ravel().tolist()
    [-1, -1, 1]
    """
    present, absent = (answer_RN == 1, answer_RN == 0)
    margin = present.sum(0) - present.astype(int) - absent.sum(0) + absent
    return np.select([margin > 0, margin < 0], [1, 0], NONE).astype(np.int8)


def points(answer_RN: Answers, patient: NDArray[np.int32], weight: Array, min_count: int) -> dict[int, ReaderPoint]:
    """Return the operating point of each reader with enough patients with and without the finding in the reference.

    `patient` [N] and `weight` [1 + B, N]: see `weights`. Intervals: `share_interval`, clustered by patient.
    """
    found = {}
    for r, (answer, reference) in enumerate(zip(answer_RN, references(answer_RN), strict=True)):
        rows = np.flatnonzero((answer != NONE) & (reference != NONE))
        undecided = int((answer != NONE).sum()) - len(rows)
        label, called, who, times = reference[rows] == 1, answer[rows] == 1, patient[rows], weight[:, rows]
        if min(len(set(who[label])), len(set(who[~label]))) < min_count:
            continue
        parts = ((called & label, label), (~called & ~label, ~label), (called & label, called))
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = np.stack([(times @ right) / (times @ of) for right, of in parts])
        sizes = np.array(
            [(of.sum(), effective_patients(np.bincount(who[of])) if of.any() else 0.0) for _, of in parts], np.float64
        )
        low, high = share_interval(rates[:, 0], rates[:, 1:], *sizes.T)
        sensitivity, specificity, _ = rates
        found[r] = ReaderPoint(
            rows,
            label,
            times,
            rates[:, 0],
            low,
            high,
            sensitivity,
            1 - specificity,
            len(set(who.tolist())),
            sizes[0],
            undecided,
        )
    return found


def curve(point: ReaderPoint, score: Array) -> tuple[Array, Array, Array]:
    """Return false positive rate, sensitivity and precision [1 + B, cuts] of a network on the images of a reader.

    score [N]: of all images. The first cut calls no image positive; images with equal scores are called together.
    """
    score, times = score[point.rows], point.weight
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    right, wrong = (
        np.pad(np.cumsum(times[:, order] * of[order], axis=1)[:, ends], ((0, 0), (1, 0)))
        for of in (point.reference, ~point.reference)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return wrong / wrong[:, -1:], right / right[:, -1:], right / (right + wrong)


def sensitivity_at(rate: Array, fpr: Array, tpr: Array) -> Array:
    """Return the sensitivity of ROC curves [1 + B, cuts] at false positive rates [1 + B]: the highest, linear between cuts."""
    last = np.maximum((fpr <= rate[:, None] + EPSILON).sum(1) - 1, 0)
    after, row = np.minimum(last + 1, fpr.shape[1] - 1), np.arange(len(rate))
    step = fpr[row, after] - fpr[row, last]
    share = np.divide(rate - fpr[row, last], step, out=np.zeros(len(rate)), where=step > EPSILON)
    at = tpr[row, last] + np.clip(share, 0, 1) * (tpr[row, after] - tpr[row, last])
    return np.where(np.isfinite(rate), at, np.nan)


def roc_on_grid(fpr: Array, tpr: Array) -> Array:
    """Return the sensitivity [len(GRID)] of one ROC curve [cuts] at the false positive rates of GRID."""
    shape = (len(GRID), len(fpr))
    return sensitivity_at(GRID, np.broadcast_to(fpr, shape), np.broadcast_to(tpr, shape))


def precision_at(recall: Array, tpr: Array, precision: Array) -> Array:
    """Return the precision [len(recall)] of one curve [cuts] at the first cut with at least this recall."""
    return np.asarray(precision[np.minimum(np.searchsorted(tpr, recall - EPSILON), len(tpr) - 1)])


def difference(point: ReaderPoint, network: Array) -> Array:
    """Return the network's minus the reader's sensitivity with the bounds of its interval [3].

    network [1 + B]: sensitivity at the reader's false positive rate. The interval combines those of both shares, because resamples
    of few patients hardly vary. If the reader raised no false alarm, the curve may be anywhere below at the reader's true rate.
    """
    low, high = share_interval(network[:1], network[None, 1:], *point.sizes[:, None])
    low *= point.false_positive_rate[0] > 0
    of_reader = (point.value[0], point.low[0], point.high[0])
    values, lows, highs = np.array([(network[0], *low, *high), of_reader]).T
    both = np.stack([network[1:], point.sensitivity[1:]])
    bounds = paired_interval(values, lows, highs, both, patients=float(point.sizes[1]))
    return np.array([values[0] - values[1], *bounds])


def share_below(differences: Array) -> tuple[int, float, float, float]:
    """Return how many of R readers are below the curve, their share, and its interval over patients.

    differences [R, 3]: see `difference`. Their intervals are widened to hold together (Bonferroni): the lower bound counts the readers
    who are clearly below, the upper bound all who are not clearly above. An unknown interval says nothing.
    """
    value, low, high = differences.T
    wider = ndtri(1 - (1 - LEVEL) / 2 / len(value)) / ndtri((1 + LEVEL) / 2)
    low, high = (value + wider * (np.nan_to_num(end, nan=side) - value) for end, side in ((low, -1.0), (high, 1.0)))
    below, least, most = (int((numbers > EPSILON).sum()) for numbers in (value, low, high))
    return below, below / len(value), least / len(value), most / len(value)


def cohen(first: Answers, second: Answers) -> float:
    """Return Cohen's kappa of two readers over the images that both answered; NaN if both always gave the same answer.

    Source: Cohen 1960, doi:10.1177/001316446002000104.

    >>> cohen(np.array([1, 1, 0, 0], np.int8), np.array([1, 0, 0, 0], np.int8))
    0.5
    """
    both = (first != NONE) & (second != NONE)
    one, other = first[both] == 1, second[both] == 1
    if not both.any():
        return float("nan")
    expected = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float(((one == other).mean() - expected) / (1 - expected)) if expected < 1 else float("nan")


def fleiss(answer_RN: Answers, weight: Array) -> tuple[Array, int, int]:
    """Return Fleiss' kappa with its replicates [1 + B], the number of images, and the number of answers to each.

    Only images with the most frequent number of answers count, because the kappa needs equally many; they may be of different
    readers. NaN without such images, or if all answers are the same. Source: Fleiss 1971, doi:10.1037/h0031619.
    """
    num = (answer_RN != NONE).sum(0)
    several = num[num > 1]
    if not len(several):
        return np.full(len(weight), np.nan), 0, 0
    most = int(np.bincount(several).argmax())
    rows = np.flatnonzero(num == most)
    present, times = (answer_RN[:, rows] == 1).sum(0), weight[:, rows]
    alike = (present * (present - 1) + (most - present) * (most - present - 1)) / (most * (most - 1))
    total = times.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = times @ present / (most * total)
        expected = share**2 + (1 - share) ** 2
        kappa = np.where(expected < 1 - EPSILON, (times @ alike / total - expected) / (1 - expected), np.nan)
    return kappa, len(rows), most


def kappa_bounds(kappa: Array, answer_RN: Answers, patient: NDArray[np.int32], most: int) -> tuple[float, float]:
    """Return the interval of Fleiss' kappa [1 + B], which `fleiss` computed from the images with `most` answers.

    (1 + kappa) / 2 is like a share: with two readers and as many present as absent answers, it is that of the images with equal
    answers. So it has the interval of `share_bounds`; in the worst case, of as many patients as would weigh as much with such answers.
    """
    rows = (answer_RN != NONE).sum(0) == most
    present = float((answer_RN[:, rows] == 1).sum() / (most * rows.sum()))
    patients, drawn = effective_patients(np.bincount(patient[rows])), kappa[None, 1:]
    variance = np.where(enough(drawn), deviation(drawn) ** 2 / 4 / (1 - 1 / np.maximum(patients, 2)), np.nan)
    sizes = np.array([most * rows.sum(), 4 * present * (1 - present) * patients])
    low, high = share_bounds((1 + kappa[:1]) / 2, variance, *sizes)
    return float(2 * low[0] - 1), float(2 * high[0] - 1)


def pairwise(answer_RN: Answers, patient: NDArray[np.int32], min_count: int) -> list[float]:
    """Return Cohen's kappa of each pair of readers who both answered for at least `min_count` patients."""
    pairs = combinations(range(len(answer_RN)), 2)
    kappas = [
        cohen(answer_RN[a], answer_RN[b])
        for a, b in pairs
        if len(set(patient[(answer_RN[a] != NONE) & (answer_RN[b] != NONE)])) >= min_count
    ]
    return [kappa for kappa in kappas if np.isfinite(kappa)]
