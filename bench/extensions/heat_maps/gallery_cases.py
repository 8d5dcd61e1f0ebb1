"""Prepare the cases of the heat-map gallery: texts, filter values and image data.

A case is an image together with one finding, for which the heat map was computed; the image may not have the finding.
"""

import base64
from typing import Any

import pandas as pd

from reports.formatting import is_number, percent, places
from reports.report_data.report_data import ReportData

KINDS = ("true positive", "false negative", "sure miss", "false positive", "sure false alarm", "true negative")
ABSENT = KINDS[3:]  # kinds of cases in which the finding is labeled absent
KIND_TITLES = {
    "true positive": "present, called positive (true positive)",
    "false negative": "present, called negative (false negative)",
    "sure miss": "present, probability at most .1 (confident error)",
    "false positive": "absent, called positive (false positive)",
    "sure false alarm": "absent, probability at least .9 (confident error)",
    "true negative": "absent, called negative (true negative)",
}
VIEWS = "the image, with its heat map, the map alone, and with the outline if one is known"


def pictures_of(data: ReportData, gallery: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict for each case with a picture: image data (base64), texts and filter values, in display order."""
    names = {r.id: r.label for r in data.runs}
    with_picture = gallery[gallery["picture"].notna()] if len(gallery) else gallery
    position = {
        key: {v: i for i, v in enumerate(dict.fromkeys(with_picture[key]))} for key in ("finding", "dataset", "run_id")
    }
    cases = []
    for row in with_picture.to_dict("records"):
        kind = str(row["kind"])
        finding = str(row["finding"])
        run = names.get(str(row["run_id"]), str(row["run_id"]))
        hospital, caption = data.hospitals[str(row["dataset"])].short, _caption(row, kind)
        cases.append(
            {
                "run": run,
                "run_id": str(row["run_id"]),
                "hospital": hospital,
                "finding": finding,
                "kind": KIND_TITLES.get(kind, kind),
                "facts": caption,
                "data": base64.b64encode(bytes(row["picture"])).decode(),
                "alt": f"{finding} at {hospital}, {KIND_TITLES.get(kind, kind)} of {run}: {VIEWS}. {caption}",
                "order": (
                    *(position[key][row[key]] for key in position),
                    KINDS.index(kind) if kind in KINDS else 9,
                    int(row["rank"]),
                ),
            }
        )
    return sorted(cases, key=lambda case: case["order"])


def _caption(row: dict[Any, Any], kind: str) -> str:
    """Return the caption of one case: calibrated probability, and share of the heat map on the finding if known.

    If this share is unknown, the caption has the share of the heat map outside the lungs.
    """
    phrases = [f"calibrated probability {places(row['probability'], 2)}"]
    if is_number(row["inside"]):
        inside = percent(row["inside"], 1)
        if kind in ABSENT:
            phrases.append("the image has an outline of the finding, but the label says absent")
            phrases.append(f"{inside} of the heat is inside this outline")
        else:
            phrases.append(f"{inside} of the heat is on the finding")
    elif is_number(row["outside"]):
        phrases.append(f"{percent(row['outside'], 1)} of the heat is outside the lungs")
    return "; ".join(phrases)
