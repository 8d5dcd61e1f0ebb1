"""The table `estimators` of a report: how wrong the estimators of scores without labels are at the labeled hospitals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.compared_runs import MOST_COMPARED, compared_at_hospitals, internal_findings_of
from bench.scoring.across_runs.ranks import Replicates
from bench.scoring.estimators.accuracy_of_estimators import estimator_table
from bench.scoring.estimators.known_values import known_values
from reports.schemas.tables import SCHEMAS

MOST_ESTIMATED = 100  # number of ranked runs, the first of the grid: more runs would hardly change the errors


def errors_of_estimators(
    manifest: Manifest, estimates: pd.DataFrame, findings: Sequence[str], replicates: Replicates
) -> pd.DataFrame:
    """Return the table `estimators`, from the table `estimates` of some ranked runs; empty without external hospitals.

    `replicates`: bootstrap replicates by run id.
    """
    run_ids = [str(run_id) for run_id in estimates["run_id"].unique()] if len(estimates) else []
    hospitals = [str(cohort["name"]) for cohort in manifest.external]
    if not run_ids or not hospitals:
        return pd.DataFrame(columns=list(SCHEMAS["estimators"]))
    if len(run_ids) <= MOST_COMPARED:
        rows = compared_at_hospitals(manifest, findings, internal_findings_of(manifest, run_ids, findings))
        estimates = pd.concat([estimates, rows], ignore_index=True)
    known = known_values(estimates, run_ids, findings, str(manifest.content["source"]), hospitals)
    num_images = [len(manifest.table(cohort)) for cohort in manifest.external]
    drawn = np.stack([[replicates[run_id][f"auroc/{name}"] for run_id in run_ids] for name in hospitals])
    return estimator_table(known, manifest.estimators, num_images, drawn)
