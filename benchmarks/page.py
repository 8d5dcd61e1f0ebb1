"""Compare our page of 500 runs with a simpler page: its size, and the time until its table can be sorted.

The simpler page has a jinja table, and charts from plotly's own HTML writer.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/page.py --runs 500

The tables are random with a fixed seed: 6 datasets, 9 findings. Both pages contain plotly.js, the same cells and the same charts.
Before the pages are opened, their cells are read from the files and compared one by one.

Headless Chromium (UNSEEN_CHROMIUM, or the first on the path) opens each page in turn. From the start of the navigation, a script
clicks the head of the column "gap" every few milliseconds until the order of the rows changes. All numbers are
milliseconds, as medians over visits:

sorted   from navigation until the first click that changes the order of the rows
after load   time from the load event until `sorted`; 0 if the table was sorted before the load event
whole    from navigation until all rows are sorted; our page sorts the visible rows first, the others when the browser is idle
again    from a click on another column, after `whole`, until the page shows the new order
cpu      CPU time of the page's main thread until `sorted` and until `whole`; other work on the machine hardly changes it
chart    from navigation until the first chart is drawn; a chart is drawn when the reader scrolls to it, here after `whole`
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import plotly.graph_objects as go
from playwright.sync_api import Browser, CDPSession, sync_playwright

from reports.page import ORDER, render
from reports.report_data.report_data import read
from reports.sections.ranking_columns import columns_of
from reports.tables import Tables
from tests.browser.visit import FLAGS, chromium, wait_until
from tests.synthetic import Invented, tables

PEER = """<!doctype html><html><head><meta charset="utf-8"><title>Leaderboard</title></head><body>
{% for figure in figures %}{{ figure }}{% endfor %}
<table id="rank"><thead><tr><th>Run</th>{% for c in columns %}<th data-sort="{{ c.key }}">{{ c.head }}</th>{% endfor %}</tr></thead><tbody>
{% for r in runs %}<tr data-id="{{ r.id }}"><th>{{ r.label | e }}</th>{% for c in columns %}<td class="c-{{ c.key }}">
<span class="v">{{ c.shown(r) | e }}</span><span class="s">{{ c.small(r) | e }}</span></td>{% endfor %}</tr>
{% endfor %}</tbody></table>
<script>
const body = document.querySelector('#rank tbody');
for (const head of document.querySelectorAll('[data-sort]')) head.addEventListener('click', () => {
  const number = row => parseFloat(row.querySelector('.c-' + head.dataset.sort + ' .v').textContent.replace('\\u2212', '-'));
  body.append(...[...body.rows].sort((a, b) => number(a) - number(b)));
});
</script></body></html>"""

WATCH = """
window.seen = { sorted: 0, charts: -1, load: 0, whole: 0, chart: 0 };
addEventListener('load', () => { seen.load = performance.now(); });
const order = () => [...document.querySelectorAll('#rank tr[data-id]')].slice(0, 5).map(row => row.dataset.id).join();
const click = () => {
  const head = document.querySelector('[data-sort=gap]'), before = order();
  if (head) head.click();
  if (order() === before) return setTimeout(click, 2);
  document.querySelector('#rank').getBoundingClientRect();
  seen.sorted = performance.now();
  seen.charts = document.querySelectorAll('.main-svg').length;
};
click();
const wait = () => {
  if (!seen.whole && seen.load && seen.sorted && !document.querySelector('#rank[data-unfinished]')) seen.whole = performance.now();
  if (!seen.chart && document.querySelector('.main-svg')) seen.chart = performance.now();
  if (!seen.whole || !seen.chart) setTimeout(wait, 5);
};
wait();
"""

AGAIN = """() => {
  const start = performance.now();
  document.querySelector('[data-sort=ece]').click();
  document.querySelector('#rank').getBoundingClientRect();
  return performance.now() - start;
}"""

GAPS = """() => [...document.querySelectorAll('#rank tr[data-id] td.c-gap .v')].map(e => parseFloat(e.textContent.replace('\u2212', '-')))"""


class Cells(HTMLParser):
    """The value of every cell of the ranking, by run and column."""

    def __init__(self) -> None:
        super().__init__()
        self.run, self.column, self.inside = "", "", False
        self.found: dict[tuple[str, str], str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store the run and the column of the cell that begins."""
        attributes = {key: value or "" for key, value in attrs}
        if tag == "tr":
            self.run = attributes.get("data-id", "")
        css = attributes.get("class", "").split()
        if tag == "td":
            self.column = next((c[2:] for c in css if c.startswith("c-")), "")
        self.inside = tag == "span" and "v" in css

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        """End the cell, so that later text does not belong to it."""
        self.inside = False

    def handle_data(self, data: str) -> None:
        """Store the text of the cell."""
        if self.inside and self.run:
            self.found[self.run, self.column] = self.found.get((self.run, self.column), "") + data


def cells(page: str) -> dict[tuple[str, str], str]:
    """Return the text of every cell of a page's ranking, by run and column."""
    parser = Cells()
    parser.feed(page)
    return parser.found


def peer(report_tables: Tables) -> str:
    """Return the page of the peer: the same rows from a jinja template, and the same charts from plotly's HTML writer."""
    board = read(report_tables)
    specs = [chart for section in ORDER for chart in section.write(board).charts]
    colours = re.compile(r"var\(--[\w-]+\)")
    figures = [
        go.Figure(json.loads(colours.sub("#0072b2", json.dumps({"data": s["data"], "layout": s["layout"]})))).to_html(
            full_html=False, include_plotlyjs=k == 0
        )
        for k, s in enumerate(specs)
    ]
    return jinja2.Template(PEER).render(figures=figures, columns=columns_of(board), runs=board.ranked)


def spent(metrics: CDPSession) -> float:
    """Return the CPU milliseconds of a page's main thread so far."""
    return 1000 * {m["name"]: m["value"] for m in metrics.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


def seen(browser: Browser, file: Path, num_visits: int) -> dict[str, float]:
    """Open a page several times and return the medians of the numbers that the module's docstring defines.

    Also return the number of charts that were drawn when the table was first sorted, and the number of rows.
    """
    visits = []
    for _ in range(num_visits):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        metrics = context.new_cdp_session(page)
        metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(file.as_uri())
        wait_until(page, "seen.sorted && seen.load")
        cpu = {"cpu until sorted": spent(metrics)}
        wait_until(page, "seen.whole")
        cpu["cpu until whole"] = spent(metrics)
        gaps = page.evaluate(GAPS)
        assert gaps == sorted(gaps, reverse=gaps[0] > gaps[-1])
        again = page.evaluate(AGAIN)
        wait_until(page, "!document.querySelector('#rank[data-unfinished]')")
        page.evaluate("document.querySelector('.plot, .plotly-graph-div').scrollIntoView({ behavior: 'instant' })")
        wait_until(page, "seen.chart")
        times = page.evaluate("seen")
        visits.append({
            "sorted": times["sorted"], "after load": max(0.0, times["sorted"] - times["load"]), "whole": times["whole"], "again": again,
            **cpu, "chart": times["chart"], "charts drawn when sorted": times["charts"], "rows": len(gaps),
        })  # fmt: skip
        context.close()
    return {key: statistics.median(visit[key] for visit in visits) for key in visits[0]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--visits", type=int, default=7)
    options = parser.parse_args()
    report_tables = tables(Invented(runs=options.runs))
    # The first page that a process writes compresses plotly.js. This page is not measured.
    render(tables(Invented(runs=2)))
    writing_seconds = {}
    pages = {}
    for name, write in (("page", render), ("peer", peer)):
        cpu_seconds = []
        for _ in range(3):
            start = time.process_time()
            pages[name] = write(report_tables)
            cpu_seconds.append(time.process_time() - start)
        writing_seconds[name] = min(cpu_seconds)
    ours, theirs = cells(pages["page"]), cells(pages["peer"])
    assert ours == theirs, "a cell differs"
    print(f"{len(ours)} cells, the same in both")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        times = {}
        for name, page in pages.items():
            file = Path(folder) / f"{name}.html"
            file.write_text(page, encoding="utf-8")
            times[name] = seen(browser, file, options.visits)
            print(
                f"{name}: {file.stat().st_size / 1e6:.2f} MB, written in {writing_seconds[name]:.2f} CPU s; "
                + ", ".join(f"{key} {value:.0f}" for key, value in times[name].items())
            )
        for key in ("sorted", "cpu until sorted"):
            print(f"{key}: {times['peer'][key] / times['page'][key]:.2f} times sooner than the peer")
        browser.close()


if __name__ == "__main__":
    main()
