"""The table `derived`: how much TTA and ensembles change the score by which recipes are ranked, on the same patients."""

import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.read_predictions import load_estimates
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.paired_tests import TINY, differences_of, errors_of_pairs, own_error
from bench.scoring.across_runs.recipes import macro_auroc
from bench.scoring.gaps.gap import EXTERNAL
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

OF = "of"  # the mean of the runs that a derived run combines


def derived_differences(manifest: Manifest, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the macro AUROC of each TTA run and ensemble minus the mean of its runs, with paired intervals over patients.

    The AUROC is the external mean, or internal without external hospitals. The error of the mean is at most the mean of the runs' own errors.
    """
    macros = macro_auroc(select(scores, internal=manifest.source))
    dataset = EXTERNAL if (macros["dataset"] == EXTERNAL).any() else manifest.source
    own = macros[macros["dataset"] == dataset].drop_duplicates("run_id").set_index("run_id")[["value", "low", "high"]]
    rows = []
    for run in manifest.derived:
        ids, name = [run.id, *run.of], f"auroc/{dataset}"
        if run.kind not in ("tta", "ensemble") or not set(ids) <= set(own.index):
            continue
        covariances = Covariances(load_estimates(manifest, ids), {run.id: [[run.id]], OF: [list(run.of)]})
        if covariances.has(run.id, name) and covariances.has(OF, name):
            errors = own_error(*own.loc[ids].to_numpy(np.float64).T)
            pair = np.array([errors[0], errors[1:].mean()])
            covariance = covariances.of_score(name, [run.id, OF])
            if np.array([1, -1]) @ covariance @ np.array([1, -1]) < TINY * covariance[0, 0]:
                continue  # equal predictions, such as an ensemble of one run
            error = errors_of_pairs(np.array([0]), np.array([1]), covariance, pair)
            value = covariances.value(run.id, name) - covariances.value(OF, name)
            found = differences_of(np.array([value]), error)
            rows.append((run.id, value, float(found.low[0]), float(found.high[0])))
    return pd.DataFrame(rows, columns=list(SCHEMAS["derived"]))
