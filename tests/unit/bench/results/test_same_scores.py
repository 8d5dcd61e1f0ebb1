"""Tables of scores are compared cell by cell: what counts as the same cell, against a plain statement of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.same_scores import differs

CELLS = st.one_of(st.sampled_from(["", "a", "b", None, float("nan"), pd.NA]), st.integers(-1, 2), st.booleans())


def same(p: object, q: object) -> bool:
    """Two empty cells are the same, and two equal values."""
    empty = [value is None or value is pd.NA or value != value or value == "" for value in (p, q)]
    return all(empty) if any(empty) else p == q


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_the_first_cell_that_differs_is_named(pairs: list[tuple[object, object]]) -> None:
    names = [f"row {number}" for number in range(len(pairs))]
    ours, theirs = (pd.DataFrame({"cell": pd.Series(side, dtype=object)}) for side in zip(*pairs, strict=True))
    ours["metric"] = theirs["metric"] = names
    said = differs(ours, theirs, ["metric", "cell"], 0)
    first = next((name for name, (p, q) in zip(names, pairs, strict=True) if not same(p, q)), None)
    assert said == "" if first is None else said.startswith(f"cell of ({first}) is ")


@pytest.mark.parametrize("kind", ["str", "string", "category", "int64", "bool", "Int8"])
def test_every_type_of_column_is_compared(kind: str) -> None:
    values = ["x", "y", "z"] if kind in ("str", "string", "category") else [0, 1, 0]
    ours = pd.DataFrame({"cell": pd.Series(values).astype(kind)})
    assert differs(ours, ours.copy(), ["cell"], 0) == ""
    assert differs(ours, ours[::-1].reset_index(drop=True), ["cell"], 0) == (
        "" if values[0] == 0 else "cell of () is x, not z"
    )
    assert differs(ours, ours.iloc[[0, 0, 2]].reset_index(drop=True), ["cell"], 0) != ""


def test_curves_are_compared_number_by_number() -> None:
    curve = np.array([0.0, 0.5, np.nan])
    ours, theirs = (pd.DataFrame({"curve": pd.Series([curve, other], dtype=object)}) for other in (curve, curve + 1e-9))
    assert differs(ours, ours.copy(), ["curve"], 0) == ""
    assert differs(ours, theirs, ["curve"], 0) != ""
    assert differs(ours, theirs, ["curve"], 1e-6) == ""
