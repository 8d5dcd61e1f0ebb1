"""Selection audit: which run one would have chosen by the internal hospital alone, by each hospital, and what that costs or flatters.

Choosing by the test hospital itself is an oracle: it looks at the answers. It is shown beside the honest rules, never
ranked, with its optimism: how much the number by which it chose flatters the run it chose.
Shapes: R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.ranks import Replicates, together
from bench.scoring.bootstrap.max_intervals import largest
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
LEAST_RUNS = 2
INTERNAL_SPLITS = ("val", "test")


class Rule(NamedTuple):
    """A number by which runs are compared: value [R], replicates [R, B] where it has them."""

    name: str
    oracle: bool
    value: Array
    replicates: Array | None


def optimism(value: Array, replicates: Array) -> float:
    """Return how much the largest of value [R] is expected to lie above that run's truth, because it was chosen as largest.

    In each replicate the best is chosen anew and held against its value on all patients.
    Source: Efron 1983, doi:10.1080/01621459.1983.10477973.
    """
    drawn = replicates[:, np.isfinite(replicates).all(0)]
    if not drawn.shape[1]:
        return float("nan")
    chosen = drawn.argmax(0)
    return float((drawn.max(0) - value[chosen]).mean())


def selection(scores: pd.DataFrame, internal: str, replicates: Replicates) -> pd.DataFrame:
    """Return the table `selection`: each rule's run, judged on every hospital and on their mean ("external").

    Rules: the macro AUROC of internal val and internal test, of each hospital, and of the mean over hospitals. Only runs that
    have all of them take part; fewer than two make no table. regret = best run there - chosen run, paired, with an interval
    that allows for the best having been picked among all (`extremes`); of the best run itself it begins at 0. optimism
    belongs to the rule (NaN for internal val, whose replicates are not kept).
    """
    values = _values(scores, internal)
    hospitals = sorted(set(values.columns.get_level_values("dataset")) - {internal, EXTERNAL})
    wanted = [(internal, "val"), (internal, "test"), *((name, "") for name in (*hospitals, EXTERNAL))]
    values = values[values.index.isin(list(replicates))].reindex(columns=pd.MultiIndex.from_tuples(wanted)).dropna()
    if len(values) < LEAST_RUNS or not hospitals:
        return _frame([])
    run_ids = [str(run) for run in values.index]
    drawn = {name: together(run_ids, f"auroc/{name}", replicates) for name in (internal, *hospitals, EXTERNAL)}
    column: Mapping[tuple[str, str], Array] = {key: values[key].to_numpy(np.float64) for key in wanted}
    rules = [
        Rule("internal val", False, column[internal, "val"], None),
        Rule("internal test", False, column[internal, "test"], drawn[internal]),
        *(Rule(name, True, column[name, ""], drawn[name]) for name in (*hospitals, EXTERNAL)),
    ]
    rows = []
    for rule in rules:
        at = int(rule.value.argmax())
        flatters = optimism(rule.value, rule.replicates) if rule.replicates is not None else float("nan")
        for name in (*hospitals, EXTERNAL):
            there = column[name, ""]
            best = int(there.argmax())
            lost = largest(there - there[at], drawn[name] - drawn[name][at])
            chosen = (rule.name, rule.oracle, run_ids[at], name, there[at], run_ids[best], there[best])
            rows.append((*chosen, lost.value, lost.low, lost.high, flatters, len(run_ids)))
    return _frame(rows)


def _values(scores: pd.DataFrame, internal: str) -> pd.DataFrame:
    """Return macro AUROC by run (rows) and (dataset, split) (columns), the split "" externally."""
    chosen = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc")]
    split = chosen["split"].where(chosen["dataset"] == internal, "")
    return chosen.assign(split=split).pivot_table(values="value", index="run_id", columns=["dataset", "split"])


def _frame(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    columns = SCHEMAS["selection"]
    numbers = ("value", "best", "regret", "low", "high", "optimism")
    kinds = dict.fromkeys(numbers, "float64") | {"oracle": "bool", "num_runs": "int64"}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
