"""Write the table of a benchmark that simulates cells: how often intervals contain the true value."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd


def write_table(
    name: str,
    about: str,
    cases: int,
    columns: Sequence[str],
    rows_of: Callable[[int, str], Iterator[list[tuple[object, ...]]]],
) -> None:
    """Write the table of the benchmark `name`, again after each cell. `rows_of` yields a cell's rows from cases and command."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=cases)
    given = parser.parse_args()
    table: list[tuple[object, ...]] = []
    for of_cell in rows_of(given.cases, f"python benchmarks/{name}.py --cases {given.cases} -o benchmarks/{name}.csv"):
        table += of_cell
        pd.DataFrame(table, columns=list(columns)).to_csv(given.output, index=False)
