"""Compare this project's speed with that of other libraries (peers), and write the table of results.

    python -m benchmarks                       # all benchmarks; about an hour on two cores
    python -m benchmarks B1 B3                 # these benchmarks; the other rows of the table stay
    python -m benchmarks --table               # after a merge of results.csv: write the table from its rows
    python -m benchmarks --check B3 B6         # compare these with the committed figures; nothing written
    python -m benchmarks --quick               # smoke test: small data, few rounds, nothing written
    python -m benchmarks unit                  # the unit of speed on this machine; nothing written
    python -m benchmarks gpu                   # on a machine with a GPU: tests/cuda, then G1 and G2; less than nine minutes
    python -m benchmarks gpu --device cpu      # the same code on a CPU with tiny sizes; nothing written

The command writes benchmarks/results.csv and the table between two markers of benchmarks/RESULTS.md.

The exit status is 1 in three cases:
- a gate fails: our implementation and the peer's give different results;
- a benchmark crashes;
- a measured value is more than a tenth worse than the committed value of the same processor, and the ranges of their
  rounds do not overlap. With --check, a ratio to a peer is also compared with a value of another processor; there, the limit
  is a third instead of a tenth.

Before each benchmark that measures CPU seconds, the unit of speed is measured (benchmarks/unit.py). Figure and goal are in units.

A benchmark may have a goal for its value. A missed goal is printed, but does not change the exit status.
"""

import argparse
import importlib
import math
import os
import pkgutil
import sys
from pathlib import Path

# numpy reads this variable when it is imported. All ratios are measured on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks import gpu, results, rows, unit
from benchmarks.harness import Benchmark, measured

FOLDER = Path(__file__).parent


def listed() -> list[Benchmark]:
    """Return the benchmarks of all files in `rows`, in the order of their names."""
    all_benchmarks = [
        benchmark
        for module in pkgutil.iter_modules(rows.__path__)
        for benchmark in importlib.import_module(f"{rows.__name__}.{module.name}").BENCHMARKS
    ]
    keys = [benchmark.key for benchmark in all_benchmarks]
    if len(set(keys)) < len(keys):
        raise SystemExit(
            f"two benchmarks have the same name, computation and peer: {sorted(key for key in set(keys) if keys.count(key) > 1)}"
        )
    return sorted(all_benchmarks, key=lambda benchmark: (benchmark.name[:1], int(benchmark.name[1:])))


def main(arguments: list[str] | None = None) -> int:
    """Run the selected benchmarks, print a line for each, write the table and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run, such as B1 (default: all)")
    parser.add_argument("--quick", action="store_true", help="small data and few rounds; writes and compares nothing")
    parser.add_argument("--check", action="store_true", help="compare with the committed figures; writes nothing")
    parser.add_argument("--list", action="store_true", help="names, peers and goals; runs nothing")
    parser.add_argument("--table", action="store_true", help="write the table from results.csv anew; runs nothing")
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["gpu"]:
        return gpu.main(FOLDER, listed(), words[1:])
    if words == ["unit"]:
        print(unit.text(unit.seconds(), results.machine()))
        return 0
    options = parser.parse_args(words)
    available = listed()
    unknown = set(options.names) - {benchmark.name for benchmark in available}
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(dict.fromkeys(b.name for b in available))}"
        )
    selected = [benchmark for benchmark in available if not options.names or benchmark.name in options.names]
    if options.list:
        for benchmark in selected:
            print(
                f"{benchmark.name:<4} {benchmark.what}; peer: {benchmark.peer}"
                + (f"; goal {benchmark.goal} {benchmark.unit}" if benchmark.goal else "")
            )
        return 0
    csv, document = FOLDER / "results.csv", FOLDER / "RESULTS.md"
    if options.table:
        rows_now = results.merged([], results.read_csv(csv.read_text(encoding="utf-8")))
        csv.write_text(results.write_csv(rows_now), encoding="utf-8")
        document.write_text(results.rewritten(document.read_text(encoding="utf-8"), rows_now), encoding="utf-8")
        return 0
    session = results.Session.begin(
        FOLDER, available, writes=not (options.quick or options.check), compares=not options.quick, in_ci=options.check
    )
    print(session.machine)
    failed = False
    for benchmark in selected:
        in_units = benchmark.unit == results.UNITS
        unit_s = sum(unit.seconds(1 if options.quick else unit.ROUNDS).values()) if in_units else math.nan
        failed |= session.add(benchmark, measured(benchmark, options.quick), unit_s)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
