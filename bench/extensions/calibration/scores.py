"""The table of calibration of one run, computed while the run is scored."""

from typing import Any

import numpy as np
import pandas as pd

from bench.extensions.calibration.fits import calibration
from bench.extensions.calibration.schemas import SCHEMAS
from bench.scoring.calibrators import Platt
from bench.scoring.influence import Estimate
from bench.scoring.metrics_of_split import AS_GIVEN, DECIDING
from bench.scoring.score_rows import frame
from bench.scoring.score_run import RunMetrics


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the table of SCHEMAS, and no estimates of rankings; a pool of training hospitals counts as one hospital."""
    rows: list[tuple[Any, ...]] = []
    for split in run.headline:
        for k, (finding, column) in enumerate(zip(run.findings, split.columns, strict=True)):
            platt = run.points.fits[DECIDING][k]
            assert isinstance(platt, Platt)
            positive = column.positive
            scales = [(1.0, 0.0), (platt.a, platt.b)]
            sizes = [
                int(numbers[k]) for numbers in (split.counts.n, split.counts.num_positive, split.counts.num_patients)
            ]
            found = calibration(column.score.astype(np.float64), positive, column.patient, scales)
            for calibrator, one in zip((AS_GIVEN, DECIDING), found, strict=True):
                numbers = (*one.intercept, *one.slope, *one.observed_expected)
                rows.append((run.run_id, split.scored.dataset, finding, calibrator, *numbers, *sizes, one.reason))
    return {"calibration": frame(rows, SCHEMAS["calibration"])}, {}
