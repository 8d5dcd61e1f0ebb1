"""Effective robustness: external AUROC minus the AUROC that the internal AUROC predicts.

On the logit scale, external AUROC is close to a linear function of internal AUROC. Effective robustness is the external
AUROC minus the AUROC on this line. The line for a run is fitted to the other runs, so an outlier does not shift its own
line. Noise in internal AUROC makes the line too flat. The standard error follows from the covariance of all AUROCs and the
derivatives of the distance (delta method). So the interval describes the variation over patients, but not over runs.
Source: Taori et al. 2020, arXiv:2007.00644; Miller et al. 2021, arXiv:2107.04649.
Shapes: R runs.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.paired_tests import simultaneous
from bench.scoring.gaps.gap import MACRO
from bench.scoring.intervals import NORMAL_QUANTILE, plain_interval
from reports.schemas.tables import LEAST_RELATED, SCHEMAS

Array = NDArray[np.float64]
STEP = 1e-6  # change of an AUROC, for numerical derivatives


class RobustnessLine(NamedTuple):
    """A line on the logit scale: logit(external) = slope * logit(internal) + intercept."""

    slope: Array
    intercept: Array

    def expected(self, internal: Array) -> Array:
        """Predict the external AUROC from the internal AUROC."""
        return np.asarray(expit(self.slope * logit(internal) + self.intercept), np.float64)


def fit(internal: Array, external: Array) -> RobustnessLine:
    """Fit the least-squares line of logit(external) on logit(internal) over runs.

    The line is NaN if internal AUROC does not vary, or if an AUROC is 0, 1 or NaN.
    """
    x, y = _on_scale(internal), _on_scale(external)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = x - x.mean(0)
        square = (dx * dx).sum(0)
        slope = np.where(square > 1e-12, (dx * (y - y.mean(0))).sum(0) / square, np.nan)
    return RobustnessLine(slope, y.mean(0) - slope * x.mean(0))


def _on_scale(area: Array) -> Array:
    """Compute the logit of an AUROC; NaN if it is not above 0 and below 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((area > 0) & (area < 1), logit(area), np.nan)


def leave_one_out(internal: Array, external: Array) -> tuple[Array, Array]:
    """Compute external minus expected AUROC, and the expected AUROC: [R] each for R runs; [R, ...] for several studies.

    The expected AUROC of a run is on a line that is fitted to the other runs. This line is computed from the sums over
    all runs minus the run's own terms. Both results are NaN if an AUROC of another run is NaN, 0 or 1, and thus has no
    logit.
    """
    x, y = _on_scale(internal), _on_scale(external)
    valid = np.isfinite(x) & np.isfinite(y)
    num = valid.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = (np.where(valid, axis, 0.0).sum(0) / num for axis in (x, y))
        dx, dy = np.where(valid, x - mean_x, 0.0), np.where(valid, y - mean_y, 0.0)
        square = (dx * dx).sum(0) - dx * dx * num / (num - 1)
        cross = (dx * dy).sum(0) - dx * dy * num / (num - 1)
        slope = np.where((square > 1e-12) & (num - valid == len(internal) - 1), cross / square, np.nan)
        expected = RobustnessLine(slope, mean_y - dy / (num - 1) - slope * (mean_x - dx / (num - 1))).expected(internal)
    return external - expected, expected


def derivatives(internal: Array, external: Array) -> tuple[Array, Array]:
    """Compute the derivatives [R, R] of the R distances of `leave_one_out` by the internal AUROCs, and by the external AUROCs."""
    x, y, step = internal[:, None], external[:, None], STEP * np.eye(len(internal))
    by_internal = leave_one_out(x + step, y)[0] - leave_one_out(x - step, y)[0]
    by_external = leave_one_out(x, y + step)[0] - leave_one_out(x, y - step)[0]
    return by_internal / (2 * STEP), by_external / (2 * STEP)


def robustness(gaps: pd.DataFrame, covariances: Covariances) -> pd.DataFrame:
    """Build the table `robustness`: effective robustness of each run at each hospital and for the external mean ("external").

    AUROCs are macros over the findings that the internal and the external hospital score. A hospital has no rows if fewer
    than eight runs have a gap, or if all internal AUROCs are equal.
    """
    rows = []
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(covariances.ids)].sort_values("run_id", kind="stable")
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        if len(of_hospital) < LEAST_RELATED:
            continue
        run_ids = of_hospital["run_id"].tolist()
        internal, external = (of_hospital[side].to_numpy(np.float64) for side in ("internal", "external"))
        line = fit(internal, external)
        if not np.isfinite(line.slope):
            continue
        value, expected = leave_one_out(internal, external)
        by_internal, by_external = derivatives(internal, external)
        # the internal AUROC is the gap plus the external AUROC
        weights = {f"gap/{dataset}": by_internal, f"auroc/{dataset}": by_internal + by_external}
        covariance = covariances.of_combinations(run_ids, weights)
        half = NORMAL_QUANTILE * np.sqrt(np.diag(covariance))
        bounds = (*plain_interval(value, half), *simultaneous(value, covariance))
        for r, run_id in enumerate(run_ids):
            numbers = (value[r], *(bound[r] for bound in bounds), internal[r], external[r], expected[r])
            rows.append((run_id, dataset, *numbers, float(line.slope), float(line.intercept), len(run_ids)))
    columns = SCHEMAS["robustness"]
    kinds = dict.fromkeys(columns[2:-1], "float64") | {"num_runs": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
