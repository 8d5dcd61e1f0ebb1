import pandas as pd

from benchmarks import slow_tests
from tests.costs import COLLECTION


def test_the_slowest_tests_are_listed_with_units_and_the_progress_in_tenths() -> None:
    """The list of slow tests in RESULTS.md.

    More text.
    """
    own = "tests/unit/benchmarks/test_slow_tests.py::test_the_slowest_tests_are_listed_with_units_and_the_progress_in_tenths"
    costs = pd.DataFrame({"cpu_s": [6.0] + [1.0] * 94, "test": [own] + [f"{own}[{i}]" for i in range(94)]})
    costs = pd.concat([costs, pd.DataFrame({"cpu_s": [10.0], "test": [COLLECTION]})], ignore_index=True)
    text = slow_tests.section(costs, 2.0, "a machine")
    assert "95 tests took 110 CPU s (55 units), 10 of them to collect the tests, on a machine" in text
    assert "14%, 24%, 33%" in text  # of 9, 19 and 28 tests
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == slow_tests.NUM
    assert rows[0] == f"| `{own.partition('::')[2]}` | 6.0 | 3.0 | The list of slow tests in RESULTS.md. |"
    assert slow_tests.covers("tests/costs.py::evenly").startswith("Return the files in an order")
    assert slow_tests.covers("bench/api.py::bench.api.run") == ""  # an example
    assert slow_tests.covers("tests/unit/benchmarks/test_slow_tests.py::test_of_no_name") == ""
