"""The hook `notes`: what `bench compare` and model cards state about a hospital that was not measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.extensions.next_hospital.panels import from_scale, with_variance
from bench.extensions.next_hospital.random_effects import LEAST_HOSPITALS, Panels, bayes
from bench.extensions.next_hospital.report_tables import GAP, SHARE_SCALE, hospitals_once, prior_of
from bench.planning.manifest import Manifest
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


def of_run(manifest: Manifest, rows: pd.DataFrame) -> str:
    """State the mean AUROC of a run to expect at a new hospital, for its model card; "" with fewer than three hospitals.

    rows: the mean AUROC of the run at external hospitals, with the columns dataset, value, low and high.
    """
    rows = rows[rows["dataset"].isin(hospitals_once(manifest))]
    panels = Panels.of(*with_variance(AUROC.metric, *rows[["value", "low", "high"]].to_numpy(np.float64).T))
    if not panels.enough[0]:
        return ""
    fit = bayes(panels, *prior_of(AUROC.metric))
    value, low, high = (float(from_scale(AUROC.metric, end)[0]) for end in (fit.mean, fit.new_low, fit.new_high))
    num = panels.num_hospitals[0]
    return (
        f"At a new hospital like the {num} external ones, expect a mean AUROC of {with_interval(value, low, high)} "
        "(95 % prediction interval over hospitals)."
    )
