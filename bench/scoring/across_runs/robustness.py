"""Effective robustness: how much better a run reads externally than its AUROC at the internal hospital lets expect.

Better networks are better everywhere; on the logit scale external AUROC lies near a line over AUROC at the internal hospital. What counts is the
distance from that line. The line of a run is fitted to the others, or a run that stands apart would pull it to itself.
Source: Taori et al. 2020, arXiv:2007.00644; Miller et al. 2021, arXiv:2107.04649. With noisy AUROCs at the internal hospital the line is
too flat; the interval refits it in every replicate, so patients vary in it, the choice of runs does not.
Shapes: R runs, B replicates.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.scoring.across_runs.paired_tests import simultaneous
from bench.scoring.across_runs.ranks import Replicates, together
from bench.scoring.bootstrap.intervals import percentile
from bench.scoring.gaps.gap import MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
LEAST_RUNS = 4  # three points for a line, and one to hold against it


class Line(NamedTuple):
    """A line on the logit scale: logit(externally) = slope * logit(the internal hospital) + intercept."""

    slope: Array
    intercept: Array

    def expected(self, internal: Array) -> Array:
        """Return the external AUROC that belongs to one at the internal hospital."""
        return np.asarray(expit(self.slope * logit(internal) + self.intercept), np.float64)


def fit(internal: Array, external: Array) -> Line:
    """Return the least-squares line of logit(externally) on logit(the internal hospital) over runs, from [R] or, for each replicate, [R, B].

    NaN where the internal hospital does not vary, or an AUROC is 0, 1 or NaN.
    """
    x, y = _on_scale(internal), _on_scale(external)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = x - x.mean(0)
        square = (dx * dx).sum(0)
        slope = np.where(square > 1e-12, (dx * (y - y.mean(0))).sum(0) / square, np.nan)
    return Line(slope, y.mean(0) - slope * x.mean(0))


def _on_scale(area: Array) -> Array:
    """Return the logit, NaN of what is not inside 0 and 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((area > 0) & (area < 1), logit(area), np.nan)


def left_out(internal: Array, external: Array) -> tuple[Array, Array]:
    """Return externally less what the line over the other runs expects [R] or [R, B], and the expected AUROC.

    All lines at once: what one run adds to the sums is taken out of them. NaN where another run has no logit.
    """
    x, y = _on_scale(internal), _on_scale(external)
    valid = np.isfinite(x) & np.isfinite(y)
    num = valid.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = (np.where(valid, each, 0.0).sum(0) / num for each in (x, y))
        dx, dy = np.where(valid, x - mean_x, 0.0), np.where(valid, y - mean_y, 0.0)
        square = (dx * dx).sum(0) - dx * dx * num / (num - 1)
        cross = (dx * dy).sum(0) - dx * dy * num / (num - 1)
        slope = np.where((square > 1e-12) & (num - valid == len(internal) - 1), cross / square, np.nan)
        expected = Line(slope, mean_y - dy / (num - 1) - slope * (mean_x - dx / (num - 1))).expected(internal)
    return external - expected, expected


def robustness(gaps: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Return the table `robustness`: one row per run and hospital, and for the mean over hospitals ("external").

    AUROCs are macros over the findings that both sides have. Fewer than four runs, or runs that are alike at the internal hospital, make
    no line: no rows.
    """
    rows = []
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(list(replicates))].sort_values("run_id", kind="stable")
    for dataset, found in macro.groupby("dataset", sort=True):
        if len(found) < LEAST_RUNS:
            continue
        run_ids = found["run_id"].tolist()
        internal, external = (found[side].to_numpy(np.float64) for side in ("internal", "external"))
        line = fit(internal, external)
        if not np.isfinite(line.slope):
            continue
        drawn_external = together(run_ids, f"auroc/{dataset}", replicates)
        drawn_internal = together(run_ids, f"gap/{dataset}", replicates) + drawn_external
        value, expected = left_out(internal, external)
        distances, _ = left_out(drawn_internal, drawn_external)
        bounds = (*percentile(value, distances), *simultaneous(value, distances))
        for r, run_id in enumerate(run_ids):
            numbers = (value[r], *(bound[r] for bound in bounds), internal[r], external[r], expected[r])
            rows.append((run_id, dataset, *numbers, float(line.slope), float(line.intercept), len(run_ids)))
    columns = SCHEMAS["robustness"]
    kinds = dict.fromkeys(columns[2:-1], "float64") | {"num_runs": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
