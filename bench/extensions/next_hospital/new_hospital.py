"""What to expect of single runs at a hospital of which nothing is known: the start of `bench estimate`."""

from collections.abc import Sequence

import pandas as pd

from bench.extensions.next_hospital.panels import VALUES
from bench.extensions.next_hospital.report_tables import (
    AUROC,
    hospitals_once,
    of_areas,
    of_scores,
    panel_rows,
    predicted,
)
from bench.planning.manifest import Manifest
from bench.results.read_predictions import load_scores
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.gaps.gap import MACRO
from reports.schemas.select import select

METRICS = (AUROC, "sensitivity", "specificity")


def predictions(
    manifest: Manifest, run_ids: Sequence[str], findings: Sequence[str], hospitals: Sequence[str]
) -> pd.DataFrame:
    """Return rows of the table `next_hospital` for runs: AUROC, sensitivity and specificity of each finding and of their mean.

    hospitals: the labeled hospitals that no run has seen. The network of a run is given, so its seed adds no error.
    """
    names = [name for name in hospitals_once(manifest) if name in hospitals]
    scores = load_scores(manifest, run_ids, "scores")
    areas = select(scores, AUROC, finding=None).assign(metric=AUROC)
    rows = pd.concat([areas, of_scores(scores, manifest.settings.threshold)], ignore_index=True)
    rows = rows[rows["finding"].isin([MACRO, *findings])]
    runs, internal = Recipes({run: (run,) for run in run_ids}, {}), pd.DataFrame(columns=list(VALUES))
    of_metrics = {metric: panel_rows(rows[rows["metric"] == metric], metric) for metric in METRICS}
    parts = [of_areas(runs, of_metrics[AUROC], internal, names)["next_hospital"]]
    parts += [predicted(runs, of_metrics[metric], internal, names) for metric in METRICS[1:]]
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
