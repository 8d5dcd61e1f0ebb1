"""The table `estimators` of a report: how wrong the estimators of scores without labels are at the labeled hospitals."""

import numpy as np
import pandas as pd

from bench.extensions.estimates.accuracy_of_estimators import estimator_table
from bench.extensions.estimates.compared_runs import MOST_COMPARED, compared_at_hospitals, internal_findings_of
from bench.extensions.estimates.known_values import known_values
from bench.results.cross_run_tables import ScoredRuns
from bench.results.read_predictions import load_scores
from reports.schemas.tables import SCHEMAS

MOST_ESTIMATED = 100  # number of ranked runs, the first of the grid: more runs would hardly change the errors


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the tables `estimates` of the first MOST_ESTIMATED runs, and `estimators`.

    The table `estimators` is empty without estimates and without external hospitals.
    """
    manifest, findings = runs.manifest, runs.findings
    stored = load_scores(manifest, runs.run_ids[:MOST_ESTIMATED], "estimates")
    run_ids = [str(run_id) for run_id in stored["run_id"].unique()] if len(stored) else []
    hospitals = [cohort.name for cohort in manifest.external]
    if not run_ids or not hospitals:
        return {"estimates": stored, "estimators": pd.DataFrame(columns=list(SCHEMAS["estimators"]))}
    estimates = stored
    if len(run_ids) <= MOST_COMPARED:
        rows = compared_at_hospitals(manifest, findings, internal_findings_of(manifest, run_ids, findings))
        estimates = pd.concat([stored, rows], ignore_index=True)
    known = known_values(estimates, run_ids, findings, manifest.source, hospitals)
    num_images = [len(manifest.table(cohort)) for cohort in manifest.external]
    drawn = np.stack([[runs.replicates[run_id][f"auroc/{name}"] for run_id in run_ids] for name in hospitals])
    return {"estimates": stored, "estimators": estimator_table(known, manifest.estimators, num_images, drawn)}
