"""Parts of a column of text, found by Arrow as pandas finds them."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonize.datasets.chexpert import _STUDY
from harmonize.datasets.csvfile import extracted

WORDS = st.sampled_from(
    ["train/", "patient00001", "/", "study2", "view1.jpg", "", "patient", "é", " ", "x/patient7/study1/"]
)


@given(st.lists(st.lists(WORDS, max_size=6).map("".join), min_size=1, max_size=8), st.sampled_from(["str", "object"]))
def test_groups_are_those_that_pandas_finds(cells: list[str], dtype: str) -> None:
    text = pd.Series(cells, index=range(5, 5 + len(cells)), dtype=dtype)
    ours, theirs = extracted(text, _STUDY), text.str.extract(_STUDY)
    assert list(ours) == list(theirs) == ["folder", "patient", "study"]
    assert ours.index.equals(theirs.index)
    ascii_only = [cell.isascii() for cell in cells]  # a word of Python's has letters of all scripts, one of RE2 has not
    for name in ours:
        assert ours[name].isna().tolist() == theirs[name].isna().tolist() or not all(ascii_only)
        same = ours[name].fillna("").eq(theirs[name].fillna(""))
        assert same[ascii_only].all()


def test_no_text_gives_no_groups() -> None:
    assert extracted(pd.Series([], dtype="str"), _STUDY).shape == (0, 3)


@pytest.mark.parametrize("dtype", ["str", "object"])
def test_what_does_not_match_is_null_and_not_a_word(dtype: str) -> None:
    found = extracted(pd.Series(["nothing here"], dtype=dtype), _STUDY)
    assert found.isna().all(axis=None)
