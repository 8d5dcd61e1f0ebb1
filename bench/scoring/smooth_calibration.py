"""A smooth calibration curve with a 95 % band over patients, for probabilities of any number of findings.

The curve is a logistic regression of the labels on a restricted cubic spline of the logit of the probability (linear beyond the
outer knots). The variance is the sandwich estimator, whose terms are summed by patient first, so images of a patient need not be
independent; the band is pointwise, on the logit scale, with a t distribution whose degrees of freedom are the patients of the
rarer class minus 1, and the factor P / (P - J) for P patients.
Sources: Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7 (flexible calibration curves); Harrell 2015, section 2.4.5 (spline,
knots); Liang and Zeger 1986, doi:10.1093/biomet/73.1.13 (sandwich by cluster).
Shapes: n images (or pairs of image and finding), G points of the curve, J coefficients.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from bench.scoring.calibration_metrics import LEAST
from bench.scoring.metrics_of_split import AS_GIVEN, DECIDING, SplitMetrics

Array = NDArray[np.float64]
KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles of the logits; Harrell's for four knots
GROUPS = 2000  # images with similar logits form a group; the fit to the groups is the start of the fit to the images
STEPS = 25  # maximum number of Newton steps


def reliability_rows(run_id: str, measured: SplitMetrics, bins: int) -> list[tuple[Any, ...]]:
    """Return the rows of the table `reliability`: `bins` points of each curve, uncalibrated and after Platt scaling."""
    found: list[tuple[Any, ...]] = []
    for calibrator in (AS_GIVEN, DECIDING):
        used = [
            (column, of[calibrator])
            for column, of in zip(measured.columns, measured.probabilities, strict=True)
            if calibrator in of and len(of[calibrator].prob) and of[calibrator].fitted
        ]
        if not used:
            continue
        prob, bin_n = (np.concatenate([getattr(of, name) for _, of in used]) for name in ("prob", "bin"))
        positive, patient = (np.concatenate([getattr(of, name) for of, _ in used]) for name in ("positive", "patient"))
        count = np.bincount(bin_n, minlength=bins)
        filled = count > 0
        mean = np.divide(np.bincount(bin_n, prob, bins), count, out=np.full(bins, np.nan), where=filled)
        smooth = np.full((3, bins), np.nan)
        smooth[:, filled] = smooth_curve(prob, positive, patient, mean[filled])
        points = zip(range(bins), mean.tolist(), count.tolist(), *smooth.tolist(), strict=True)
        found += [(run_id, measured.scored.dataset, calibrator, *point) for point in points]
    return found


def smooth_curve(
    prob: Array, positive: NDArray[np.bool_], patient: NDArray[np.integer], at: Array
) -> tuple[Array, Array, Array]:
    """Return the observed share of the finding at the probabilities `at` [G], and the bounds of its band.

    prob, positive and patient (indices) [n]. All numbers are NaN if a class has fewer than two patients, if
    there are fewer than five patients, if the probabilities are equal, or if they separate the classes.
    """
    unknown = (np.full(len(at), np.nan),) * 3
    classes = [np.bincount(patient[of]) for of in (positive, ~positive)]
    num_of_class = min(np.count_nonzero(numbers) for numbers in classes)
    x = logit(np.clip(prob, LEAST, 1 - LEAST))
    num_patients = np.count_nonzero(np.bincount(patient))
    if num_of_class < 2 or num_patients <= len(KNOTS) or np.ptp(x) < 1e-9:
        return unknown
    knots = np.unique(np.quantile(x, KNOTS))
    start = _grouped_fit(x, positive, knots)
    if start is None:
        return unknown
    design = _basis(x, knots)
    fitted = expit(design @ start)
    information = design.T @ (design * (fitted * (1 - fitted))[:, None])
    residual = positive - fitted
    of_patient = np.stack([np.bincount(patient, column * residual) for column in design.T], 1)
    bread = np.linalg.pinv(information)
    coefficients = start + bread @ of_patient.sum(0)  # the last Newton step
    variance = bread @ (of_patient.T @ of_patient) @ bread * num_patients / (num_patients - design.shape[1])
    points = _basis(logit(np.clip(at, LEAST, 1 - LEAST)), knots)
    middle = points @ coefficients
    half = stdtrit(num_of_class - 1, 0.975) * np.sqrt(np.einsum("gj,jk,gk->g", points, variance, points))
    return expit(middle), expit(middle - half), expit(middle + half)


def _basis(x: Array, knots: Array) -> Array:
    """Return the restricted cubic spline [n, J] of x [n]: 1, x, and one column for each knot but the last two."""
    columns = [np.ones_like(x), x]
    if len(knots) > 2:
        *inner, before, last = knots
        above = {knot: np.maximum(x - knot, 0.0) ** 3 for knot in knots}
        for knot in inner:
            ends = (last - knot) * above[before] - (before - knot) * above[last]
            columns.append((above[knot] - ends / (last - before)) / (last - knots[0]) ** 2)
    return np.stack(columns, 1)


def _grouped_fit(x: Array, positive: NDArray[np.bool_], knots: Array) -> Array | None:
    """Fit the regression to up to GROUPS groups of images, by Newton's method; None without convergence."""
    lowest = x.min()
    group = np.minimum(((x - lowest) / (np.ptp(x) / GROUPS)).astype(np.int64), GROUPS - 1)
    num, present, total = (np.bincount(group, weights, GROUPS) for weights in (None, positive, x))
    used = num > 0
    num, present = num[used], present[used]
    design = _basis(total[used] / num, knots)
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = logit(present.sum() / num.sum())
    for _ in range(STEPS):
        fitted = expit(design @ coefficients)
        gradient = design.T @ (present - num * fitted)
        try:
            step = np.linalg.solve(design.T @ (design * (num * fitted * (1 - fitted))[:, None]), gradient)
        except np.linalg.LinAlgError:
            return None
        size = float(np.abs(design @ step).max())  # the largest change of a logit
        if size < 1e-3:
            return np.asarray(coefficients + step)
        coefficients += step * min(1.0, 3.0 / size)
    return None
