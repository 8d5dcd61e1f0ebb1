"""Compare the results of two runs for one image: a table, and a picture of both heat maps with their difference.

Shapes: a view is a square picture with sides of D pixels.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.app.result_table import RULES, STYLE, call_of, calls_first
from reports.formatting import number

if TYPE_CHECKING:
    from bench.extensions.app.panel import Explanation, FindingMap
    from harmonize.images.pixels import Geometry

COLUMNS = ("finding", "first", "second", "difference", "calibrated", "first_call", "second_call")
# colors of the places where the first or the second map is larger: vermilion and blue, as (blue, green, red)
FIRST_MORE, SECOND_MORE = (0, 94, 213), (178, 114, 0)
DIFFERENCE_CAPTION = "Difference. Vermilion: more in A. Blue: more in B."
HEAD, MARGIN = 34, 14  # height of a caption, and margin of a view, in pixels
OPAQUE = 0.75  # opacity of the difference map where the maps differ by 1


def comparison(first: pd.DataFrame, second: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return one row per finding of either run, with the columns COLUMNS. The findings of the first run are first, as `calls_first` orders them.

    `first` and `second`: predictions of the two runs for one image. `rule`: threshold rule, a key of RULES. The probabilities
    of a finding are calibrated only if both runs have a calibrated probability. So the difference (first - second) never mixes
    a calibrated and an uncalibrated probability. If a run has not learned a finding, its probability is NaN and its decision
    is "not learned".
    """
    tables = [table.set_index("finding") for table in (calls_first(first, rule), second)]
    rows = []
    for finding in dict.fromkeys([*tables[0].index, *tables[1].index]):
        results: list[Any] = [table.loc[finding] if finding in table.index else None for table in tables]
        calibrated = all(result is None or np.isfinite(result["calibrated"]) for result in results)
        key = "calibrated" if calibrated else "probability"
        values = [np.nan if result is None else float(result[key]) for result in results]
        calls = ["not learned" if result is None else call_of(result, rule) for result in results]
        rows.append((finding, *values, values[0] - values[1], calibrated, *calls))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def comparison_html(table: pd.DataFrame, rule: str, names: Sequence[str]) -> str:
    """Return the result of `comparison` as an HTML table. `names`: names of the two models. `rule`: a key of RULES."""
    lines = []
    for row in table.to_dict("records"):
        note = "" if row["calibrated"] else " <small>uncalibrated</small>"
        cells = [
            f'<td>{number(row[key])} <span class="call {"yes" if row[f"{key}_call"] == "positive" else "no"}">{row[f"{key}_call"]}</span></td>'
            for key in ("first", "second")
        ]
        difference = number(row["difference"], "+.3f")
        finding = escape(str(row["finding"]))
        lines.append(f'<tr><th scope="row">{finding}{note}</th>{"".join(cells)}<td class="n">{difference}</td></tr>')
    heads = "".join(f"<th scope=col>{escape(name)}" for name in names)
    caption = (
        f"Calibrated probabilities and decisions. Decision threshold: {RULES[rule]} on validation patients of each model's training hospital. "
        "Difference: A minus B."
    )
    head = f"<th scope=col>Finding{heads}<th scope=col>Difference"
    return f"{STYLE}<table class=cxr><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def same_frame(first: "Geometry", second: "Geometry") -> bool:
    """Return whether two runs see the same part of an image, so that their heat maps can be subtracted.

    The size and the contrast of the images may differ.
    """
    return (first.fit, first.region) == (second.fit, second.region)


def difference_view(explanation: "Explanation", first: "FindingMap", second: "FindingMap") -> NDArray[np.uint8]:
    """Draw the difference of two heat maps on the image: vermilion where the first map is larger, blue where the second is.

    Before the subtraction, each map is divided by its maximum. So the picture compares places, not amounts. `explanation`: the
    explanation of the first run, which has the image. Returns uint8 [D, D, 3]; the channels are blue, green, red.
    """
    side = explanation.gray.shape[0]
    maps = [
        _scaled(np.asarray(cv2.resize(finding_map.heat, (side, side)), np.float32)) for finding_map in (first, second)
    ]
    change = (maps[0] - maps[1])[:, :, None]
    gray = np.repeat(explanation.gray[:, :, None], 3, 2)
    color = np.where(change > 0, np.array(FIRST_MORE), np.array(SECOND_MORE))
    weight = OPAQUE * np.abs(change)
    return np.asarray(gray * (1 - weight) + color * weight + 0.5, np.uint8)


def picture(
    panels: Sequence[NDArray[np.uint8]], names: Sequence[str], difference: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Join the pictures of both models and the picture of their difference into one picture, one below the other.

    `panels`: one picture per model, from `bench.extensions.app.panel.panel`. `names`: one caption per model.
    `difference`: the result of `difference_view`, or None to leave it out. Returns uint8 [height, width, 3].
    """
    views = [_captioned(view, name) for view, name in zip(panels, names, strict=True)]
    if difference is not None:
        views.append(_captioned(difference, DIFFERENCE_CAPTION))
    width = max(view.shape[1] for view in views)
    padded = [_padded(view, right=width - view.shape[1]) for view in views]
    return np.asarray(np.concatenate(padded), np.uint8)


def _captioned(view: NDArray[np.uint8], caption: str) -> NDArray[np.uint8]:
    """Return a picture with a margin at both sides and the caption above the picture.

    OpenCV draws only ASCII, so "?" replaces other characters.
    """
    framed = _padded(view, top=HEAD, right=MARGIN, left=MARGIN)
    text = caption.replace(" · ", ", ").encode("ascii", "replace").decode()
    cv2.putText(framed, text, (MARGIN, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return framed


def _padded(view: NDArray[np.uint8], top: int = 0, right: int = 0, left: int = 0) -> NDArray[np.uint8]:
    white = (255, 255, 255)
    return np.asarray(cv2.copyMakeBorder(view, top, 0, left, right, cv2.BORDER_CONSTANT, value=white), np.uint8)


def _scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = float(heat.max())
    return heat / largest if largest > 0 else np.zeros_like(heat)
