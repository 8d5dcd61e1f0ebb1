"""The protocol of a pool: every hospital has the splits that it has as the only training hospital."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.config.run_config import RunConfig, Split
from bench.planning.protocol import CohortRole, internal_split
from harmonize.cohorts.cohort_choice import CohortChoice

ALONE = RunConfig("a", "adamw", "bce", "u_ignore", "imagenet_64", train_on="mimic", split=Split(0.6, 0.2, 0.2))
POOL = replace(ALONE, train_on="chexpert+mimic")


def hospital(num_patients: int, splits: tuple[str, ...] = ("",)) -> pd.DataFrame:
    """Return two images of each patient, with official splits in turn."""
    patients = np.repeat([f"p{i}" for i in range(num_patients)], 2)
    return pd.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(len(patients))],
            "patient_id": patients,
            "split": [splits[i // 2 % len(splits)] for i in range(len(patients))],
        }
    )


def joined(**hospitals: pd.DataFrame) -> pd.DataFrame:
    tables = []
    for name, table in sorted(hospitals.items()):
        tables.append(
            table.assign(image_id=f"{name}/" + table["image_id"], patient_id=f"{name}/" + table["patient_id"])
        )
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("limit", [0, 7])
@pytest.mark.parametrize("splits", [("",), ("train", "test"), ("test",), ("train", "expert_valid", "train")])
def test_splits_in_a_pool_are_those_of_each_hospital_alone(splits: tuple[str, ...], limit: int) -> None:
    choice = CohortChoice(limit=limit)
    chexpert, mimic = hospital(40), hospital(60, splits)
    split = internal_split(joined(chexpert=chexpert, mimic=mimic), replace(POOL, cohort=choice))
    assert split.iloc[: len(chexpert)].tolist() == internal_split(chexpert, replace(ALONE, cohort=choice)).tolist()
    assert split.iloc[len(chexpert) :].tolist() == internal_split(mimic, replace(ALONE, cohort=choice)).tolist()


def test_a_column_named_hospital_of_a_single_cohort_changes_no_split() -> None:
    table = hospital(50)
    own = internal_split(table, ALONE)
    assert internal_split(table.assign(hospital=["a", "b"] * 50), ALONE).equals(own)


def test_a_pool_predicts_and_scores_its_internal_splits() -> None:
    role = CohortRole(role="internal", headline_split="all")
    split = internal_split(joined(chexpert=hospital(40), mimic=hospital(40)), POOL)
    assert role.headline_rows(split).sum() == (split == "test").sum() > 0
    assert not (role.predicted_rows(split) & (split == "train")).any()


@pytest.mark.parametrize("train_on", ["mimic+chexpert", "chexpert+chexpert", "chexpert+"])
def test_a_pool_has_one_name(train_on: str) -> None:
    with pytest.raises(ValueError, match="pool"):
        replace(ALONE, train_on=train_on)
