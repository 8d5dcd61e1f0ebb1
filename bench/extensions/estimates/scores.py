"""The table `estimates` of one run, computed while the run is scored."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.estimates import estimate_rows
from bench.scoring.score_run import RunMetrics


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, NDArray[np.float32]]]:
    """Return the table `estimates`, empty without estimators or without a validation split; and no replicates."""
    rows: list[estimate_rows.Row] = []
    if run.val is not None and run.settings.estimators:
        known = estimate_rows.internal_findings(run.val, run.points, run.settings)
        for split in run.headline:
            rows += estimate_rows.measured_rows(run.run_id, run.findings, split, run.settings)
        for split in run.external:
            given = split.scored.dataset, split.scored.logit, run.settings.estimators
            rows += estimate_rows.rows(run.run_id, run.findings, known, *given)
    return {"estimates": estimate_rows.frame_of(rows)}, {}
