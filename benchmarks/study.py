"""What simulations of coverage share: cells of a table, the command line, and shares with their intervals."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bench.scoring.intervals import wilson

Row = dict[str, object]


def share(held: ArrayLike) -> tuple[float, float, float]:
    """Return the share of cases that held, and the bounds of its 95 % interval (Wilson).

    >>> [round(number, 3) for number in share([True, True, False, True])]
    [0.75, 0.301, 0.954]
    """
    mean = float(np.mean(held))
    low, high = wilson(np.array(mean), np.array(float(np.size(held))))
    return mean, float(low), float(high)


def main(
    file: str,
    about: str | None,
    cells: Mapping[str, Iterable[Any]] | Iterable[Any],
    rows: Callable[[Any, int], list[Row]],
    cases: int = 2000,
) -> None:
    """Simulate, and write the table beside the script `file`.

    cells: of the table, or those of each part; rows of other parts stay. rows: returns the rows of a cell for a number of cases,
    which is `cases` by default. about: docstring of the script.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("-o", "--output", type=Path, default=Path(file).with_suffix(".csv"))
    parts = cells if isinstance(cells, Mapping) else {"": cells}
    if "" not in parts:
        parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    given = parser.parse_args()
    for part in getattr(given, "parts", parts):
        table: list[Row] = []
        for cell in parts[part]:
            table += (found := rows(cell, given.cases))
            print(*(tuple(row.values()) for row in found), sep="\n", flush=True)
        command = f"python benchmarks/{Path(file).name} --cases {given.cases}" + f" --parts {part}" * bool(part)
        new = pd.DataFrame(table).assign(command=command)
        if part and given.output.exists():
            old = pd.read_csv(given.output)
            new = pd.concat([old[old["part"] != part], new])
        new.to_csv(given.output, index=False, float_format="%.4g")
