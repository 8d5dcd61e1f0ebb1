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
) -> dict[tuple[str, str, str], tuple[float, float, float]]:
    """Return run id, metric and finding -> expected value at a new hospital with its 95 % prediction interval.

    The metrics are METRICS, of each finding and of their mean ("macro"). A prediction without numbers is left out.
    hospitals: the labeled hospitals that no run has seen. The network of a run is given, so its seed adds no error.
    """
    names = [name for name in hospitals_once(manifest) if name in hospitals]
    scores = load_scores(manifest, run_ids, "scores")
    areas = select(scores, AUROC, finding=None).assign(metric=AUROC)
    rows = pd.concat([areas, of_scores(scores, manifest.settings.threshold)], ignore_index=True)
    rows = rows[rows["finding"].isin([MACRO, *findings])]
    runs = Recipes({run: (run,) for run in run_ids}, {})
    internal = pd.DataFrame(columns=list(VALUES))
    of_metrics = {metric: panel_rows(rows[rows["metric"] == metric], metric) for metric in METRICS}
    parts = [of_areas(runs, of_metrics[AUROC], internal, names)["next_hospital"]]
    parts += [predicted(runs, of_metrics[metric], internal, names) for metric in METRICS[1:]]
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    known = table[table["reason"] == ""]
    keys = zip(known["run_id"], known["metric"], known["finding"], strict=True)
    numbers = zip(*(known[name].astype(float) for name in ("value", "new_low", "new_high")), strict=True)
    return dict(zip(keys, numbers, strict=True))
