"""From replicates to 95 % intervals.

Shapes: value [...], replicates [..., B] with NaN where a replicate could not be computed. A cell has an interval only
if at least 95 % of its replicates could be.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

Array = NDArray[np.float64]

LEVEL = 0.95
VALID_SHARE = 0.95


def enough(replicates: Array) -> NDArray[np.bool_]:
    """Return where at least 95 % of the replicates are numbers."""
    if replicates.shape[-1] == 0:
        return np.zeros(replicates.shape[:-1], bool)
    return np.asarray(np.isfinite(replicates).mean(-1) >= VALID_SHARE)


def percentile(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the 2.5th and 97.5th percentile of the valid replicates; NaN without a value or enough of them."""
    low = np.full(np.shape(value), np.nan)
    high = low.copy()
    fine = enough(replicates) & np.isfinite(value)
    if fine.any():
        share = (1 - LEVEL) / 2
        whole = fine & np.isfinite(replicates).all(-1)  # nearly all: without NaN the same quantiles come much faster
        for chosen, quantile in ((whole, np.quantile), (fine & ~whole, np.nanquantile)):
            if chosen.any():
                low[chosen], high[chosen] = quantile(replicates[chosen], [share, 1 - share], axis=-1)
    return low, high


def of_area(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the interval of an area under a curve: normal on the logit scale, with the replicates' standard deviation.

    Near 1 an area's estimates lie skewed, and percentiles miss the truth above too often: in `benchmarks/coverage.py` they
    hold it in 92 % of cases at AUROC .95. Where a replicate is 0 or 1 the logit has no value and percentiles are given.
    Source: Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2.4; Boyd et al. 2013,
    doi:10.1007/978-3-642-40994-3_29, for precision and recall.
    """
    low, high = percentile(value, replicates)
    inside = np.isfinite(low) & (value > 0) & (value < 1)
    inside &= ~((replicates <= 0) | (replicates >= 1)).any(-1)
    if inside.any():
        half = float(ndtri((1 + LEVEL) / 2)) * np.nanstd(logit(replicates[inside]), axis=-1, ddof=1)
        centre = logit(value[inside])
        low[inside], high[inside] = expit(centre - half), expit(centre + half)
    return low, high


def reflected(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the mirrored interval of what is never below 0."""
    low, high = mirrored(value, replicates)
    return np.maximum(low, 0.0), high


def mirrored(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the percentile interval mirrored at the value and stretched to hold it.

    For the calibration error: a distance grows when noise is added, so its replicates lie above the estimate just as
    the estimate lies above the truth. Mirroring takes that bias out instead of doubling it (the "basic" bootstrap).
    Source: Davison and Hinkley 1997, equation 5.6.
    """
    low, high = percentile(value, replicates)
    return np.minimum(2 * value - high, value), np.maximum(2 * value - low, value)


def mean_of(value: Array, replicates: Array) -> tuple[float, Array]:
    """Return the mean over the cells that have a value, and its replicates [B], from value [K] and replicates [K, B].

    A replicate that lacks a cell takes the mean deviation of the others: leaving the cell out would mix the
    differences between cells into the noise. All NaN when a cell has too few replicates for an interval of its own.
    """
    known = np.isfinite(value)
    if not known.any():
        return float("nan"), np.full(replicates.shape[-1], np.nan)
    centre = float(value[known].mean())
    if not enough(replicates[known]).all():
        return centre, np.full(replicates.shape[-1], np.nan)
    deviation = replicates[known] - value[known, None]
    valid = np.isfinite(deviation)
    count = valid.sum(0)
    total = np.where(valid, deviation, 0.0).sum(0)
    return centre, centre + np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def wilson(share: Array, num: Array) -> tuple[Array, Array]:
    """Return Wilson's interval of a share seen in `num` independent draws (num may be fractional: an effective number).

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. Unlike the bootstrap it has a width at 0 and at 1.
    """
    z = float(ndtri((1 + LEVEL) / 2))
    scale = 1 + z * z / num
    centre = (share + z * z / (2 * num)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return np.clip(centre - half, 0.0, share), np.clip(centre + half, share, 1.0)
