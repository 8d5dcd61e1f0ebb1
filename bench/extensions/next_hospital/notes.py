"""The hook `notes`: what `bench compare` states about a hospital that was not measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.extensions.next_hospital.panels import with_variance
from bench.extensions.next_hospital.random_effects import LEAST_HOSPITALS, Panels, bayes
from bench.extensions.next_hospital.report_tables import GAP, SHARE_SCALE, hospitals_once
from bench.results.compare_two_runs import GridRun
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC, Key
from reports.formatting import number, with_interval


def of_comparison(planned: Sequence[GridRun], key: Key, table: pd.DataFrame) -> tuple[str, ...]:
    """State the difference of two runs to expect at a new hospital, and how probable it is that the first run is better there.

    planned: the two runs. table: the result of `differences`. () for another metric than AUROC, and for fewer than three
    external hospitals with a difference.
    """
    if key != AUROC:
        return ()
    names = set(table["dataset"])
    for entry in planned:
        external = {cohort.name for cohort in entry.manifest.external_to(entry.run)}
        names &= external & set(hospitals_once(entry.manifest))
    rows = table[(table["finding"] == MACRO) & table["dataset"].isin(names)]
    value, variance = with_variance(GAP, *rows[["difference", "low", "high"]].to_numpy(np.float64).T)
    panels = Panels.of(value, variance)
    if panels.num_hospitals[0] < LEAST_HOSPITALS:
        return ()
    fit = bayes(panels, SHARE_SCALE)
    difference = with_interval(float(fit.mean[0]), float(fit.new_low[0]), float(fit.new_high[0]), "+.3f")
    above = number(1 - float(fit.below(np.zeros(1))[0]), ".2f")
    where = f"Macro at another hospital like these {panels.num_hospitals[0]}"
    better = f"the first run is better there with a probability of {above}"
    return (f"{where}: difference {difference} (prediction interval); {better}.",)
