"""Effective robustness: how much better a run reads away than its AUROC at home lets expect.

Better networks are better everywhere; on the logit scale AUROC away lies near a line over AUROC at home. What counts is the
distance from that line. The line of a run is fitted to the others, or a run that stands apart would pull it to itself.
Source: Taori et al. 2020, arXiv:2007.00644; Miller et al. 2021, arXiv:2107.04649. With noisy AUROCs at home the line is
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
    """A line on the logit scale: logit(away) = slope * logit(home) + intercept."""

    slope: Array
    intercept: Array

    def expected(self, home: Array) -> Array:
        """Return the AUROC away that belongs to one at home."""
        return np.asarray(expit(self.slope * logit(home) + self.intercept), np.float64)


def fit(home: Array, away: Array) -> Line:
    """Return the least-squares line of logit(away) on logit(home) over runs, from [R] or, for each replicate, [R, B].

    NaN where home does not vary, or an AUROC is 0, 1 or NaN.
    """
    x, y = _on_scale(home), _on_scale(away)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = x - x.mean(0)
        square = (dx * dx).sum(0)
        slope = np.where(square > 1e-12, (dx * (y - y.mean(0))).sum(0) / square, np.nan)
    return Line(slope, y.mean(0) - slope * x.mean(0))


def _on_scale(area: Array) -> Array:
    """Return the logit, NaN of what is not inside 0 and 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((area > 0) & (area < 1), logit(area), np.nan)


def left_out(home: Array, away: Array) -> tuple[Array, Array]:
    """Return away less what the line over the other runs expects [R] or [R, B], and the expected AUROC.

    All lines at once: what one run adds to the sums is taken out of them. NaN where another run has no logit.
    """
    x, y = _on_scale(home), _on_scale(away)
    valid = np.isfinite(x) & np.isfinite(y)
    num = valid.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = (np.where(valid, each, 0.0).sum(0) / num for each in (x, y))
        dx, dy = np.where(valid, x - mean_x, 0.0), np.where(valid, y - mean_y, 0.0)
        square = (dx * dx).sum(0) - dx * dx * num / (num - 1)
        cross = (dx * dy).sum(0) - dx * dy * num / (num - 1)
        slope = np.where((square > 1e-12) & (num - valid == len(home) - 1), cross / square, np.nan)
        expected = Line(slope, mean_y - dy / (num - 1) - slope * (mean_x - dx / (num - 1))).expected(home)
    return away - expected, expected


def robustness(gaps: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Return the table `robustness`: one row per run and hospital, and for the mean over hospitals ("away").

    AUROCs are macros over the findings that both sides have. Fewer than four runs, or runs that are alike at home, make
    no line: no rows.
    """
    rows = []
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(list(replicates))].sort_values("run_id", kind="stable")
    for dataset, found in macro.groupby("dataset", sort=True):
        if len(found) < LEAST_RUNS:
            continue
        run_ids = found["run_id"].tolist()
        home, away = (found[side].to_numpy(np.float64) for side in ("home", "away"))
        line = fit(home, away)
        if not np.isfinite(line.slope):
            continue
        drawn_away = together(run_ids, f"auroc/{dataset}", replicates)
        drawn_home = together(run_ids, f"gap/{dataset}", replicates) + drawn_away
        value, expected = left_out(home, away)
        distances, _ = left_out(drawn_home, drawn_away)
        bounds = (*percentile(value, distances), *simultaneous(value, distances))
        for r, run_id in enumerate(run_ids):
            numbers = (value[r], *(bound[r] for bound in bounds), home[r], away[r], expected[r])
            rows.append((run_id, dataset, *numbers, float(line.slope), float(line.intercept), len(run_ids)))
    columns = SCHEMAS["robustness"]
    kinds = dict.fromkeys(columns[2:-1], "float64") | {"num_runs": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
