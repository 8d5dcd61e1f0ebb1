"""Section on label efficiency: AUROC of linear probes by the number of labeled training images."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from reports.formatting import integer, is_number
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.tables import rows_of


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe on a line: its number of labels, and its scores."""

    run: Run
    shots: int  # 0: all images
    labels: float  # labeled training images of a finding


def label_efficiency(data: ReportData) -> Section:
    """Write the section: a table of each encoder's AUROC, at the internal hospital and as the external mean.

    The section is empty unless the grid has linear probes with different numbers of labels.
    """
    lines = _lines(data)
    if not lines:
        return Section("labels", "", Markup(""))
    best = next(iter(lines.values()))
    first, last = best[0], best[-1]
    title = sentence(next(iter(lines)), (first.labels, first.run.external), (last.labels, last.run.external))
    return Section("labels", "Labels", write("label_efficiency.html.j2", data=data, title=title, lines=lines))


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
