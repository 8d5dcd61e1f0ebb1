"""Splits that hold whatever the table: disjoint by patient, stable when rows come or go."""

import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harmonize.cohorts.splits import assign, position, refuse_two_splits
from harmonize.datasets.ids import alike
from tests.nonempty import nonempty

names = st.text(min_size=1, max_size=6)
shares = st.tuples(st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0, 1)).map(
    lambda parts: dict(zip(("train", "val", "test"), parts, strict=True))
)
officials = st.sampled_from(["", "train", "val", "test", "expert_test"])


def table_of(patients: list[str], official: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"patient_id": patients, "split": [official.get(patient, "") for patient in patients]}, dtype=object
    )


@settings(max_examples=60)
@given(st.lists(names, min_size=1, max_size=30), st.dictionaries(names, officials), shares)
def test_no_patient_is_ever_in_two_splits(
    patients: list[str], official: dict[str, str], parts: dict[str, float]
) -> None:
    table = table_of(patients, official)
    assume(alike(table["patient_id"]).empty)  # such patients count as one
    split = assign(table, parts)
    refuse_two_splits(table, split)
    assert (split != "").all()
    stated = table["split"].isin(["val", "test", "expert_test"])
    assert (split[stated] == table.loc[stated, "split"]).all()


@settings(max_examples=60)
@given(st.lists(names, min_size=1, max_size=20), st.lists(names, max_size=20), shares)
def test_a_patient_stays_in_its_split_when_rows_are_added_or_moved(
    patients: list[str], others: list[str], parts: dict[str, float]
) -> None:
    before = assign(table_of(patients, {}), parts)
    after = assign(table_of([*others, *patients], {}), parts)
    assert after.iloc[len(others) :].tolist() == before.tolist()


@given(names)
def test_a_position_is_in_the_unit_interval(patient: str) -> None:
    assert 0 <= position(patient) < 1


@settings(max_examples=10)
@given(shares, st.integers(0, 1000))
def test_shares_are_kept_among_many_patients(parts: dict[str, float], offset: int) -> None:
    split = assign(table_of([f"{offset}/{k}" for k in range(4000)], {}), parts)
    for name, share in nonempty(parts.items()):
        assert abs((split == name).mean() - share / sum(parts.values())) < 0.05
