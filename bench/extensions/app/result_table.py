"""Show the result for one image as an HTML table. Each finding has a row with a bar (probability) and a line (threshold).

The HTML needs no script and loads no files. The colors come from the theme of streamlit (`currentColor`).
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from bench.runs.elsewhere import by_shortcut, not_above_chance
from reports.formatting import listing

RULES = {
    "f1_max": "Best F1",
    "youden": "Best Youden index",
    "sens_90": "90 % sensitivity",
    "f1_grid": "Best F1 on a grid",
}
STYLE = """<style>
.cxr { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
.cxr caption { text-align: left; padding: 0 0 .4rem; }
.cxr th, .cxr td { padding: .4rem .6rem .4rem 0; text-align: left; border: 0; border-bottom: 1px solid
  color-mix(in srgb, currentColor 22%, transparent); font-weight: 400; vertical-align: middle; }
.cxr thead th { font-weight: 600; vertical-align: bottom; }
.cxr .n { white-space: nowrap; }
.cxr .yes { font-weight: 700; }
.cxr .call { margin-left: .6rem; }
.cxr .bar { position: relative; display: block; min-width: 5rem; height: .8rem; border-radius: 2px;
  background: color-mix(in srgb, currentColor 14%, transparent); }
.cxr .bar i { position: absolute; inset: 0 auto 0 0; border-radius: 2px; background: color-mix(in srgb, currentColor 62%, transparent); }
.cxr .bar b { position: absolute; top: -.25rem; bottom: -.25rem; width: 2px; background: currentColor; }
@media (max-width: 640px) { .cxr .wide { display: none; } .cxr { font-size: .88rem; } .cxr .call { display: block; margin: 0; } }
</style>"""


def call_of(row: Any, rule: str) -> str:
    """Return "positive", "negative" or "no threshold" for the row of one finding under a threshold rule.

    A finding whose AUROC is not clearly above .5 at any external hospital is neither: "not above chance".
    """
    if row["above_chance"] == 0:
        return "not above chance"
    return {1.0: "positive", 0.0: "negative"}.get(row[f"call_{rule}"], "no threshold")


def calls_first(table: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return the rows of one image, positive findings first, then by probability (calibrated if available). `rule`: a key of RULES."""
    chance = table["calibrated"].fillna(table["probability"])
    positive = [call_of(row, rule) == "positive" for row in table.to_dict("records")]
    ordered = table.assign(chance=chance, positive=positive)
    return ordered.sort_values(["positive", "chance"], ascending=False, kind="stable")


def thresholds(points: pd.DataFrame, rule: str) -> dict[str, float]:
    """Return {finding: threshold} for one rule. The threshold is a probability, calibrated if the finding has a calibrator.

    `points`: the thresholds of a run in logits, one row per finding and rule. Findings without a threshold are left out.
    Findings for which higher logits meant lower risk (`reversed_at_internal`) are left out, too.
    """
    probabilities = {}
    for row in points[points["rule"] == rule].to_dict("records"):
        slope, shift, logit = (float(row[key]) for key in ("platt_a", "platt_b", "threshold"))
        if np.isfinite(slope):
            logit = slope * logit + shift
        if np.isfinite(logit) and not slope <= 0:
            probabilities[str(row["finding"])] = float(1 / (1 + np.exp(-np.clip(logit, -700, 700))))
    return probabilities


def reversed_at_internal(points: pd.DataFrame) -> set[str]:
    """Return the findings for which higher logits meant lower risk on the internal validation patients.

    For these findings, calibration reverses the order of the probabilities.
    """
    return {str(name) for name in points.loc[points["platt_a"] <= 0, "finding"]}


def answer_html(
    table: pd.DataFrame, points: pd.DataFrame, rule: str, auroc_head: str, auroc_of: Callable[[str], Sequence[str]]
) -> str:
    """Return the result table of one image as HTML.

    `table`: predictions, one row per finding. `points`: as in `thresholds`. `rule`: threshold rule, a key of RULES.
    `auroc_head`: heading of the AUROC column. `auroc_of(finding)` returns the texts of this column; none if the AUROC is
    unknown. A line breaks only between two texts.
    """
    lines, threshold_of, reversed_findings = [], thresholds(points, rule), reversed_at_internal(points)
    for row in calls_first(table, rule).to_dict("records"):
        name, call = escape(str(row["finding"])), call_of(row, rule)
        threshold = threshold_of.get(row["finding"])
        mark = "" if threshold is None else f'<b style="left:calc({100 * threshold:.2f}% - 1px)"></b>'
        note = "" if row["calibrated"] == row["calibrated"] else " <small>uncalibrated</small>"
        note = " <small>reversed</small>" if row["finding"] in reversed_findings else note
        texts = auroc_of(row["finding"]) or ["unknown"]
        auroc = " ".join(f'<span class="n">{escape(text)}</span>' for text in texts)
        lines.append(
            f'<tr><th scope="row">{name}</th><td>{row["chance"]:.3f}{note}</td>'
            f'<td class="wide"><span class="bar" aria-hidden="true"><i style="width:{100 * row["chance"]:.2f}%"></i>{mark}</span></td>'
            f'<td class="{"yes" if call == "positive" else "no"}">{call}</td><td>{auroc}</td></tr>'
        )
    head = (
        "<th scope=col>Finding<th scope=col>Probability<th scope=col class=wide>0 to 1 (line = threshold)"
        f"<th scope=col>Decision<th scope=col>{escape(auroc_head)}"
    )
    caption = (
        f"Calibrated probabilities. Decision threshold: {RULES[rule]} on validation patients of the training hospital."
    )
    if shortcuts := by_shortcut(table):
        caption += f" Shortcut: for {escape(listing(shortcuts, len(shortcuts)))}, the model reads a marker of its own hospital."
    if not_above_chance(table):
        caption += " Not above chance: at no external hospital is the AUROC clearly above .5, so there is no decision."
    if reversed_findings & set(table["finding"]):
        caption += " Reversed: for these patients, a higher output meant a lower probability. Ignore the decision."
    return f"{STYLE}<table class=cxr><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def performance_html(rows: list[tuple[str, str, str]]) -> str:
    """Return the table of a run's AUROCs as HTML. Each of `rows` has three texts: hospital, AUROC with its interval, role."""
    body = "".join(
        f'<tr><th scope="row">{escape(cohort)}</th><td>{escape(value)}</td><td>{escape(role)}</td></tr>'
        for cohort, value, role in rows
    )
    head = "<th scope=col>Hospital<th scope=col>Mean AUROC [95 % interval]<th scope=col>Role"
    return f"{STYLE}<table class=cxr><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
