"""Rates of calls at a threshold: F1, precision, sensitivity, specificity and NPV, with influences and intervals.

All tables with such a rate use these functions, so they have the same interval for the same rate.
Shapes: n images, Q cuts (numbers of images that are called positive), M rates (CALL_METRICS), P patients.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import effective_patients
from bench.scoring.column import Column
from bench.scoring.influence import error_of, ratio
from bench.scoring.intervals import share_interval
from bench.scoring.sample import Sample

Array = NDArray[np.float64]
CALL_METRICS = ("f1", "precision", "sensitivity", "specificity", "npv")
F1 = CALL_METRICS.index("f1")


class Rates(NamedTuple):
    """The CALL_METRICS of one finding at Q cuts: value [M, Q], influence [M, Q, P], and low and high [2, M, Q]; NaN without images."""

    value: Array
    influence: Array
    bounds: Array

    @classmethod
    def of(cls, column: Column, cut_Q: NDArray[np.int64], sample: Sample) -> "Rates":
        """Compute the rates; the first images of the column are called positive.

        All are shares except F1. F1 / (2 - F1) is the share of true positives among called or positive images, so the interval
        of this share gives the interval of F1. F1 is NaN without positive images.
        """
        numerators, denominators = shares(column, cut_Q)
        value, of_images = ratio(numerators, denominators)
        influence = sample.sums(of_images, column.rows)
        sizes = sizes_of(column, denominators, sample.num_patients)
        bounds = np.stack(share_interval(value, error_of(influence), *sizes))
        bounds[:, F1] = 2 * bounds[:, F1] / (1 + bounds[:, F1])
        influence[F1] *= (2 / (1 + value[F1]) ** 2)[:, None]
        hit, either = numerators[F1].sum(-1), denominators[F1].sum(-1)
        value[F1] = 2 * hit / np.maximum(either + hit, 1)
        if not column.positive.any():
            value[F1], influence[F1], bounds[:, F1] = np.nan, np.nan, np.nan
        return cls(value, influence, bounds)


def shares(column: Column, cut_Q: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the images in the numerators and in the denominators [M, Q, n] of the rates, as shares."""
    called = np.arange(len(column.rows)) < np.asarray(cut_Q, np.int64)[:, None]
    positive = np.broadcast_to(column.positive, called.shape)
    hit = called & positive
    part = np.stack([hit, hit, hit, ~called & ~positive, ~called & ~positive])
    return part, np.stack([called | positive, called, positive, ~positive, ~called])


def sizes_of(column: Column, chosen: NDArray[np.bool_], num_patients: int) -> Array:
    """Return the numbers of images and the effective numbers of patients [2, ...] of shares of some images of a column [..., n].

    The effective numbers are from `effective_patients`. 0 without images.
    """
    images = np.zeros((*chosen.shape[:-1], num_patients), np.int64)
    for index in np.ndindex(chosen.shape[:-1]):
        images[index] = np.bincount(column.patient[chosen[index]], minlength=num_patients)
    return np.stack([images.sum(-1).astype(np.float64), effective_patients(images)])
