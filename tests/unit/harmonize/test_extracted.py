"""Tests that Arrow extracts the same groups from text as pandas."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonize.datasets.chexpert import _STUDY
from harmonize.datasets.csvfile import extract_groups

WORDS = st.sampled_from(
    ["train/", "patient00001", "/", "study2", "view1.jpg", "", "patient", "é", " ", "x/patient7/study1/"]
)


@pytest.mark.slow
@given(st.lists(st.lists(WORDS, max_size=6).map("".join), min_size=1, max_size=8), st.sampled_from(["str", "object"]))
def test_groups_equal_those_of_pandas(cells: list[str], dtype: str) -> None:
    text = pd.Series(cells, index=range(5, 5 + len(cells)), dtype=dtype)
    arrow, from_pandas = extract_groups(text, _STUDY), text.str.extract(_STUDY)
    assert list(arrow) == list(from_pandas) == ["folder", "patient", "study"]
    assert arrow.index.equals(from_pandas.index)
    # \w matches letters of all scripts in Python, but only ASCII in RE2
    ascii_only = [cell.isascii() for cell in cells]
    for name in arrow:
        assert arrow[name].isna().tolist() == from_pandas[name].isna().tolist() or not all(ascii_only)
        same = arrow[name].fillna("").eq(from_pandas[name].fillna(""))
        assert same[ascii_only].all()


def test_no_text_gives_no_groups() -> None:
    assert extract_groups(pd.Series([], dtype="str"), _STUDY).shape == (0, 3)


@pytest.mark.parametrize("dtype", ["str", "object"])
def test_text_without_a_match_is_null(dtype: str) -> None:
    groups = extract_groups(pd.Series(["nothing here"], dtype=dtype), _STUDY)
    assert groups.isna().all(axis=None)
