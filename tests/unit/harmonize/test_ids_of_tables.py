"""Ids of one table that occur in another one."""

import pandas as pd
import pytest

from harmonize.datasets.ids import occurs_in


@pytest.mark.parametrize("listed", [["b", "c"], {"b", "c"}, pd.Series(["b", "c"]), pd.Series(["c", "b", "b"])])
def test_an_id_is_found_in_a_list_a_set_and_a_column_as_pandas_finds_it(listed):
    ids = pd.Series(["a", "b", "b"], index=[4, 7, 9])
    pd.testing.assert_series_equal(occurs_in(ids, listed), ids.isin(list(listed)))
    assert occurs_in(ids, listed).tolist() == [False, True, True]


def test_no_id_is_found_in_an_empty_list():
    assert occurs_in(pd.Series(["a"]), []).tolist() == [False]
