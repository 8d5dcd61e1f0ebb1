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
SIZE, LEFT, BOTTOM = 176.0, 26.0, 22.0
AXES = {"roc": ("1 − specificity", "sensitivity"), "pr": ("sensitivity", "precision")}
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
        at = tuple(agreement[name] for name in ("dataset", "panel", "finding"))
        points, curves = (
            [row for row in of_first[name] if (row["dataset"], row["panel"], row["finding"]) == at] for name in of_first
        )
        below = {row["run_id"]: row for row in shares if (row["dataset"], row["panel"], row["finding"]) == at}
        panels.append(
            {
                "hospital": data.short(at[0]),
                "panel": at[1],
                "finding": at[2],
                "figures": [figure(kind, points, curves, at[2]) for kind in AXES] if points else [],
                "points": [
                    (
                        row,
                        *(bounded(row, name) for name in ("sensitivity", "specificity", "precision")),
                        difference(row),
                    )
                    for row in points
                ],
                "agreement": agreement,
                "fleiss": Estimate(agreement["fleiss"], agreement["low"], agreement["high"]),
                "below": [below.get(recipe.id) for recipe in recipes],
            }
        )
    context = {"data": data, "title": title(panels, first.label), "first": first, "recipes": recipes, "panels": panels}
    return Section(KEY, "Readers", write("readers.html.j2", **context))


def title(panels: Sequence[Mapping[str, Any]], label: str) -> str:
    """State how many readers are below the curve of the first recipe, over the findings with a comparison."""
    rows = [panel["below"][0] for panel in panels if panel["below"][0] is not None]
    below, num = (sum(row[name] for row in rows) for name in ("num_below", "num_readers"))
    return f"{below} of {plural(num, 'operating point')} of single readers {'is' if below == 1 else 'are'} below the ROC curve of {label}"


def bounded(row: Mapping[str, Any], name: str) -> Estimate:
    """Return a rate of a reader with its interval."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])


def difference(row: Mapping[str, Any]) -> Estimate:
    """Return the network's minus the reader's sensitivity with its interval."""
    return Estimate(row["difference"], row["difference_low"], row["difference_high"])


def figure(kind: str, points: Rows, curves: Rows, finding: str) -> Markup:
    """Draw a curve of the network (`kind`: roc or pr), and the readers as dots with both intervals."""
    x_of, y_of = svg.Scale(0, 1, LEFT, SIZE - 4), svg.Scale(0, 1, SIZE - BOTTOM, 4)
    ticks, (x_name, y_name) = (0.0, 0.5, 1.0), AXES[kind]
    body = "".join(
        svg.line(x_of(t), y_of(0), x_of(t), y_of(1), "g")
        + svg.line(x_of(0), y_of(t), x_of(1), y_of(t), "g")
        + svg.text(x_of(t), SIZE - BOTTOM + 11, svg.tick_text(t, ticks), "tk", "middle")
        + svg.text(LEFT - 4, y_of(t) + 4, svg.tick_text(t, ticks), "tk", "end")
        for t in ticks
    )
    body += svg.text(x_of(0.5), SIZE - 1, x_name, "tk", "middle") + svg.text(LEFT + 3, 13, y_name, "tk")
    dots = []
    for row in points:
        rates = [
            bounded(row, name)
            for name in (("specificity", "sensitivity") if kind == "roc" else ("sensitivity", "precision"))
        ]
        across, up = rates
        if not (across.has_value and up.has_value):
            continue
        flip = (lambda value: x_of(1 - value)) if kind == "roc" else x_of
        body += svg.line(flip(across.low), y_of(up.value), flip(across.high), y_of(up.value), "thin")
        body += svg.line(flip(across.value), y_of(up.low), flip(across.value), y_of(up.high), "thin")
        dots.append((flip(across.value), y_of(up.value), f"reader {row['reader']}"))
    line = [(x_of(row["x"]), y_of(row["y"])) for row in curves if row["curve"] == kind]
    body += (svg.polyline(line, "cv-mean") if line else "") + svg.named_dots(dots, "sw fine internal")
    said = ", ".join(
        f"reader {row['reader']}: {places(row['sensitivity'], 2)} and {places(row['specificity'], 2)}" for row in points
    )
    return svg.svg(SIZE, SIZE, body, f"{finding}, {kind.upper()}; sensitivity and specificity of each {said}")


SECTIONS = (PlacedSection(readers, HOSPITALS, ranked_only=True),)
