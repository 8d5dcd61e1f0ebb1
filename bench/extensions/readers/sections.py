"""Section on the operating points of single readers beside the curves of a recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import places, plural
from reports.html.section import HOSPITALS, PlacedSection, Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData
from reports.tables import records_of

KEY = "readers"
RATES = ("sensitivity", "specificity", "precision")
SIZE, LEFT, BOTTOM = 176.0, 26.0, 22.0
Rows = Sequence[Mapping[str, Any]]


def readers(data: ReportData) -> Section:
    """Write the section: figures of the first recipe that was compared, and a table of all; empty without readers."""
    shares = records_of(data.tables["reader_shares"])
    recipes = [recipe for recipe in data.ranked if recipe.id in {row["run_id"] for row in shares}]
    if not recipes:
        return Section(KEY, "", Markup(""))
    first = recipes[0]
    of_first = {
        name: [r for r in records_of(data.tables[f"reader_{name}"]) if r["run_id"] == first.id]
        for name in ("points", "curves")
    }
    panels = []
    for agreement in records_of(data.tables["reader_agreement"]):
        dataset, finding = agreement["dataset"], agreement["finding"]
        points, curves, shares_here = (
            [row for row in rows if (row["dataset"], row["finding"]) == (dataset, finding)]
            for rows in (of_first["points"], of_first["curves"], shares)
        )
        share_of = {row["run_id"]: row for row in shares_here}
        intervals = [[bounded(row, rate) for rate in RATES] for row in points]
        panels.append(
            {
                "hospital": data.hospitals[dataset].short,
                "finding": finding,
                "figure": figure(points, curves, finding) if points else "",
                "points": [(row, *of_rates, difference(row)) for row, of_rates in zip(points, intervals, strict=True)],
                "agreement": agreement,
                "below": [share_of.get(recipe.id) for recipe in recipes],
            }
        )
    headline = title([row for row in shares if row["run_id"] == first.id], first.label)
    context = {"data": data, "title": headline, "first": first, "recipes": recipes, "panels": panels}
    return Section(KEY, "Readers", write("readers.html.j2", **context))


def title(shares: Rows, label: str) -> str:
    """State how many readers are below the curve of a recipe, over its rows of `reader_shares`."""
    below, num = (sum(row[name] for row in shares) for name in ("num_below", "num_readers"))
    return f"{below} of {plural(num, 'operating point')} of single readers {'is' if below == 1 else 'are'} below the ROC curve of {label}"


def bounded(row: Mapping[str, Any], name: str) -> Estimate:
    """Return a rate of a reader with its interval."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])


def difference(row: Mapping[str, Any]) -> Estimate:
    """Return the network's minus the reader's sensitivity with its interval."""
    return Estimate(row["difference"], row["difference_low"], row["difference_high"])


def figure(points: Rows, curve: Rows, finding: str) -> Markup:
    """Draw the ROC curve of the network, and the readers as dots with both intervals."""
    x_of, y_of = svg.Scale(0, 1, LEFT, SIZE - 4), svg.Scale(0, 1, SIZE - BOTTOM, 4)
    ticks = (0.0, 0.5, 1.0)
    body = "".join(
        svg.line(x_of(t), y_of(0), x_of(t), y_of(1), "g")
        + svg.line(x_of(0), y_of(t), x_of(1), y_of(t), "g")
        + svg.text(x_of(t), SIZE - BOTTOM + 11, svg.tick_text(t, ticks), "tk", "middle")
        + svg.text(LEFT - 4, y_of(t) + 4, svg.tick_text(t, ticks), "tk", "end")
        for t in ticks
    )
    body += svg.text(x_of(0.5), SIZE - 1, "1 − specificity", "tk", "middle")
    body += svg.text(LEFT + 3, 13, "sensitivity", "tk")
    dots = []
    for row in points:
        across, up = bounded(row, "specificity"), bounded(row, "sensitivity")
        if not (across.has_value and up.has_value):
            continue
        body += svg.line(x_of(1 - across.low), y_of(up.value), x_of(1 - across.high), y_of(up.value), "thin")
        body += svg.line(x_of(1 - across.value), y_of(up.low), x_of(1 - across.value), y_of(up.high), "thin")
        dots.append((x_of(1 - across.value), y_of(up.value), f"reader {row['reader']}"))
    line = [(x_of(row["x"]), y_of(row["y"])) for row in curve]
    body += svg.polyline(line, "cv-mean") + svg.named_dots(dots, "sw fine internal")
    rates = ", ".join(
        f"reader {row['reader']}: {places(row['sensitivity'], 2)} and {places(row['specificity'], 2)}" for row in points
    )
    return svg.svg(SIZE, SIZE, body, f"{finding}, ROC; sensitivity and specificity of each {rates}")


SECTIONS = (PlacedSection(readers, HOSPITALS, ranked_only=True),)
