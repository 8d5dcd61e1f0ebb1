"""The table `pairs`, for the side-by-side view: the best runs in pairs, with the difference between the two runs of a pair.

The two runs of a pair are compared on the same patients.
Shapes: R runs, P pairs.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.paired_tests import all_pairs, own_error, pair_tests
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

MOST = 40  # maximum number of compared runs: 40 runs form 780 pairs, but 500 runs would form 124,750 pairs, too many to store


def pairs(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    further: Mapping[str, pd.DataFrame],
    covariances: Covariances,
    internal: str,
) -> pd.DataFrame:
    """Build the table `pairs`: the difference first - second for all pairs of the MOST best runs by external AUROC.

    In each pair, `first` is the run with the higher external AUROC. value is the difference of macro AUROCs (external
    mean, internal test split, each hospital), of macro gaps, or of the macros of `further` (metric -> rows). low and
    high are the interval of this difference alone, not adjusted for the number of pairs. all_low and all_high are
    adjusted for all pairs of runs that have a value, also for runs that are not among the MOST best; these adjusted
    bounds decide whether the page calls the difference clear. A run without a value in a cohort has no row for this
    cohort.
    """
    tables = {
        "auroc": select(scores, internal=internal),
        **{metric: table[table["finding"] == MACRO] for metric, table in {"gap": gaps, **further}.items()},
    }
    external = tables["auroc"][tables["auroc"]["dataset"] == EXTERNAL].sort_values(
        ["value", "run_id"], ascending=[False, True]
    )
    compared = set(covariances.ids)
    best = [str(r) for r in external["run_id"][np.isfinite(external["value"])] if r in compared][:MOST]
    frames: list[pd.DataFrame] = []
    for metric, table in tables.items():
        for dataset, rows in table.groupby("dataset", sort=False):
            value = dict(zip(rows["run_id"], rows["value"], strict=True))
            own = dict(
                zip(rows["run_id"], own_error(*rows[["value", "low", "high"]].to_numpy(np.float64).T), strict=True)
            )
            name = f"{metric}/{dataset}"
            usable = {str(r) for r in value if np.isfinite(value[r]) and covariances.has(str(r), name)}
            runs = [r for r in best if r in usable]
            if len(runs) < 2:
                continue
            family = [*runs, *sorted(usable.difference(runs))]
            value_R, own_R = np.array([(value[r], own[r]) for r in family]).T
            covariance, num = covariances.of_score(name, family), len(runs)
            first, second, differences = all_pairs(value_R[:num], covariance[:num, :num], own_R[:num])
            half = pair_tests(value_R, covariance, own_R).half[first, second]
            run_ids = np.array(runs, object)
            columns = (
                run_ids[first],
                run_ids[second],
                dataset,
                metric,
                differences.value,
                differences.low,
                differences.high,
                np.fmin(differences.value - half, differences.low),
                np.fmax(differences.value + half, differences.high),
            )
            frames.append(pd.DataFrame(dict(zip(SCHEMAS["pairs"], columns, strict=True))))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(SCHEMAS["pairs"]))
