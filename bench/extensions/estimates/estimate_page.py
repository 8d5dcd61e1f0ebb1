"""Render the page of `bench estimate`: what to expect at a hospital without labels, for the person who decides.

Intervals of estimates are 90 % intervals over hospitals. Without an estimate from images, gray numbers are the 95 % prediction
intervals for any hospital like the labeled ones.
"""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from bench.extensions.estimates.estimate_summary import SHOWN, answer
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from reports.drawing import svg
from reports.html.section import write
from reports.html.shell import shell
from reports.report_data.headline_rows import Estimate

STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
HEIGHT = 24.0  # px: height of a figure


def render(result: ExpectedScores) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal content gives equal bytes."""
    shown = answer(result)
    numbers = [number for one in shown["findings"] for number in one["numbers"].values()]
    text = write(
        "estimate_page.html.j2",
        **shell(STYLES),
        title="Unseen: expected scores",
        **shown,
        phantom=result.manifest.phantom,
        sections=[],
        grid=result.manifest.title,
        quantities=SHOWN,
        words={title: title if title.isupper() else title.lower() for title in SHOWN.values()},
        has_values=any(one.number.has_value for one in numbers),
        has_predictions=any(one.number.has_value and one.is_predicted for one in numbers),
        run_axis=_add_figures(shown["runs"], [run["auroc"].number for run in shown["runs"]], 180.0),
        finding_axis=_add_figures(
            shown["findings"], [one["numbers"]["auroc"].number for one in shown["findings"]], 260.0
        ),
    )
    return str(text) + "\n"


def _add_figures(rows: Sequence[dict[str, Any]], aurocs: Sequence[Estimate], width: float) -> Markup:
    """Give each row the figure of its AUROC, on a common scale that is `width` pixels wide, and return the axis."""
    scale = svg.Scale.of_areas(aurocs, width)
    grid = svg.ticks(scale.low, scale.high, 5)
    for row, estimate in zip(rows, aurocs, strict=True):
        row["figure"] = Markup("")
        if estimate.has_value:
            body = svg.grid_lines(scale, grid, HEIGHT) + svg.intervals(estimate, scale, HEIGHT / 2)
            body += svg.circle(scale(estimate.value), HEIGHT / 2, 3.4, "dot")
            row["figure"] = svg.svg(scale.start + scale.end, HEIGHT, body, estimate.with_interval, "st")
    return svg.tick_axis(scale, grid)
