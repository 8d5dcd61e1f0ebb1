"""Test whether the features of two groups of images have the same distribution, with patients as units.

A small p value says that the groups differ. It does not say that predictions are worse: with enough patients, the test
rejects for any two hospitals. `shuffled_control` shows how often the same test rejects if there is no difference.

Shapes: M and N images of two groups, D features, P patients of both groups, B permutations.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.metrics import require_finite
from harmonize.seeds import stream

Array = NDArray[np.float64]

MAX_PATIENTS = 500  # maximum number of patients of a group; the time increases with the square of this number
MIN_PATIENTS = 20  # minimum number of patients of a group
NUM_PERMUTATIONS = 999
NUM_HALVINGS = 20  # number of random halvings of `shuffled_control`


@dataclass(frozen=True, slots=True)
class TwoSampleTest:
    """Result of `two_sample_test`. `p`: from 1 / 1,000 to 1. `patients`: numbers of patients in the two groups."""

    p: float
    patients: tuple[int, int]


def two_sample_test(
    feature_MD: NDArray[np.floating],
    patient_M: NDArray[Any],
    feature_ND: NDArray[np.floating],
    patient_N: NDArray[Any],
    seed: int = 0,
) -> TwoSampleTest:
    """Test whether two hospitals have the same distribution of features; no patient may be in both groups.

    Each patient has one image in the test: the first. A group has at most MAX_PATIENTS patients, chosen at random. Each feature is
    divided by its standard deviation over both groups. The statistic is the squared maximum mean discrepancy with a
    Gaussian kernel; its width is the median distance between patients. The p value is the share of permutations of patients
    with at least this statistic. The test is exact: it rejects equal distributions with probability `alpha` at most.
    Source: Gretton et al. 2012, JMLR 13, 723. Raises ValueError for features that are not finite, and for fewer than
    MIN_PATIENTS patients in a group.
    """
    generator = stream(seed, "two-sample test")
    groups = [_one_per_patient(feature_MD, patient_M, generator), _one_per_patient(feature_ND, patient_N, generator)]
    kernel_PP = _kernel(np.concatenate(groups))
    p = _permutation_p(kernel_PP, len(groups[0]), generator)
    return TwoSampleTest(p, (len(groups[0]), len(groups[1])))


def shuffled_control(feature_MD: NDArray[np.floating], patient_M: NDArray[Any], seed: int = 0) -> Array:
    """Return the p values [NUM_HALVINGS] of the same test between random halves of the patients of one hospital.

    The halves have the same distribution, so about 5 % of the p values should be at most .05. Raises ValueError as
    `two_sample_test`, and for fewer than 2 x MIN_PATIENTS patients.
    """
    generator = stream(seed, "two-sample control")
    x_PD = _one_per_patient(feature_MD, patient_M, generator, 2 * MIN_PATIENTS)
    kernel_PP = _kernel(x_PD)
    orders = [generator.permutation(len(x_PD)) for _ in range(NUM_HALVINGS)]
    return np.array([_permutation_p(kernel_PP[np.ix_(order, order)], len(order) // 2, generator) for order in orders])


def _one_per_patient(
    feature_ND: NDArray[np.floating], patient_N: NDArray[Any], generator: np.random.Generator, least: int = MIN_PATIENTS
) -> Array:
    """Return the features of the first image of each patient, for at most MAX_PATIENTS random patients."""
    require_finite(feature_ND, "features of a two-sample test")
    first = np.unique(np.asarray(patient_N, dtype=str), return_index=True)[1]
    if len(first) < least:
        raise ValueError(f"the test needs {least} patients, not {len(first)}")
    return np.asarray(feature_ND[generator.permutation(first)[:MAX_PATIENTS]], np.float64)


def _kernel(x_PD: Array) -> Array:
    """Return the Gaussian kernel [P, P]. It does not depend on the groups, so patients can be permuted."""
    spread_D = x_PD.std(0)
    scaled_PD = (x_PD - x_PD.mean(0)) / np.where(spread_D > 0, spread_D, 1)
    length_P = (scaled_PD**2).sum(1)
    square_PP = np.maximum(length_P[:, None] + length_P - 2 * scaled_PD @ scaled_PD.T, 0)
    width = np.median(square_PP[np.triu_indices(len(x_PD), 1)])
    return np.asarray(np.exp(-square_PP / (width if width > 0 else 1)))


def _permutation_p(kernel_PP: Array, num_first: int, generator: np.random.Generator) -> float:
    """Return the p value for the groups `[:num_first]` and `[num_first:]`."""
    num = len(kernel_PP)
    weight_P = np.where(np.arange(num) < num_first, 1 / num_first, -1 / (num - num_first))
    weight_BP = np.stack([weight_P, *(generator.permutation(weight_P) for _ in range(NUM_PERMUTATIONS))])
    discrepancy_B = ((weight_BP @ kernel_PP) * weight_BP).sum(1)
    # a permutation that only exchanges patients inside the groups may differ by a rounding error
    return float((discrepancy_B >= discrepancy_B[0] - 1e-12).mean())


__all__ = ["TwoSampleTest", "shuffled_control", "two_sample_test"]
