"""Which rows of the long tables the page shows: one number for one cell.

The tables hold every split, reference, mapping and selection; the page leads with one of each and says which.
"""

from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from reports.tables import Tables
from reports.text import interval, known, places, span

REFERENCES = ("phantom", "report", "radiologist")  # first that exists for a cohort's headline split
SELECTIONS = ("best_val", "last")
PROBE_METRIC = "balanced_accuracy"
SAME = 1e-6  # two means of the same findings differ by rounding alone


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and what it was counted on; NaN and 0 where unknown."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    num_positive: int = 0
    num_patients: int = 0
    num_findings: int = 0
    home: float = float("nan")  # of a gap: the two AUROCs it is the difference of
    away: float = float("nan")
    chance: float = float("nan")  # of a probe

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return known(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether both bounds are there."""
        return known(self.low) and known(self.high)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.has_interval and (self.low > 0 or self.high < 0)

    @property
    def text(self) -> str:
        """The value as shown."""
        return places(self.value)

    @property
    def with_interval(self) -> str:
        """Value and interval for running text."""
        return f"{places(self.value)} {interval(self.low, self.high)}".strip()

    @property
    def span(self) -> str:
        """The interval for a table cell."""
        return span(self.low, self.high)


MISSING = Estimate(float("nan"))


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows of `scores` that the page leads with: default mapping, all patients, headline split, one selection."""

    rows: pd.DataFrame
    selection: str

    @classmethod
    def of(cls, tables: Tables, source: str) -> Self:
        """Choose; `source` is the home cohort, shown on its test split."""
        scores, cohorts = tables["scores"], tables["cohorts"]
        splits = {str(d): str(s) for d, s in zip(cohorts["dataset"], cohorts["headline_split"], strict=True)}
        splits[source] = splits.get(source) or "test"
        selection = next((s for s in SELECTIONS if (scores["selection"] == s).any()), SELECTIONS[0])
        wanted = scores["dataset"].map(splits)
        rows = scores[
            (scores["mapping"] == "default")
            & (scores["subgroup"] == "all")
            & (scores["selection"] == selection)
            & (wanted.isna() | (wanted == scores["split"]))  # `away` has no cohort row and is kept
        ]
        order = rows["reference"].map({name: i for i, name in enumerate(REFERENCES)}).fillna(len(REFERENCES))
        return cls(rows.assign(preference=order).sort_values("preference", kind="stable"), selection)

    def lookup(
        self, metric: str, calibrators: tuple[str, ...], operating_point: str = ""
    ) -> dict[tuple[str, str, str], Estimate]:
        """Return one estimate for each (run, dataset, finding); the first calibrator and reference that exist win."""
        rows = self.rows[(self.rows["metric"] == metric) & (self.rows["operating_point"] == operating_point)]
        found: dict[tuple[str, str, str], Estimate] = {}
        for calibrator in calibrators:
            part = rows[rows["calibrator"] == calibrator]
            columns = ("run_id", "dataset", "finding", "value", "low", "high")
            counts = ("n", "num_positive", "num_patients", "num_findings")
            for run, dataset, finding, value, low, high, *n in zip(
                *(part[c] for c in (*columns, *counts)), strict=True
            ):
                key = (str(run), str(dataset), str(finding))
                found.setdefault(key, Estimate(float(value), float(low), float(high), *(count(c) for c in n)))
        return found


def gap_lookup(gaps: pd.DataFrame) -> dict[tuple[str, str, str], Estimate]:
    """Return the gap of each (run, dataset, finding)."""
    columns = ("run_id", "dataset", "finding", "value", "low", "high", "home", "away")
    counts = ("n", "num_positive", "num_patients", "num_findings")
    found = {}
    for run, dataset, finding, value, low, high, home, away, *n in zip(
        *(gaps[c] for c in (*columns, *counts)), strict=True
    ):
        counted = dict(zip(counts, (count(c) for c in n), strict=True))
        key = (str(run), str(dataset), str(finding))
        found[key] = Estimate(float(value), float(low), float(high), home=float(home), away=float(away), **counted)
    return found


def side(gap: Estimate, value: float, whole: Estimate) -> Estimate:
    """Return one side of a gap as an estimate of its own; MISSING where there is no gap.

    The table of gaps has no interval for a side: it is that of `whole`, the macro over all that the side labels, where both
    are the mean of the same findings, and unknown elsewhere.
    """
    if not (gap.known and known(value)):
        return MISSING
    same = whole.known and abs(whole.value - value) < SAME
    return whole if same else Estimate(value, n=gap.n, num_positive=gap.num_positive, num_findings=gap.num_findings)


def probe_lookup(shortcut: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Return the source classifier's balanced accuracy of each (run, control)."""
    rows = shortcut[shortcut["metric"] == PROBE_METRIC]
    columns = ("run_id", "control", "value", "low", "high", "chance", "n")
    return {
        (str(run), str(control)): Estimate(float(value), float(low), float(high), count(n), chance=float(chance))
        for run, control, value, low, high, chance, n in zip(*(rows[c] for c in columns), strict=True)
    }


def count(value: Any) -> int:
    """Return a count, 0 where the table has none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
