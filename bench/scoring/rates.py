"""Intervals of the rates of calls at a threshold: F1, precision, sensitivity, specificity and NPV.

All tables with such a rate use these functions, so they have the same interval for the same rate.
Shapes: Q cuts (numbers of images that are called positive), M rates (CALL_METRICS), P patients, B replicates.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import effective_patients
from bench.scoring.bootstrap.bootstrap import CALL_METRICS
from bench.scoring.bootstrap.intervals import share_interval
from bench.scoring.bootstrap.sorted_images import Column

Array = NDArray[np.float64]
F1 = CALL_METRICS.index("f1")


def sizes(column: Column, cut_Q: NDArray[np.int64], num_patients: int) -> Array:
    """Return the numbers of images and the effective numbers of patients [2, M, Q] of which CALL_METRICS are shares.

    The first images of the column are called positive. F1 has the called and the positive images. 0 without images.
    """
    positive, patient = column.positive, column.patient

    def of_patients(rows: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.bincount(rows, minlength=num_patients)

    present, labeled = of_patients(patient[positive]), of_patients(patient)
    out = np.zeros((2, len(CALL_METRICS), len(cut_Q)))
    for q, cut in enumerate(cut_Q.tolist()):
        called, found = of_patients(patient[:cut]), of_patients(patient[:cut][positive[:cut]])
        images_MP = np.stack([called + present - found, called, present, labeled - present, labeled - called])
        out[:, :, q] = images_MP.sum(1), effective_patients(images_MP)
    return out


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
