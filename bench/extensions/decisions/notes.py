"""What `bench compare` says about the net benefit of two runs."""

from collections.abc import Sequence

import pandas as pd

from bench.extensions.decisions.benefits_of_runs import METRIC
from bench.results.compare_two_runs import EXTERNAL_MEAN, GridRun
from bench.results.read_predictions import load_estimates, scored_ids
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import Estimate, Influence
from bench.scoring.metrics_of_split import AUROC, Key
from reports.formatting import with_interval


def of_comparison(planned: Sequence[GridRun], key: Key, table: pd.DataFrame) -> tuple[str, ...]:
    """State the paired differences of the net benefit; () for another metric than AUROC, and without scores of one grid.

    The net benefits are from the table `net_benefit`: means over findings, each at its stated threshold.
    """
    manifest = planned[0].manifest
    runs = [entry.run for entry in planned]
    if key != AUROC or manifest is not planned[1].manifest or len(scored_ids(manifest, runs)) < 2:
        return ()
    if len({manifest.scored_findings(run) for run in runs}) > 1:
        return ()
    ids = [run.id for run in runs]
    stored = load_estimates(manifest, ids)
    values = [stored.values[run_id] for run_id in ids]  # noqa: PD011
    differences = []
    titles = {EXTERNAL: EXTERNAL_MEAN, **manifest.titles_of(*runs)}
    for dataset in [name for name in titles if name in set(table["dataset"])]:
        name = f"{METRIC}/{dataset}"
        if all(name in of_run for of_run in values):
            first, second = (Influence(stored.read(run_id, name)) for run_id in ids)
            value = values[0][name] - values[1][name]
            bounds = Estimate(value, first - second).bounds
            differences.append(f"{titles[dataset]} {with_interval(value, *bounds, '+.4f')}")
    what = "Net benefit at the stated thresholds (mean over findings; found cases per image minus the cost of false alarms)"
    return (f"{what}, first - second: {'; '.join(differences)}.",) if differences else ()
