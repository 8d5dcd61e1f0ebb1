"""Select the rows of the long tables that a page shows.

In a study of 2,000 runs, these tables have 25 million rows. The page shows a tenth of the rows of the table `scores`, and the
other long tables only for a few runs, so only these rows need to be in memory.
"""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reports import extensions, hooks
from reports.report_data.headline_rows import CALIBRATORS, MACRO
from reports.schemas.criterion import DEFAULT
from reports.schemas.tables import SCHEMAS
from reports.tables import rows_of

HEALTHY = "No Finding"
# {metric: finding} of the table `subgroups` that the page shows; also the spread of each of these metrics
GROUP_METRICS = {"auroc": MACRO, "underdiagnosis": HEALTHY, "fnr": MACRO, "fpr": MACRO}
# The page shows these tables for the first DETAILED recipes and their runs, and for as many runs without a rank. With at most
# DETAILED runs, the page shows them for all runs.
DETAILS = (
    *("subgroups", "reliability", "decomposition", "references", "confusion", "curves"),
    *(name for module in extensions.modules(hooks.Schemas) for name in module.DETAILS),
)
DETAILED = 40
UNSHOWN_METRICS = ("mce", "ace", "nll", "brier_reliability", "brier_resolution", "brier_uncertainty", "brier_drift")
LONG = ("scores", *DETAILS)  # the long tables: they have hundreds of rows per run


def page_rows(name: str, table: pa.Table) -> pa.Table:
    """Return the rows of a long table that the sections of the page read; `name` is the name of the table.

    >>> rows = pa.table({"finding": ["macro", "Edema", "Edema"], "metric": ["ece", "ece", "auroc"]})
    >>> page_rows("scores", rows).to_pylist()
    [{'finding': 'macro', 'metric': 'ece'}, {'finding': 'Edema', 'metric': 'auroc'}]
    >>> page_rows("decomposition", pa.table({"finding": pa.nulls(0)})).num_rows
    0
    """
    if not table.num_rows:  # the columns of an empty table may have no type
        return table
    if name == "scores":  # the page shows the AUROC of each finding, and the macro of every metric
        shown = pc.or_(pc.equal(table["finding"], MACRO), pc.equal(table["metric"], "auroc"))
    elif name == "subgroups":
        shown = pc.or_(*(_shows_groups(table, finding) for finding in (MACRO, HEALTHY)))
    elif name == "decomposition":
        shown = pc.equal(table["finding"], MACRO)
    else:
        return table
    return table.filter(shown)


def shown_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the table `scores` without the calibrators and metrics that the page never shows."""
    return scores[scores["calibrator"].isin(CALIBRATORS) & ~scores["metric"].isin(UNSHOWN_METRICS)]


def detailed_ids(frames: Mapping[str, pd.DataFrame]) -> set[str]:
    """Return the ids of the recipes and runs for which the page shows the tables DETAILS, if there are more than DETAILED runs.

    frames: the tables `scores`, `runs` (with rows of recipes), `ranks` and `recipes`; the last two are missing if nothing is
    ranked.
    """
    ranks, recipes = (frames.get(name, pd.DataFrame(columns=list(SCHEMAS[name]))) for name in ("ranks", "recipes"))
    best = _best(DEFAULT.rows(ranks), frames["runs"])
    runs_of_best = recipes.loc[recipes["recipe_id"].isin(best), "run_id"]
    macros = DEFAULT.rows(frames["scores"])
    unranked = macros[~macros["run_id"].isin({*recipes["recipe_id"], *recipes["run_id"]})]
    return {*best, *runs_of_best, *_best(unranked, frames["runs"])}


def _best(rows: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Return the ids of the DETAILED rows with the highest values, in the order of the page: by value, label and id."""
    label = {
        str(run): f"{name} ({what})" if isinstance(what, str) and what else str(name)
        for run, name, what in rows_of(runs, "run_id", "name", "what")
    }
    highest: dict[str, float] = {}
    for run, value in rows_of(rows, "run_id", "value"):
        if value == value:
            highest[str(run)] = max(value, highest.get(str(run), value))
    return sorted(highest, key=lambda run: (-highest[run], label.get(run, ""), run))[:DETAILED]


def _shows_groups(table: pa.Table, finding: str) -> pa.ChunkedArray:
    """Return whether the page shows each row of the table `subgroups` with this finding."""
    metrics = [metric for metric, of in GROUP_METRICS.items() if of == finding]
    metrics += [f"{metric}_spread" for metric in metrics]
    is_shown = pc.is_in(pc.cast(table["metric"], pa.string()), pa.array(metrics))
    return pc.and_(pc.equal(table["finding"], finding), is_shown)
