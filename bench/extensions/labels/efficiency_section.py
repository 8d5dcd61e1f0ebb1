"""Section on label efficiency: AUROC of linear probes by the number of labeled training images."""

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import integer, is_number
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.tables import rows_of

DRAWN = 7  # maximum number of lines in the figure: the number of colors; the table has all
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 440.0, 260.0, 34.0, 38.0, 8.0  # px: size and margins of a panel
PANELS = (("internal", "Internal AUROC"), ("external", "Mean external AUROC"))


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe on a line: its number of labels, and its scores."""

    run: Run
    shots: int  # 0: all images
    labels: float  # labeled training images of a finding

    def score(self, panel: str) -> Estimate:
        """Return the score of a panel: internal or external."""
        return self.run.internal if panel == "internal" else self.run.external


def label_efficiency(data: ReportData) -> Section:
    """Write the section: a curve for each encoder, at the internal hospital and as the external mean.

    The section is empty unless the grid has linear probes with different numbers of labels.
    """
    lines = _lines(data)
    if not lines:
        return Section("labels", "", Markup(""))
    best = next(iter(lines.values()))
    name, first, last = next(iter(lines)), best[0], best[-1]
    title = sentence(name, (first.labels, first.run.external), (last.labels, last.run.external))
    drawn = dict(list(lines.items())[:DRAWN])
    context: dict[str, Any] = {
        "data": data,
        "title": title,
        "legend": [(line, _key(k)) for k, line in enumerate(drawn)],
        "panels": [(words, _panel(drawn, panel, f"{words} by number of labels: {title}")) for panel, words in PANELS],
        "lines": lines,
        "left_out": len(lines) - len(drawn),
    }
    return Section("labels", "Labels", write("label_efficiency.html.j2", **context))


def sentence(line: str, few: tuple[float, Estimate], many: tuple[float, Estimate]) -> str:
    """State the external AUROC of a linear probe with few and with many labels: pairs (labels per finding, AUROC).

    >>> few, many = Estimate(0.7012, 0.65, 0.75), Estimate(0.8, 0.78, 0.82)
    >>> sentence("RAD-DINO", (20.0, few), (800.4, many))
    'RAD-DINO: mean external AUROC .701 [.650, .750] with 20 labeled images per finding, .800 [.780, .820] with 800'
    """
    start, end = (integer(labels) for labels, _ in (few, many))
    return (
        f"{line}: mean external AUROC {few[1].with_interval} with {start} labeled images per finding, "
        f"{many[1].with_interval} with {end}"
    )


def _lines(data: ReportData) -> dict[str, list[Point]]:
    """Return the points of each line, from few to many labels.

    The line with the highest external AUROC at its largest number of labels is first.
    """
    runs = {run.id: run for run in data.ranked}
    lines: dict[str, list[Point]] = {}
    for run_id, line, shots, labels in rows_of(data.tables["label_efficiency"], "run_id", "line", "shots", "labels"):
        if str(run_id) in runs and is_number(labels):
            lines.setdefault(str(line), []).append(Point(runs[str(run_id)], int(shots), float(labels)))
    ordered = {line: sorted(points, key=lambda p: p.labels) for line, points in lines.items() if len(points) > 1}

    def last(item: tuple[str, list[Point]]) -> tuple[float, str]:
        value = item[1][-1].run.external.value
        return (-value if is_number(value) else math.inf, item[0])

    return dict(sorted(ordered.items(), key=last))


def _panel(lines: dict[str, list[Point]], panel: str, label: str) -> Markup:
    """Draw the curves of one panel: AUROC by the logarithm of the number of labels, with bands of 95 % intervals.

    Both panels have the same axes, so a reader can compare them.
    """
    scores = [p.score(name) for points in lines.values() for p in points for name, _ in PANELS]
    ends = [v for e in scores for v in (e.value, e.low, e.high) if is_number(v)] or [0.5]
    labels = [p.labels for points in lines.values() for p in points]
    x = svg.Scale(math.log(min(labels)), math.log(max(labels)), LEFT + 10, WIDTH - 14)
    y = svg.Scale(min(ends) - 0.01, max(ends) + 0.01, HEIGHT - BOTTOM, TOP)
    grid = svg.ticks(y.low, y.high, 5)
    body = "".join(
        svg.line(LEFT, y(t), WIDTH - 8, y(t), "g") + svg.text(LEFT - 6, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    body += "".join(
        svg.text(x(math.log(n)), HEIGHT - BOTTOM + 16, integer(n), "tk", "middle") for n in _ticks(labels, x)
    )
    body += svg.text(WIDTH - 8, HEIGHT - 4, "labeled images per finding \u2192", "tk", "end")
    for k, points in reversed(list(enumerate(lines.values()))):
        known = [(x(math.log(p.labels)), p.score(panel)) for p in points if p.score(panel).has_value]
        spans = [(at, y(e.low), y(e.high)) for at, e in known if e.has_interval]
        body += f'<g class="le{k}">{svg.band(spans, "le-b")}'
        body += svg.polyline([(at, y(e.value)) for at, e in known], "le-l") if known else ""
        body += "".join(svg.circle(at, y(e.value), 3, "le-d") for at, e in known) + "</g>"
    return svg.svg(WIDTH, HEIGHT, body, label)


def _ticks(labels: list[float], x: svg.Scale) -> list[float]:
    """Return the numbers of labels that are written below the axis: all that have room for their digits."""
    shown: list[float] = []
    for n in sorted(set(labels), reverse=True):
        if not shown or x(math.log(shown[-1])) - x(math.log(n)) > 40:
            shown.append(n)
    return shown


def _key(k: int) -> Markup:
    """Draw the mark of a line for the legend."""
    body = f'<g class="le{k}">{svg.line(0, 6, 18, 6, "le-l")}{svg.circle(9, 6, 3, "le-d")}</g>'
    return svg.svg(18, 12, body, "", "ky")
