"""The table `estimates` of one run, computed while the run is scored."""

import pandas as pd

from bench.extensions.estimates import estimate_rows
from bench.scoring.influence import Estimate
from bench.scoring.score_run import RunMetrics


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the table `estimates`, empty without a validation split; and no estimates of rankings."""
    rows: list[estimate_rows.Row] = []
    if run.val is not None:
        known = estimate_rows.internal_findings(run.val, run.points, run.settings)
        for split in run.headline:
            rows += estimate_rows.measured_rows(run.run_id, run.findings, split, run.settings)
        for split in run.external:
            rows += estimate_rows.rows(run.run_id, run.findings, known, split.scored.dataset, split.scored.logit)
    return {"estimates": estimate_rows.frame_of(rows)}, {}
