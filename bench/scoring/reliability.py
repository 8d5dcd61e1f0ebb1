"""Calibration curves of a split: smooth curves of all findings at the mean probability of each bin.

Shapes: n pairs of image and finding, G bins.
"""

from typing import Any

import numpy as np

from bench.scoring.metrics_of_split import AS_GIVEN, DECIDING, SplitMetrics
from bench.scoring.smooth_calibration import smooth_curve


def rows(run_id: str, measured: SplitMetrics, bins: int) -> list[tuple[Any, ...]]:
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
