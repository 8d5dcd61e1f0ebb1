"""A cohort choice applied to a native table: every image that a filter takes out is counted under the filter's name.

The order: what the adapter drops, view, age, gold subset, files that are absent, one image per study, limit of patients.
"""

import pandas as pd

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.splits import position
from harmonize.datasets import FRONTAL_VIEWS
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import labels_yaml

Flow = dict[str, int]
_PREFERRED = {"PA": 0, "AP": 1, "FRONTAL": 2, "LATERAL": 3, "UNKNOWN": 4}


def by_row(table: pd.DataFrame, choice: CohortChoice, layout: str, flow: Flow, where: str) -> pd.DataFrame:
    """Return the rows that view, age and gold subset leave; `flow` counts the others.

    Raises ConfigError where the layout has no gold subset, DatasetError where its files do not tell it.
    """
    if choice.views != "all":
        table = _keep(table, table["view"].isin(FRONTAL_VIEWS), "not_frontal", flow)
    if choice.views == "pa":
        table = _keep(table, table["view"] == "PA", "not_pa", flow)
    if choice.min_age or choice.max_age:
        table = _keep(table, table["age"].notna(), "age_unknown", flow)
        oldest = choice.max_age or float("inf")
        table = _keep(table, table["age"].between(choice.min_age, oldest), "outside_ages", flow)
    if choice.gold:
        table = _keep(table, _gold(table, layout, where), "not_gold", flow)
    return table


def by_group(table: pd.DataFrame, choice: CohortChoice, flow: Flow) -> pd.DataFrame:
    """Return one image per study and at most `limit` patients where the choice asks for it; `flow` counts the others.

    Patients are drawn by a hash of their id: the same ones whatever the order, and the first of a larger limit.
    """
    if choice.per_study == "one":
        order = pd.DataFrame(
            {"study": table["study_id"], "view": table["view"].map(_PREFERRED), "image": table["image_id"]}
        )
        first = order.sort_values(["view", "image"], kind="stable").drop_duplicates("study").index
        table = _keep(table, table.index.to_series().isin(first), "same_study", flow)
    if choice.limit:
        table = _keep(table, sampled(table["patient_id"], choice.limit), "beyond_limit", flow)
    return table


def sampled(patients: "pd.Series[str]", limit: int) -> "pd.Series[bool]":
    """Return which rows belong to the first `limit` patients by hash."""
    chosen = sorted(set(patients), key=lambda patient: position(f"limit {patient}"))[:limit]
    return patients.isin(chosen)


def _keep(table: pd.DataFrame, kept: "pd.Series[bool]", reason: str, flow: Flow) -> pd.DataFrame:
    flow[reason] = int((~kept).sum())
    return table[kept]


def _gold(table: pd.DataFrame, layout: str, where: str) -> "pd.Series[bool]":
    """Return the rows that `gold` of labels.yaml describes in words."""
    known = labels_yaml()["gold"]
    if layout not in known:
        raise ConfigError(f"{layout} has no gold subset", "gold", f"leave it out; known for {', '.join(known)}")
    if layout == "padchest":
        return (table["label_source"] == "Physician") & (table["view"] == "PA")
    if layout == "mimic":
        relabelled = [name for name in table if str(name).startswith("expert:")]
        if not relabelled:
            fix = "put mimic-cxr-2.1.0-test-set-labeled.csv beside the other tables, or leave `gold` out"
            raise DatasetError("no study was labelled by radiologists", where, fix)
        return table[relabelled].notna().any(axis=1)
    return table["split"] == "test" if layout == "vindr" else table["split"].str.startswith("expert_")
