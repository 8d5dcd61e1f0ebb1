"""Estimators that compare the calls of several runs on the same images.

Each function gets, for one finding, `internal_of_runs`: what is known of each run (see `InternalFinding`), all with the same validation images;
`recipes`: the recipe of each run (runs of one recipe differ only in the seed); and the logits [R, N] at the hospital without
labels. It returns {quantity: values [R]}, NaN where there is nothing to compare.
Shapes: R runs, N images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.extensions.estimates.quantities import Array, InternalFinding

_LEAST_PAIRS = 3  # a line through fewer points fits nothing


def agreement(
    internal_of_runs: Sequence[InternalFinding], recipes: Sequence[str], logit_RN: Array
) -> Mapping[str, Array]:
    """Estimate accuracy as the share of images on which a run and the other seeds of its recipe make the same call.

    The estimate is right if an ensemble of seeds is calibrated at the new hospital.
    Source: Jiang et al. 2022, arXiv:2106.13799.
    """
    agree = _agreement(_calls(internal_of_runs, list(logit_RN)))
    same = np.array([[a == b for b in recipes] for a in recipes]) & ~np.eye(len(recipes), dtype=bool)
    with np.errstate(invalid="ignore"):
        return {"accuracy": (same * agree).sum(1) / np.where(same.any(1), same.sum(1), np.nan)}


def agreement_line(
    internal_of_runs: Sequence[InternalFinding],
    recipes: Sequence[str],  # noqa: ARG001 - all have the same arguments
    logit_RN: Array,
) -> Mapping[str, Array]:
    """Estimate accuracy with the line between the runs' internal and external agreement.

    On the probit scale, external accuracy is often a linear function of internal accuracy, and the line of the agreement
    of pairs of runs has the same slope and intercept. NaN with fewer than 3 pairs.
    Source: Baek et al. 2022, arXiv:2206.13089 (ALine-S).
    """
    num_runs = len(internal_of_runs)
    first, second = np.triu_indices(num_runs, 1)
    missing = {"accuracy": np.full(num_runs, np.nan)}
    if len(first) < _LEAST_PAIRS:
        return missing
    internal = _agreement(_calls(internal_of_runs, [internal.logit for internal in internal_of_runs]))[first, second]
    external = _agreement(_calls(internal_of_runs, list(logit_RN)))[first, second]
    inside = (internal > 0) & (internal < 1) & (external > 0) & (external < 1)
    x, y = ndtri(internal[inside]), ndtri(external[inside])
    if len(x) < _LEAST_PAIRS or np.ptp(x) < 1e-9:
        return missing
    slope, intercept = np.polyfit(x, y, 1)
    accuracy = np.array([float(internal.correct().mean()) for internal in internal_of_runs])
    with np.errstate(divide="ignore", invalid="ignore"):  # an accuracy of 0 or 1 has no probit
        return {
            "accuracy": np.where((accuracy > 0) & (accuracy < 1), ndtr(slope * ndtri(accuracy) + intercept), np.nan)
        }


def _calls(internal_of_runs: Sequence[InternalFinding], logits: Sequence[Array]) -> NDArray[np.bool_]:
    """Return the calls [R, N] at the threshold of each run."""
    return np.stack([internal.calls(logit) for internal, logit in zip(internal_of_runs, logits, strict=True)])


def _agreement(called_RN: NDArray[np.bool_]) -> Array:
    """Compute the share of images on which two runs make the same call, for all pairs of runs [R, R]; NaN without images."""
    if not called_RN.shape[1]:
        return np.full((len(called_RN), len(called_RN)), np.nan)
    sign = np.where(called_RN, 1.0, -1.0)
    return np.asarray((sign @ sign.T / sign.shape[1] + 1) / 2)
