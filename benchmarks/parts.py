"""The command line of a simulation that has several parts: its table is written part by part."""

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd


def run_parts(simulate: Callable[[str, int, int], pd.DataFrame], parts: Collection[str], file: str, about: str) -> None:
    """Simulate, and write the table to the folder of the script `file`; rows of other parts stay.

    simulate: takes the part, and the numbers of simulations and of the seed. about: first line of the help.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--to", type=Path, default=Path(file).with_suffix(".csv"))
    options = parser.parse_args()
    numbers = " ".join(f"--{name} {getattr(options, name)}" for name in ("simulations", "seed"))
    for part in options.parts:
        table = simulate(part, options.simulations, options.seed)
        table["command"] = f"python benchmarks/{Path(file).name} {numbers} --parts {part}"
        if options.to.exists():
            old = pd.read_csv(options.to)
            table = pd.concat([old[old["part"] != part], table])
        table.to_csv(options.to, index=False, float_format="%.4g")
