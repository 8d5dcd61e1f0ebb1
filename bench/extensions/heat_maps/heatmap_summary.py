"""Summarize the heat-map tables `attention` and `randomization` over runs: numbers, sentences and strips.

Enrichment is the share of a heat map inside a region, divided by the region's share of the image; 1 is chance. A baseline
map does not depend on the network: it is bright in the image center, or bright in the lungs. The PORT tag is a white
mark on phantoms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.drawing import svg
from reports.formatting import is_number, places, two_figures

ALL = "all"
NETWORK = "network"
OWN = "finding"  # name of the region that is the outline or box of the finding
WORDS = {  # region -> name on the page
    OWN: "the finding itself",
    "token": "the PORT tag",  # this is the tag of phantoms, not a password  # nosec B105
    "markers": "markers",
    "border": "the border",
    "padding": "black padding",
    "outside lungs": "outside the lungs",
    "heart": "the heart",
    "pleura": "the pleura",
    "devices": "devices",
}
LOW, HIGH = 0.25, 8.0  # enrichment at the two ends of the axis
TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
WIDE = 124.0  # px: width of a strip


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over runs.

    low, high: smallest and largest value of a run; for a single run, its interval over patients. n: smallest number of
    maps in a row of the table. per_run: the value of each run.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    num_runs: int = 0
    n: int = 0
    per_run: tuple[float, ...] = ()

    @property
    def has_value(self) -> bool:
        """Return whether the mean is a finite number."""
        return is_number(self.value)

    @property
    def text(self) -> str:
        """The mean as a factor for the page, e.g. 1.8×."""
        return f"{two_figures(self.value)}×" if self.has_value else ""


NONE = Mean(float("nan"))


def rows_of_runs(table: pd.DataFrame, run_ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the table that belong to the runs `run_ids`."""
    return table[table["run_id"].isin(run_ids)]


def mean(rows: pd.DataFrame) -> Mean:
    """Return the mean over runs; NONE if no row has a value.

    `rows`: rows of the table `attention` or `randomization`. Rows without a value are ignored.
    """
    rows = rows.dropna(subset=["value"])
    if rows.empty:
        return NONE
    values = tuple(float(v) for v in rows.groupby("run_id")["value"].mean())
    if len(values) == 1:
        low, high = (float(rows[c].mean()) for c in ("low", "high"))
    else:
        low, high = min(values), max(values)
    return Mean(float(np.mean(values)), low, high, len(values), int(rows["n"].min()), values)


def pick(table: pd.DataFrame, metric: str, region: str = OWN, by: str = NETWORK, finding: str = ALL) -> pd.DataFrame:
    """Return the rows of one metric, region, map source and finding. by: network, or a baseline map (centre, lungs)."""
    selected = (table["metric"] == metric) & (table["region"] == region) & (table["by"] == by)
    return table[selected & (table["finding"] == finding)]


def regions_in(table: pd.DataFrame) -> list[str]:
    """Return the regions for which the table has a value, in display order."""
    available = set(table.dropna(subset=["value"])["region"])
    return [region for region in WORDS if region in available]


def tagged(table: pd.DataFrame, internal: str) -> tuple[str, Mean]:
    """Return the finding whose maps have the largest enrichment on the PORT tag at the internal hospital, and this mean.

    The result is ("", NONE) if no enrichment on a tag was measured.
    """
    rows = table[(table["dataset"] == internal) & (table["finding"] != ALL)]
    rows = rows[(rows["region"] == "token") & (rows["metric"] == "enrichment") & (rows["by"] == NETWORK)]
    mean_of_finding = {str(f): mean(finding_rows) for f, finding_rows in rows.groupby("finding")}
    usable = {f: m for f, m in mean_of_finding.items() if m.has_value}
    best = max(usable, key=lambda f: usable[f].value, default="")
    return best, usable.get(best, NONE)


def title(table: pd.DataFrame) -> str:
    """Return the title: whether the enrichment on the finding differs from chance; if it does, also the enrichment of a map of the center."""
    on_finding = mean(pick(table, "enrichment"))
    if not on_finding.has_value:
        return "Heat inside and outside the lungs"
    # means of the bounds of runs: exact if their errors are fully correlated, otherwise too wide
    runs = pick(table, "enrichment").dropna(subset=["value"]).groupby("run_id")
    low, high = (float(runs[end].mean().mean()) for end in ("low", "high"))
    if not (low > 1 or high < 1):
        return f"Heat on the finding: not clearly above chance ({on_finding.text})"
    center = mean(pick(table, "enrichment", by="centre"))
    baseline = f"; marking only the center gives {center.text}" if center.has_value else ""
    return f"Heat on the finding: {on_finding.text} chance{baseline}"


def tag_sentence(table: pd.DataFrame, internal: str) -> str:
    """Return the sentence on the PORT tag of phantoms, "" if there is no tag."""
    finding, tag = tagged(table, internal)
    if not finding:
        return ""
    on_finding = mean(pick(table[table["dataset"] == internal], "enrichment", finding=finding))
    verb = "focus" if tag.value > 1 else "do not focus"
    text = (
        f"In internal images, maps of {finding} {verb} on the PORT tag, a white tag in synthetic images. There, the share of heat "
        f"on the tag is {tag.text} the tag’s share of the image area"
    )
    return text + (f"; on the finding, it is {on_finding.text} the finding’s share" if on_finding.has_value else "")


def strip(values: Mean, baselines: Mapping[str, Mean], label: str) -> str:
    """Draw an enrichment on a log axis from 1/4 to 8: a dot per run, the mean, and a diamond per baseline map.

    `label`: text for screen readers.
    """
    scale = svg.Scale(math.log2(LOW), math.log2(HIGH), 8, WIDE - 8)

    def x(value: float) -> float:
        return scale(math.log2(max(value, LOW / 4)))

    body = "".join(svg.line(x(t), 0, x(t), 26, "z" if t == 1 else "g") for t in TICKS)
    for baseline in baselines.values():
        if baseline.has_value:
            body += svg.diamond(x(baseline.value), 13, 4, "m-wst")
    if values.has_value:
        if is_number(values.low) and is_number(values.high):
            body += svg.line(x(values.low), 13, x(values.high), 13, "i-ext")
        if len(values.per_run) > 1:
            body += svg.dots([(x(v), 13) for v in values.per_run], "sw fine")
        body += svg.circle(x(values.value), 13, 4.4, "m-ext")
    return svg.svg(WIDE, 26, body, label, "st")


def axis() -> str:
    """Draw the numbers of the axis above the strips."""
    scale = svg.Scale(math.log2(LOW), math.log2(HIGH), 8, WIDE - 8)
    marks = "".join(
        svg.text(scale(math.log2(t)), 11, {0.25: "¼"}.get(t, f"{t:g}") + "×", "tk", "middle") for t in TICKS[::2]
    )
    return svg.svg(WIDE, 14, marks)


def trust(table: pd.DataFrame) -> str:
    """Return the sentence on the randomization check, "" without one. `table`: rows of the table `randomization`."""
    correlation = mean(table)
    if not correlation.has_value:
        return ""
    end = "heat maps partly show the image, not the network"
    if correlation.value < 0.5:
        end = "heat maps depend on training"
    return (
        f"If the network’s weights are shuffled, its heat maps have a rank correlation of {places(correlation.value, 2)} "
        f"with the original maps: {end}"
    )
