"""Which rows of the long tables the page shows: one number for one cell.

The tables hold every split, reference, mapping and selection; the page leads with one of each and says which.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.formatting import interval, known, places, span
from reports.tables import Tables, rows_of

REFERENCES = ("phantom", "report", "radiologist")  # first that exists for a cohort's headline split
CALIBRATORS = ("none", "platt")  # what the page shows; the tables have more
SELECTIONS = ("best_val", "last")
PROBE_METRIC = "balanced_accuracy"
COUNTS = ("n", "num_positive", "num_patients", "num_findings")
LOOKED_UP = ("run_id", "dataset", "finding", "calibrator", "value", "low", "high", *COUNTS)  # of the rows of `scores`
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
    internal: float = float("nan")  # of a gap: the two AUROCs it is the difference of
    external: float = float("nan")
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
    """The rows of `scores` that the page leads with: the grid's mapping, all patients, headline split, one selection."""

    scores: pd.DataFrame
    rows: Mapping[
        tuple[str, str], NDArray[np.intp]
    ]  # of them, by metric and operating point; the reference that wins first
    selection: str

    @classmethod
    def of(cls, tables: Tables, source: str) -> Self:
        """Choose; `source` is the internal cohort, shown on its test split."""
        scores, cohorts = tables["scores"], tables["cohorts"]
        splits = {str(d): str(s) for d, s in zip(cohorts["dataset"], cohorts["headline_split"], strict=True)}
        splits[source] = splits.get(source) or "test"
        selection = next((s for s in SELECTIONS if (scores["selection"] == s).any()), SELECTIONS[0])
        chosen = (
            scores["calibrator"].isin(CALIBRATORS)
            & (scores["mapping"] == str(tables.meta.get("mapping") or "default"))
            & (scores["subgroup"] == "all")
            & (scores["selection"] == selection)
        )
        at = np.flatnonzero(chosen)  # a study may have millions of rows: of others no text is compared again
        wanted = scores["dataset"].iloc[at].map(splits)  # `external` has no cohort row and is kept
        at = at[(wanted.isna() | (wanted == scores["split"].iloc[at])).to_numpy(bool)]
        code, named = pd.factorize(scores["reference"].iloc[at])
        order = [REFERENCES.index(name) if name in REFERENCES else len(REFERENCES) for name in named]
        order.append(len(REFERENCES))  # of rows without one, whose code is -1
        at = at[np.argsort(np.array(order)[code], kind="stable")]
        names = ["metric", "operating_point"]
        found: Mapping[Any, Any] = scores[names].iloc[at].groupby(names).indices
        return cls(scores[list(LOOKED_UP)], {(str(m), str(p)): at[rows] for (m, p), rows in found.items()}, selection)

    @property
    def operating_points(self) -> set[str]:
        """The threshold rules that any number was taken at."""
        return {point for _, point in self.rows} - {""}

    def lookup(
        self, metric: str, calibrators: tuple[str, ...], operating_point: str = "", *, finding: str = ""
    ) -> dict[tuple[str, str, str], Estimate]:
        """Return one estimate for each (run, dataset, finding); the first calibrator and reference that exist win.

        With `finding`, of this one alone.
        """
        found: dict[tuple[str, str, str], Estimate] = {}
        at = self.rows.get((metric, operating_point))
        if at is None:
            return found
        if finding:  # first: to take the other columns of all rows would take longer than to look
            at = at[(self.scores["finding"].iloc[at] == finding).to_numpy(bool)]
        rows = self.scores.iloc[at]
        for calibrator in calibrators:
            part = rows[rows["calibrator"] == calibrator]
            for key, *numbers in zip(_keys(part), *_numbers(part, "value", "low", "high"), *_counts(part), strict=True):
                if key not in found:
                    found[key] = Estimate(*numbers)
        return found


def gap_lookup(gaps: pd.DataFrame) -> dict[tuple[str, str, str], Estimate]:
    """Return the gap of each (run, dataset, finding)."""
    numbers: tuple[list[Any], ...] = (
        *_numbers(gaps, "value", "low", "high"),
        *_counts(gaps),
        *_numbers(gaps, "internal", "external"),
    )
    return {row[0]: Estimate(*row[1:]) for row in zip(_keys(gaps), *numbers, strict=True)}


def _keys(rows: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Return what each row is about."""
    return zip(*(map(str, rows[column].tolist()) for column in ("run_id", "dataset", "finding")), strict=True)


def _numbers(rows: pd.DataFrame, *columns: str) -> list[list[float]]:
    """Return columns of numbers as plain ones, NaN where there is none."""
    return [rows[column].astype(float).tolist() for column in columns]


def _counts(rows: pd.DataFrame) -> list[list[int]]:
    """Return the columns that say what a number rests on, 0 where the table has none."""
    columns = (pd.to_numeric(rows[column], errors="coerce") for column in COUNTS)
    return [column.fillna(0).astype(int).tolist() for column in columns]


def side(gap: Estimate, value: float, whole: Estimate) -> Estimate:
    """Return one side of a gap as an estimate of its own; MISSING where there is no gap.

    The table of gaps has no interval for a side: it is that of `whole`, the macro over all that the side labels, where both
    are the mean of the same findings, and unknown elsewhere.
    """
    if not (gap.known and known(value)):
        return MISSING
    same = whole.known and abs(whole.value - value) < SAME
    return whole if same else Estimate(value, n=gap.n, num_positive=gap.num_positive, num_findings=gap.num_findings)


def probe_lookup(sources: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Return the balanced accuracy of the source probe on all of a run's features, of each (run, control)."""
    full = (sources["probe"] == "features") & (sources["shots"] == 0)
    rows = sources[full & (sources["metric"] == PROBE_METRIC)]
    columns = ("run_id", "control", "value", "low", "high", "chance", "n")
    return {
        (str(run), str(control)): Estimate(float(value), float(low), float(high), count(n), chance=float(chance))
        for run, control, value, low, high, chance, n in rows_of(rows, *columns)
    }


def causal_lookup(transplants: pd.DataFrame) -> dict[str, Estimate]:
    """Return the causal score of each run: what the internal hospital's pixels change on external images, beyond the control."""
    asked = {"kind": "causal", "host": "external", "finding": "macro", "subset": "all", "measure": "abs_dp"}
    rows = transplants
    for column, value in asked.items():
        rows = rows[rows[column] == value]
    columns = ("run_id", "effect", "low", "high", "n")
    return {
        str(run): Estimate(float(value), float(low), float(high), count(n))
        for run, value, low, high, n in rows_of(rows, *columns)
    }


def count(value: Any) -> int:
    """Return a count, 0 where the table has none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
