"""List the slowest tests in RESULTS.md, with what each alone covers, and how evenly the time goes on.

    pytest -n 2 --dist loadfile --no-loadscope-reorder --costs costs.csv -m "not thorough" --doctest-modules bench harmonize reports tests
    python -m benchmarks.slow_tests costs.csv     # just after, because the unit is measured now; `tox -e full` writes .tox/full/tmp/costs.csv

What a test alone covers is the first paragraph of its docstring; a test without one is covered by its name.
"""

import ast
import re
import sys
from pathlib import Path

import pandas as pd

from benchmarks import results, unit
from tests.costs import COLLECTION

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- begin: slowest tests -->", "<!-- end: slowest tests -->"
NUM = 10


def covers(test: str) -> str:
    """Return the first paragraph of a test's docstring in one line, "" without one. test: such as "tests/a.py::test_b[0]"."""
    path, _, name = test.partition("::")
    if not path.startswith("tests/"):  # an example in a docstring
        return ""
    function = re.split(r"\[|::", name)[0]
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    return ""


def section(costs: pd.DataFrame, unit_s: float, machine: str) -> str:
    """Return the text between the markers. costs: see tests/costs.py; rows in the order in which the tests ended."""
    total = costs["cpu_s"].sum()
    collecting, costs = costs[costs["test"] == COLLECTION]["cpu_s"].sum(), costs[costs["test"] != COLLECTION]
    so_far = costs["cpu_s"].cumsum() / costs["cpu_s"].sum()
    tenths = ", ".join(f"{so_far.iloc[max(len(costs) * i // 10 - 1, 0)]:.0%}" for i in range(1, 10))
    rows = [
        f"| `{row.test.partition('::')[2]}` | {row.cpu_s:.1f} | {row.cpu_s / unit_s:.1f} | {covers(row.test)} |"
        for row in costs.nlargest(NUM, "cpu_s").itertuples()
    ]
    spent = (
        f"{len(costs):,} tests took {total:,.0f} CPU s ({total / unit_s:,.0f} units), {collecting:,.0f} of them to collect the tests, "
        f"on {machine}. After each tenth of the tests, this share of their CPU time was spent: {tenths}."
    )
    return "\n".join([spent, "", "| test | CPU s | units | what it alone covers |", "|---|---|---|---|", *rows])


def main() -> None:
    """Write the section of RESULTS.md from the file of costs."""
    costs, document = pd.read_csv(sys.argv[1]), ROOT / "benchmarks" / "RESULTS.md"
    text = section(costs, sum(unit.seconds().values()), results.machine())
    before, rest = document.read_text(encoding="utf-8").split(BEGIN)
    document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
