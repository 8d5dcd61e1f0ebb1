"""Net benefit at the stated thresholds, read from the table `net_benefit`, and the words on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.formatting import is_number
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate, corrected
from reports.tables import rows_of

Key = tuple[str, str, str]  # run id, dataset, finding
BETTER = "better"
NO_BETTER = "no better than all or none"
WORSE_THAN_NONE, WORSE_THAN_ALL = "worse than none", "worse than all"
METRIC = "net_benefit"
_NUMBERS = ("value", "low", "high", "n", "num_positive", "num_patients", "num_findings")


@dataclass(frozen=True, slots=True)
class Benefit:
    """Net benefit of a run with its comparison to the two alternatives that need no network.

    value: net benefit, which is also its difference from treating none. over_all: its difference from treating all.
    threshold: the stated threshold of the finding; NaN for the macro.
    """

    value: Estimate = MISSING
    standardized: Estimate = MISSING
    over_all: Estimate = MISSING
    threshold: float = float("nan")


NO_BENEFIT = Benefit()


def lookup(table: pd.DataFrame, ranks: Mapping[str, Mapping[str, Any]]) -> dict[Key, Benefit]:
    """Return {(run id, dataset, finding): benefit} with simultaneous bounds.

    As for gaps, the bounds of a finding hold for all findings of the run at this hospital, and those of a macro for all
    hospitals. The bounds of the external mean hold for all ranked recipes: those of the net benefit are in `ranks`, the
    ranking of the recipes by net benefit.
    """
    estimates: dict[str, dict[Key, Estimate]] = {"net_benefit": {}, "standardized": {}, "over_all": {}}
    thresholds: dict[Key, float] = {}
    columns = ("run_id", "dataset", "finding", "metric", "threshold", *_NUMBERS)
    for run, dataset, finding, metric, threshold, value, low, high, *sizes in rows_of(table, *columns):
        key = (str(run), str(dataset), str(finding))
        estimates[metric][key] = Estimate(float(value), float(low), float(high), *map(int, sizes))
        thresholds[key] = float(threshold)
    for metric in ("net_benefit", "over_all"):
        estimates[metric] = corrected(estimates[metric])
    for run_id, row in ranks.items():
        if (key := (run_id, EXTERNAL, MACRO)) in thresholds:
            low, high = (float(row.get(f"all_{end}", float("nan"))) for end in ("low", "high"))
            estimates["net_benefit"][key] = estimates["net_benefit"][key].simultaneous(low, high)
            estimates["over_all"][key] = estimates["over_all"][key].corrected(len(ranks))
    return {
        key: Benefit(
            estimates["net_benefit"].get(key, MISSING),
            estimates["standardized"].get(key, MISSING),
            estimates["over_all"].get(key, MISSING),
            threshold if is_number(threshold) else NO_BENEFIT.threshold,  # one NaN, so that equal benefits are equal
        )
        for key, threshold in thresholds.items()
    }


def benefit_verdict(benefit: Benefit) -> str:
    """Return the verdict on a net benefit; "" without intervals.

    "All" and "none" mean that all images, or none, are treated as positive. BETTER needs two clear differences: from treating none, and from treating all.

    >>> from reports.report_data.headline_rows import Estimate
    >>> clear, unclear, below = Estimate(0.1, 0.05, 0.15), Estimate(0.1, -0.05, 0.25), Estimate(-0.1, -0.15, -0.05)
    >>> [benefit_verdict(Benefit(clear, clear, other)) for other in (clear, unclear, below)]
    ['better', 'no better than all or none', 'worse than all']
    >>> benefit_verdict(Benefit(below, below, clear))
    'worse than none'
    """
    value, over_all = benefit.value, benefit.over_all
    if not (value.has_interval and over_all.has_interval):
        return ""
    for difference, worse in ((value, WORSE_THAN_NONE), (over_all, WORSE_THAN_ALL)):
        if difference.clear and not difference.clear_above:
            return worse
    return BETTER if value.clear_above and over_all.clear_above else NO_BETTER
