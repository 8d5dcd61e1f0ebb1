"""Intervals of the rates of calls at a threshold: F1, precision, sensitivity, specificity and NPV.

All tables with such a rate use these functions, so they have the same interval for the same rate.
Shapes: Q cuts (numbers of images that are called positive), M rates (CALL_METRICS), P patients, B replicates.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import effective_patients
from bench.scoring.bootstrap.bootstrap import CALL_METRICS
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import share_interval
from bench.scoring.bootstrap.sorted_images import Column

Array = NDArray[np.float64]
F1 = CALL_METRICS.index("f1")


def sizes(column: Column, cut_Q: NDArray[np.int64], num_patients: int) -> Array:
    """Return the numbers of images and the effective numbers of patients [2, M, Q] of which CALL_METRICS are shares.

    The first images of the column are called positive. F1 has the called and the positive images. 0 without images.
    The effective numbers are those of `effective_patients`.
    """
    cut_Q = np.asarray(cut_Q, np.int64)
    # sorted here, because numba would compile its own sort for a second
    images, squares = _sums(column.patient, column.positive, cut_Q, np.argsort(cut_Q), num_patients)
    return np.stack([images, np.divide(images**2, squares, out=np.zeros(images.shape), where=squares > 0)])


def sizes_of_all(column: Column, num_patients: int) -> Array:
    """Return the number of images of a column and their effective number of patients [2], for shares of all images."""
    images = np.bincount(column.patient, minlength=num_patients)
    return np.array([images.sum(), effective_patients(images)], np.float64)


@compiled
def _sums(
    patient: NDArray[np.int32],
    positive: NDArray[np.bool_],
    cut_Q: NDArray[np.int64],
    order_Q: NDArray[np.int64],
    num_patients: int,
) -> tuple[Array, Array]:
    """Return the sums of images and of squared images over patients [M, Q] of each metric, in one pass over the images."""
    either, called, other = np.zeros(num_patients), np.zeros(num_patients), np.zeros(num_patients)
    present, absent = np.zeros(num_patients), np.zeros(num_patients)
    for i in range(patient.shape[0]):
        other[patient[i]] += 1
        present[patient[i]] += positive[i]
        absent[patient[i]] += not positive[i]
    either += present
    # called or positive; called; positive; negative; not called
    images = np.array([present.sum(), 0.0, present.sum(), absent.sum(), other.sum()])
    squares = np.array([(present**2).sum(), 0.0, (present**2).sum(), (absent**2).sum(), (other**2).sum()])
    all_images, all_squares, first = np.zeros((5, cut_Q.shape[0])), np.zeros((5, cut_Q.shape[0])), 0
    for q in order_Q:
        for i in range(first, cut_Q[q]):
            p = patient[i]
            if not positive[i]:
                images[0] += 1
                squares[0] += 2 * either[p] + 1
                either[p] += 1
            images[1] += 1
            squares[1] += 2 * called[p] + 1
            called[p] += 1
            images[4] -= 1
            squares[4] -= 2 * other[p] - 1
            other[p] -= 1
        first = cut_Q[q]
        for m in range(5):  # numba compiles the check of shapes of an assigned column for seconds
            all_images[m, q], all_squares[m, q] = images[m], squares[m]
    return all_images, all_squares


def intervals(value_MQ: Array, replicates_MQB: Array, sizes_2MQ: Array) -> Array:
    """Compute low and high [2, M, Q] of the CALL_METRICS; NaN where the value is NaN.

    All are shares except F1. F1 / (2 - F1) is the share of true positives among called or positive images, so the interval
    of this share gives that of F1.
    """
    value, replicates = value_MQ.copy(), replicates_MQB.copy()
    value[F1], replicates[F1] = value[F1] / (2 - value[F1]), replicates[F1] / (2 - replicates[F1])
    bounds = np.stack(share_interval(value, replicates, *sizes_2MQ))
    bounds[:, F1] = 2 * bounds[:, F1] / (1 + bounds[:, F1])
    return bounds
