"""B11: the page of 500 runs: CPU seconds to write it, and its size."""

import time

from benchmarks.harness import Benchmark, Measured, spread


def written(quick: bool) -> Measured:
    """Return the CPU seconds of writing the page, whose size is in the note."""
    from reports.page import render
    from tests.synthetic import Invented, tables

    report_tables = tables(Invented(runs=20 if quick else 500))
    render(tables(Invented(runs=2)))  # the first page of a process also compiles the templates, and is not measured
    spent = []
    for _ in range(1 if quick else 3):
        start = time.process_time()
        page = render(report_tables)
        spent.append(time.process_time() - start)
    return spread(spent, "none", f"{len(page.encode()) / 1e6:.2f} MB")


BENCHMARKS = (Benchmark("B11", "report page of 500 runs: time to write the file", "-", "<= 2.5", written, "units"),)
