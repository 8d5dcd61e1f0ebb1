"""B11: the page of 500 runs, as `benchmarks/page.py` measures it.

The peer is the simpler page that we compare with.
"""

import statistics
import tempfile
import time
from functools import cache
from pathlib import Path

from benchmarks.harness import Benchmark, Measured, NotMeasured, check, compared, peer, spread


@cache
def made(quick: bool) -> tuple[dict[str, str], dict[str, list[float]], str]:
    """Return our page and the peer's, the CPU seconds to write each page, and the result of comparing their cells."""
    peer("playwright.sync_api", "playwright")
    peer("tests.browser.visit")
    from benchmarks import page
    from tests.synthetic import Invented, tables

    report_tables = tables(Invented(runs=20 if quick else 500))
    # The first page that a process writes compresses plotly.js. This page is not measured.
    page.render(tables(Invented(runs=2)))
    pages, spent = {}, {"page": [], "peer": []}
    for _ in range(1 if quick else 3):
        for name, write in (("page", page.render), ("peer", page.peer)):
            start = time.process_time()
            pages[name] = write(report_tables)
            spent[name].append(time.process_time() - start)
    ours, theirs = page.cells(pages["page"]), page.cells(pages["peer"])
    equal = ours == theirs
    text = f"all {len(ours):,} table cells equal" if equal else "table cells differ from"
    return pages, spent, check(equal, f"{text} those of the page made with plotly and jinja")


def written(quick: bool) -> Measured:
    """Return the CPU seconds of writing the page."""
    _, spent, gate = made(quick)
    return spread(spent["page"], gate, f"page made with plotly and jinja: {statistics.median(spent['peer']):.2f} CPU s")


def size(quick: bool) -> Measured:
    """Return the size of the page in MB."""
    pages, _, gate = made(quick)
    return spread(
        [len(pages["page"].encode()) / 1e6],
        gate,
        f"page made with plotly and jinja: {len(pages['peer'].encode()) / 1e6:.2f} MB",
    )


def usable(quick: bool) -> Measured:
    """Return the peer's time from navigation to a sorted table, divided by ours, in headless Chromium."""
    pages, _, gate = made(quick)
    from playwright.sync_api import sync_playwright

    from benchmarks import page
    from tests.browser.visit import FLAGS, chromium

    times: dict[str, list[float]] = {"page": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Exception as error:
            raise NotMeasured(f"no Chromium ({type(error).__name__})") from error
        for _ in range(1 if quick else 5):
            for name, text in pages.items():
                file = Path(folder) / f"{name}.html"
                file.write_text(text, encoding="utf-8")
                times[name].append(page.seen(browser, file, 1)["sorted"])
        browser.close()
    median = {name: statistics.median(durations) for name, durations in times.items()}
    return compared(
        times["peer"],
        times["page"],
        gate,
        f"time since the page was opened: peer {median['peer']:,.0f} ms, ours {median['page']:,.0f} ms",
    )


BENCHMARKS = (
    Benchmark(
        "B11",
        "report page of 500 runs: time until its table is sorted",
        "page made with plotly and jinja",
        ">= 3.5",
        usable,
    ),
    Benchmark("B11", "report page of 500 runs: time to write the file", "-", "<= 2", written, "CPU s"),
    Benchmark("B11", "report page of 500 runs: file size, including plotly", "-", "<= 6", size, "MB"),
)
