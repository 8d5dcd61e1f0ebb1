"""Render the page of `bench estimate`: what to expect at a hospital without labels, for the person who decides.

Intervals of estimates are 90 % intervals over hospitals. Without an estimate from images, gray numbers are the 95 % prediction
intervals for any hospital like the labeled ones.
"""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from bench.extensions.estimates.estimate_summary import (
    SHOWN,
    basis_of,
    from_images,
    headline,
    left_out_of_means,
    macro_of,
    measured_rows,
    names_of,
    number_of,
    order_of,
    reasons_of,
    states_of,
    without_images,
)
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from reports.drawing import svg
from reports.formatting import places
from reports.html.section import write
from reports.html.shell import shell
from reports.report_data.headline_rows import Estimate

STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
HEIGHT = 24.0  # of a figure in pixels


def render(result: ExpectedScores, notes: Sequence[str]) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal content gives equal bytes."""
    names, mean, order = names_of(result.manifest), result.means["auroc"], order_of(result)
    best = order[0]
    runs: list[dict[str, Any]] = [
        {
            "name": names[result.run_ids[r]],
            "id": result.run_ids[r],
            "auroc": macro_of(result, r),
            "ranks": (int(mean.rank_low[r]), int(mean.rank_high[r])),
        }
        for r in order
    ]
    findings: list[dict[str, Any]] = [
        {"finding": finding, "values": {quantity: number_of(result, best, k, quantity) for quantity in SHOWN}}
        for k, finding in enumerate(result.findings)
    ]
    shown = [value for row in findings for value in row["values"].values()]
    text = write(
        "estimate_page.html.j2",
        **shell(STYLES),
        title="Unseen: expected scores",
        headline=headline(result),
        phantom=result.manifest.phantom,
        result=result,
        sections=[],
        quantities=SHOWN,
        words={title: title if title.isupper() else title.lower() for title in SHOWN.values()},
        has_values=any(one.number.has_value for one in shown),
        has_predictions=any(one.number.has_value and one.is_predicted for one in shown),
        has_estimates=from_images(result),
        said=without_images(result, names, places),
        worth=states_of(result, best),
        notes=notes,
        runs=runs,
        axis=_add_figures(runs, [row["auroc"].number for row in runs], 180.0),
        findings=findings,
        axis_of_findings=_add_figures(findings, [row["values"]["auroc"].number for row in findings], 260.0),
        left_out=left_out_of_means(result) if mean.findings else [],
        reasons=reasons_of(result, best),
        measured=[
            {
                "finding": row["finding"],
                "score": SHOWN[row["quantity"]],
                "combined": Estimate(row["value"], row["low"], row["high"]),
                "labels_alone": Estimate(row["labels_value"], row["labels_low"], row["labels_high"]),
                "num_patients": int(row["num_patients"]),
            }
            for row in measured_rows(result, best)
        ],
        basis=basis_of(result, places),
    )
    return str(text) + "\n"


def _add_figures(rows: Sequence[dict[str, Any]], aurocs: Sequence[Estimate], width: float) -> Markup:
    """Give each row the figure of its AUROC, on a common scale that is `width` pixels wide, and return the axis."""
    scale = svg.Scale.of_areas(aurocs, width)
    grid = svg.ticks(scale.low, scale.high, 5)
    for row, estimate in zip(rows, aurocs, strict=True):
        row["figure"] = _dot(estimate, scale, grid)
    return svg.tick_axis(scale, grid)


def _dot(estimate: Estimate, scale: svg.Scale, grid: Sequence[float]) -> Markup:
    if not estimate.has_value:
        return Markup("")
    body = svg.grid_lines(scale, grid, HEIGHT)
    body += svg.intervals(estimate, scale, 12) + svg.circle(scale(estimate.value), 12, 3.4, "dot")
    return svg.svg(scale.start + scale.end, HEIGHT, body, estimate.with_interval, "st")
