"""Estimates of scores whose errors are given as draws [B]: the influences have the covariance of the draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.across_runs.covariances import Covariances, StoredEstimates, Values
from bench.scoring.influence import Estimate, Influence

# run id -> name of a score -> its draws [B]; "draws": numbers that differ if the patients differ
Draws = Mapping[str, Mapping[str, NDArray[Any]]]


def stored(drawn: Draws) -> StoredEstimates:
    """Return the estimates of runs; the value of a score is the mean of its draws."""
    return StoredEstimates.of({run: {n: _estimate(of, n) for n in of if n != "draws"} for run, of in drawn.items()})


def covariances(drawn: Draws) -> Covariances:
    """Return the covariances of the scores of runs."""
    return Covariances(stored(drawn))


def values(drawn: Draws) -> Values:
    """Return the values of runs: the means of the draws."""
    return stored(drawn).values


def covariance(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance [R, R] of R numbers from their draws [R, B]."""
    return np.atleast_2d(np.cov(drawn))


def _estimate(of: Mapping[str, NDArray[Any]], name: str) -> Estimate:
    draws = np.asarray(of[name], np.float64)
    influence = (draws - draws.mean()) / np.sqrt(max(len(draws) - 1, 1))
    patients = "-".join(map(str, of.get("draws", [0])))
    return Estimate(float(draws.mean()), Influence({f"{len(draws)} patients#{patients}": influence}))
