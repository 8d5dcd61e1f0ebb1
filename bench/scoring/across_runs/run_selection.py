"""Selection audit: the run that each selection rule would choose, with regret and optimism.

A rule that selects on an external hospital is an oracle, because it uses test labels. Oracles are shown next to the honest
rules and never ranked. Optimism is the amount by which the selected run's value is too high because of the selection.
Regret is the value of the best run minus the value of the selected run.
Shapes: R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import own_error, pair_tests
from bench.scoring.across_runs.ranks import Replicates, stack_replicates
from bench.scoring.bootstrap.area_intervals import NORMAL_QUANTILE
from bench.scoring.gaps.gap import EXTERNAL
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
LEAST_RUNS = 2


class Rule(NamedTuple):
    """A selection rule, which chooses the run with the highest value in value [R].

    oracle: whether the values come from external hospitals. replicates [R, B]: those of the values; None if not stored.
    """

    name: str
    oracle: bool
    value: Array
    replicates: Array | None


def optimism(value: Array, replicates: Array) -> float:
    """Estimate the optimism of the largest of value [R]: its expected excess over the true value of the selected run.

    In each replicate, the best run is selected again. The optimism is the mean over replicates of the selected run's
    value in the replicate minus the same run's value on all patients.
    Source: Efron 1983, doi:10.1080/01621459.1983.10477973.
    """
    complete = replicates[:, np.isfinite(replicates).all(0)]
    if not complete.shape[1]:
        return float("nan")
    best_run = complete.argmax(0)
    return float((complete.max(0) - value[best_run]).mean())


def selection(scores: pd.DataFrame, internal: str, replicates: Replicates) -> pd.DataFrame:
    """Build the table `selection`: AUROC and regret of each rule's run at every hospital and for their mean ("external").

    The rules select by macro AUROC on internal val, on internal test, at each hospital, and by the mean over hospitals.
    Only runs with all these values are compared; with fewer than two such runs, the table is empty. regret: AUROC of
    the hospital's best run minus AUROC of the selected run, on the same resamples. The interval of the regret comes from the
    differences between the other runs and the selected run, as in the table `pairs`: `high` is the highest of their upper
    bounds, `low` the highest of their lower bounds after Holm's correction over all pairs (at least 0), because the best
    run was selected, too. optimism is the same in
    all rows of a rule, and NaN for the rule internal val, because replicates on val are not stored.
    """
    values = _values(scores, internal)
    hospitals = sorted(set(values.columns.get_level_values("dataset")) - {internal, EXTERNAL})
    column_keys = [(internal, "val"), (internal, "test"), *((name, "") for name in (*hospitals, EXTERNAL))]
    values = (
        values[values.index.isin(list(replicates))].reindex(columns=pd.MultiIndex.from_tuples(column_keys)).dropna()
    )
    if len(values) < LEAST_RUNS or not hospitals:
        return _frame([])
    run_ids = [str(run) for run in values.index]
    replicates_of = {
        name: stack_replicates(run_ids, f"auroc/{name}", replicates) for name in (internal, *hospitals, EXTERNAL)
    }
    column: Mapping[tuple[str, str], Array] = {key: values[key].to_numpy(np.float64) for key in column_keys}
    # standard errors of the intervals that the scores have at each hospital
    own = {
        str(name): own_error(*rows.set_index("run_id").loc[run_ids, ["value", "low", "high"]].to_numpy(np.float64).T)
        for name, rows in select(scores).groupby("dataset")
        if name in (*hospitals, EXTERNAL)
    }
    tests_of = {name: pair_tests(column[name, ""], replicates_of[name], own[name]) for name in (*hospitals, EXTERNAL)}
    rules = [
        Rule("internal val", False, column[internal, "val"], None),
        Rule("internal test", False, column[internal, "test"], replicates_of[internal]),
        *(Rule(name, True, column[name, ""], replicates_of[name]) for name in (*hospitals, EXTERNAL)),
    ]
    rows = []
    for rule in rules:
        selected = int(rule.value.argmax())
        optimistic_by = optimism(rule.value, rule.replicates) if rule.replicates is not None else float("nan")
        for name in (*hospitals, EXTERNAL):
            of_runs = column[name, ""]
            best = int(of_runs.argmax())
            behind, tests = of_runs - of_runs[selected], tests_of[name]
            low = np.nanmax(behind - tests.half[selected], initial=0.0)
            high = np.nanmax(behind + NORMAL_QUANTILE * tests.error[selected], initial=0.0)
            prefix = (rule.name, rule.oracle, run_ids[selected], name, of_runs[selected], run_ids[best], of_runs[best])
            rows.append((*prefix, behind[best], low, high, optimistic_by, len(run_ids)))
    return _frame(rows)


def _values(scores: pd.DataFrame, internal: str) -> pd.DataFrame:
    """Return macro AUROCs: a row per run, a column per (dataset, split); split is "" for external hospitals."""
    rows = select(scores)
    split = rows["split"].where(rows["dataset"] == internal, "")
    return rows.assign(split=split).pivot_table(values="value", index="run_id", columns=["dataset", "split"])


def _frame(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    columns = SCHEMAS["selection"]
    numbers = ("value", "best", "regret", "low", "high", "optimism")
    kinds = dict.fromkeys(numbers, "float64") | {"oracle": "bool", "num_runs": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
