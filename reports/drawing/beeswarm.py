"""Show which image properties a source classifier uses: a table of importances, and a figure with one dot per image.

A source classifier predicts the hospital of an image. An image property (a descriptor) is a number, such as the mean
gray value. A SHAP value is the amount by which one property of an image changes the predicted probability of the
image's hospital.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import listing, places
from reports.report_data.report_data import ReportData

SHOWN = 8  # number of image properties in the figure
POINTS = 320  # maximum number of dots per image property
# px: width of the figure, width of the names, distance of two lanes (rows of dots of one property), height of a row
WIDTH, NAME, LANE, ROW = 760.0, 176.0, 2.6, 36.0
# the figure for phones, which has names above the rows: width (px), height of a row (px), number of dots per property
PHONE, PHONE_ROW, PHONE_POINTS = (328.0, 56.0, 110)


def described(data: ReportData, model: str) -> dict[str, Any]:
    """Return title, figure and table of one source classifier; {} without results.

    `model`: the input of the classifier, "pixels" (properties of the image) or "header" (properties of the file).
    """
    table = data.tables["descriptors"]
    model_rows = table[table["model"] == model]
    importance = model_rows[model_rows["kind"] == "importance"]
    overall = importance[importance["source"] == ""].sort_values(["shap", "descriptor"], ascending=[False, True])
    names = [str(name) for name in overall["descriptor"][:SHOWN]]
    if not names:
        return {}
    order = {hospital.key: position for position, hospital in enumerate(data.hospitals.all)}
    keys = sorted({str(s) for s in importance["source"]} - {""}, key=lambda key: (order.get(key, len(order)), key))
    cells = {(str(r["descriptor"]), str(r["source"])): r for r in importance.to_dict("records")}
    largest = float(overall["shap"].max()) or 1.0
    rows = [
        {
            "name": name,
            "all": float(cells[name, ""]["shap"]),
            "sites": [_site(cells.get((name, key)), largest) for key in keys],
        }
        for name in names
    ]
    return {
        "title": f"Image properties that reveal the hospital: {listing(names)}",
        "figure": swarms(model_rows[model_rows["kind"] == "point"], names)
        + swarms(model_rows[model_rows["kind"] == "point"], names, phone=True),
        "heads": [data.hospitals[key].short for key in keys],
        "rows": rows,
        "n": int((model_rows["kind"] == "point").sum() / max(1, model_rows["descriptor"].nunique())),
    }


def _site(row: Any, largest: float) -> dict[str, Any]:
    """Return a table cell of one hospital: mean absolute SHAP value, its color class, and the median of the property.

    `row`: row of the table `descriptors`; None gives a cell without numbers. `largest`: the largest mean absolute SHAP
    value of any property, over all hospitals.
    """
    if row is None:
        return {"shap": float("nan"), "css": "qx", "value": float("nan")}
    shap = float(row["shap"])
    return {"shap": shap, "css": f"q{max(0, min(7, int(8 * shap / (1.5 * largest))))}", "value": float(row["value"])}


def swarms(points: pd.DataFrame, names: Sequence[str], phone: bool = False) -> Markup:
    """Draw a row of dots for each image property, one dot per image; the x position is the SHAP value.

    A dot right of 0 means that the value of the property makes the prediction of the correct hospital more likely.

    The color of a dot states whether the value of the property is in the lowest, middle or highest third of all images.
    The version for phones has fewer dots, and names above the rows. `names`: the image properties.
    """
    largest = float(points["shap"].abs().max()) if len(points) else 0.0
    limit = max(0.01, largest) * 1.04
    width, row, max_points = (PHONE, PHONE_ROW, PHONE_POINTS) if phone else (WIDTH, ROW, POINTS)
    scale = svg.Scale(-limit, limit, 6 if phone else NAME, width - 6)
    height = row * len(names) + 24
    ticks = svg.ticks(-limit, limit, 4 if phone else 6)
    body = svg.grid_lines(scale, ticks, height - 22)
    body += "".join(svg.text(scale(t), height - 6, _tick(t, ticks), "tk", "middle") for t in ticks)
    for i, name in enumerate(names):
        descriptor_points = points[points["descriptor"] == name]
        descriptor_points = descriptor_points.iloc[:: max(1, -(-len(descriptor_points) // max_points))].sort_values(
            "shap", kind="stable"
        )
        y_middle = row * (i + 0.64) if phone else row * (i + 0.5)
        positions = svg.swarm([float(v) for v in descriptor_points["shap"]], scale, gap=3.2)
        body += svg.text(0, row * i + 14, name, "lb") if phone else svg.text(NAME - 12, y_middle + 4, name, "lb", "end")
        for third in range(3):
            inside = [min(2, int(3 * float(r))) == third for r in descriptor_points["rank"]]
            body += svg.dots(
                [(x, y_middle + LANE * lane) for (x, lane), ok in zip(positions, inside, strict=True) if ok],
                f"bz bz{third}",
            )
    label = f"SHAP values of single images for {listing(list(names), SHOWN)}, from {places(-limit, 2)} to {places(limit, 2)}"
    return svg.svg(width, height, body, label, "ch narrow" if phone else "ch wide")


def _tick(value: float, ticks: Sequence[float]) -> str:
    text = svg.tick_text(abs(value), [abs(v) for v in ticks])
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    return sign + text if value else text
