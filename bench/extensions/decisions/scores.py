"""The hook `scores`: the tables of decisions of one run, computed while the run is scored."""

import pandas as pd

from bench.extensions.decisions import net_benefit, triage, workload
from bench.extensions.decisions.calls import DecisionThresholds
from bench.extensions.decisions.schemas import SCHEMAS
from bench.scoring.influence import Estimate
from bench.scoring.score_rows import frame
from bench.scoring.score_run import RunMetrics


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the tables of SCHEMAS, and the estimates of net benefit."""
    thresholds = DecisionThresholds.choose(run.val, run.points.num_patients.min(0) >= run.settings.min_count)
    decisions = [thresholds.counts(split) for split in run.headline]
    benefits = net_benefit.benefits_of(run, thresholds.prevalence, decisions)
    stated_rows, curve_rows = net_benefit.rows(run.run_id, benefits)
    rows = {
        "net_benefit": stated_rows,
        "decision_curves": curve_rows,
        "workload": workload.rows(run, thresholds.goal, decisions),
        "triage": triage.rows(run),
    }
    of_tables = {name: frame(of_table, SCHEMAS[name]) for name, of_table in rows.items()}
    return of_tables, net_benefit.estimates_of(benefits)
