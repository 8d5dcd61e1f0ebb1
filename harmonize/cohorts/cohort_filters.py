"""Filter a native table by a cohort choice; each filter counts the images that it removes.

Order of all filters: column `drop` of the adapter, `exclude` lists, view, age, gold subset, missing files, one image
per study, patient limit. The gold subset is the rows that physicians or radiologists labeled.
"""

from pathlib import Path

import pandas as pd

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.splits import position
from harmonize.datasets import FRONTAL_VIEWS, LAYOUTS, adapter
from harmonize.errors import ConfigError, DatasetError

Flow = dict[str, int]
# the image of a study whose view has the lowest number is kept
_PREFERRED = {"PA": 0, "AP": 1, "FRONTAL": 2, "LATERAL": 3, "UNKNOWN": 4}


def filter_rows(table: pd.DataFrame, choice: CohortChoice, layout: str, root: Path, flow: Flow) -> pd.DataFrame:
    """Filter rows by view, age and gold subset; `flow` gets the counts of removed rows.

    Raises ConfigError if the layout does not state the gold subset or the portable images, and DatasetError if no image
    has the view, or if files of the gold subset are missing.
    """
    if choice.views not in ("all", "lateral"):
        table = _keep(table, table["view"].isin(FRONTAL_VIEWS), "not_frontal", flow)
    if choice.views in ("pa", "ap", "lateral"):
        view, views = choice.views.upper(), sorted(table["view"].unique())
        if view not in views:
            raise DatasetError(f"no image has the view {view}", str(root), f"the dataset has: {', '.join(views)}")
        table = _keep(table, table["view"] == view, f"not_{choice.views}", flow)
    if choice.views == "portable":
        is_portable = _subset("portable", "does not state which images are portable", table, layout, root)
        table = _keep(table, is_portable, "not_portable", flow)
    if choice.min_age or choice.max_age:
        table = _keep(table, table["age"].notna(), "age_unknown", flow)
        oldest = choice.max_age or float("inf")
        table = _keep(table, table["age"].between(choice.min_age, oldest), "outside_ages", flow)
    if choice.gold:
        table = _keep(table, _subset("gold", "has no gold subset", table, layout, root), "not_gold", flow)
    return table


def filter_groups(table: pd.DataFrame, choice: CohortChoice, flow: Flow) -> pd.DataFrame:
    """Keep one image per study and at most `limit` patients, if `choice` has these settings; `flow` gets the counts.

    A hash of the patient id selects patients. So the order of rows does not matter, and a larger limit only adds
    patients.
    """
    if choice.per_study == "one":
        order = pd.DataFrame(
            {"study": table["study_id"], "view": table["view"].map(_PREFERRED), "image": table["image_id"]}
        )
        first = order.sort_values(["view", "image"], kind="stable").drop_duplicates("study").index
        table = _keep(table, table.index.to_series().isin(first), "same_study", flow)
    if choice.limit:
        table = _keep(table, patients_within_limit(table["patient_id"], choice.limit), "beyond_limit", flow)
    return table


def patients_within_limit(patients: "pd.Series[str]", limit: int) -> "pd.Series[bool]":
    """Return the mask of rows that belong to the first `limit` patients in the order of their hashes."""
    selected = sorted(set(patients), key=lambda patient: position(f"limit {patient}"))[:limit]
    return patients.isin(selected)


def _keep(table: pd.DataFrame, is_kept: "pd.Series[bool]", reason: str, flow: Flow) -> pd.DataFrame:
    """Return the kept rows; `flow[reason]` gets the number of removed rows."""
    flow[reason] = int((~is_kept).sum())
    return table[is_kept]


def _subset(name: str, lacks: str, table: pd.DataFrame, layout: str, root: Path) -> "pd.Series[bool]":
    """Return the mask of a subset that a function of the adapter finds. `lacks` says that the layout has no such function."""
    find = getattr(adapter(layout), name, None)
    if find is None:
        layouts = ", ".join(other for other in LAYOUTS if hasattr(adapter(other), name))
        key = "views: portable" if name == "portable" else name
        raise ConfigError(f"{layout} {lacks}", key, f"remove `{key}`; only {layouts} can have it")
    mask: pd.Series[bool] = find(table, root)
    return mask
