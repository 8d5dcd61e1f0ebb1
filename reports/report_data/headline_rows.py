"""Select, from long tables, the rows that the page shows: one row for each number on the page.

The tables have rows for every split, label source, mapping and selected epoch. The page shows one split, one label
source, one mapping and one selected epoch, and names them.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.formatting import interval, is_number, places
from reports.schemas.select import select
from reports.tables import Tables, records_of, rows_of

# label sources by preference: the page shows a cohort's scores with the first of these sources that the cohort has
REFERENCES = ("phantom", "report", "radiologist")
CALIBRATORS = ("none", "platt")  # calibrators that the page shows
EXTERNAL = "external"  # in the column `dataset`: mean over external hospitals
MACRO = "macro"  # in the column `finding`: mean over findings
PROBE_METRIC = "balanced_accuracy"
COUNTS = ("n", "num_positive", "num_patients", "num_findings")
SCORE_COLUMNS = ("run_id", "dataset", "finding", "calibrator", "value", "low", "high", *COUNTS)
# two mean AUROCs that differ by less than this count as equal; then both are taken for means over the same findings
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and sample sizes; an unknown number is NaN, an unknown sample size is 0.

    `low` and `high` are the bounds of the number's own interval: texts print these bounds, and figures draw the
    interval as a thick line. If the page compares several numbers, `all_low` and `all_high` are the bounds of the wider
    (simultaneous) interval, which holds for all these numbers at once; figures draw the wider interval as a thin line.
    The wider interval decides verdicts and filled marks (see `clear`), so text and figure cannot disagree.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    num_positive: int = 0
    num_patients: int = 0
    num_findings: int = 0
    internal: float = float("nan")  # internal and external: the two AUROCs of a gap; NaN for other numbers
    external: float = float("nan")
    chance: float = float("nan")  # only for a source probe: the accuracy of guessing the hospital
    all_low: float = float("nan")  # all_low and all_high are NaN if the number is not compared with others
    all_high: float = float("nan")

    @classmethod
    def of(cls, row: Mapping[Any, Any] | None, name: str = "value") -> Self:
        """Return the number in a table row with its own and its simultaneous interval; NaN for what the row does not have.

        The columns are value, low, high, all_low and all_high. Those of another number begin with its name, such as gain and gain_low.
        """
        start = "" if name == "value" else f"{name}_"
        columns = (name, *(f"{start}{end}" for end in ("low", "high", "all_low", "all_high")))
        value, low, high, *all_bounds = (float((row or {}).get(column, "nan")) for column in columns)
        return cls(value, low, high).simultaneous(*all_bounds) if is_number(value) else cls(value)

    @property
    def has_value(self) -> bool:
        """Return whether the value is a finite number."""
        return isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        """Return whether both bounds of the own interval are finite."""
        return isfinite(self.low) and isfinite(self.high)

    @property
    def is_compared(self) -> bool:
        """Return whether the estimate has a simultaneous interval, which holds for several numbers at once."""
        return isfinite(self.all_low) and isfinite(self.all_high)

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the interval that decides the verdict.

        This is the simultaneous interval if the number is compared with others, else the number's own interval.
        """
        return (self.all_low, self.all_high) if self.is_compared else (self.low, self.high)

    @property
    def clear(self) -> bool:
        """Return whether the interval that decides the verdict excludes 0."""
        low, high = self.bounds
        return self.has_interval and (low > 0 or high < 0)

    @property
    def clear_above(self) -> bool:
        """Return whether the interval that decides the verdict is above 0."""
        return self.clear and self.value > 0

    def simultaneous(self, low: float, high: float) -> Self:
        """Return the estimate with the simultaneous interval from `low` to `high`; unchanged if a bound is unknown.

        The simultaneous interval is extended, if necessary, until it contains the own interval.
        """
        if not (self.has_interval and is_number(low) and is_number(high)):
            return self
        return replace(self, all_low=min(low, self.low), all_high=max(high, self.high))

    def corrected(self, num_compared: int) -> Self:
        """Return the estimate with bounds that are simultaneous over `num_compared` numbers (Bonferroni's method).

        Both sides of the interval are multiplied by the factor that a normal distribution requires.

        >>> widened = Estimate(0.1, 0.05, 0.15).corrected(9)
        >>> round(widened.all_low, 3), round(widened.all_high, 3), widened.low
        (0.029, 0.171, 0.05)
        """
        if num_compared < 2 or not self.has_interval:
            return self
        factor = _bonferroni(num_compared)
        low, high = self.value - (self.value - self.low) * factor, self.value + (self.high - self.value) * factor
        return self.simultaneous(low, high)

    @property
    def text(self) -> str:
        """The value as text for the page."""
        return places(self.value)

    @property
    def with_interval(self) -> str:
        """Value and interval as text for a sentence."""
        return f"{self.text} {self.span}".strip()

    @property
    def span(self) -> str:
        """The interval as text."""
        return interval(self.low, self.high)


TEST_OF = "test:"  # start of the name of a training hospital's test split in a pool
MISSING = Estimate(float("nan"))


@cache
def _bonferroni(num_compared: int) -> float:
    """Return the factor by which a normal 95 % interval grows if it holds for `num_compared` numbers."""
    return NormalDist().inv_cdf(1 - 0.025 / num_compared) / NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class HeadlineRows:
    """The rows of `scores` that the page shows: the grid's mapping, all patients, and one split per cohort.

    scores: these rows with the columns SCORE_COLUMNS; rows of the preferred label source come first. rows: (metric,
    threshold rule) -> positions of its rows in `scores`.
    """

    scores: pd.DataFrame
    rows: Mapping[tuple[str, str], NDArray[np.intp]]

    @classmethod
    def of(cls, tables: Tables, source: str) -> Self:
        """Select the rows; `source` is the name of the internal cohort."""
        scores, cohorts = tables["scores"], tables["cohorts"]
        splits = {str(d): str(s) for d, s in zip(cohorts["dataset"], cohorts["headline_split"], strict=True)}
        splits[source] = splits.get(source) or "test"
        selected = (
            scores["calibrator"].isin(CALIBRATORS)
            & (scores["mapping"] == tables.meta["settings"]["mapping"])
            & (scores["subgroup"] == "all")
        )
        # A study may have millions of rows, so the texts of the column `split` are compared for selected rows only.
        rows = np.flatnonzero(selected)
        # The dataset "external" (mean over hospitals) is not in the table `cohorts`, so `shown_split` is NaN in its rows. All
        # these rows are kept.
        dataset, split = (scores[name].iloc[rows].astype(object) for name in ("dataset", "split"))
        shown_split = dataset.map(splits)
        rows = rows[(shown_split.isna() | (shown_split == split)).to_numpy(bool)]
        code, references = pd.factorize(scores["reference"].iloc[rows])
        order = [REFERENCES.index(name) if name in REFERENCES else len(REFERENCES) for name in references]
        # `order` gets one more element for the rows without a label source, because their code is -1 (the last
        # element).
        order.append(len(REFERENCES))
        rows = rows[np.argsort(np.array(order)[code], kind="stable")]
        names = ["metric", "operating_point"]
        groups: Mapping[Any, Any] = scores[names].iloc[rows].groupby(names).indices
        rows_of_metric = {(str(m), str(p)): members for (m, p), members in groups.items()}
        return cls(pd.DataFrame({name: scores[name].iloc[rows] for name in SCORE_COLUMNS}), rows_of_metric)

    @property
    def operating_points(self) -> set[str]:
        """The threshold rules that occur in these rows."""
        return {point for _, point in self.rows} - {""}

    def lookup(
        self, metric: str, calibrators: tuple[str, ...], operating_point: str = "", *, finding: str = ""
    ) -> dict[tuple[str, str, str], Estimate]:
        """Return {(run id, dataset, finding): estimate} of a metric.

        If a key has rows of several calibrators, the first of them in `calibrators` counts. If it has rows of several
        label sources, the first of them in REFERENCES counts.
        `operating_point`: threshold rule, "" for metrics without a threshold. `finding`: if not "", only this finding.
        """
        estimates: dict[tuple[str, str, str], Estimate] = {}
        row_numbers = self.rows.get((metric, operating_point))
        if row_numbers is None:
            return estimates
        if finding:  # select rows before columns, because this is faster
            row_numbers = row_numbers[(self.scores["finding"].iloc[row_numbers] == finding).to_numpy(bool)]
        rows = self.scores.iloc[row_numbers]
        for calibrator in calibrators:
            calibrated = rows[rows["calibrator"] == calibrator]
            for key, *numbers in zip(
                _keys(calibrated), *_numbers(calibrated, "value", "low", "high"), *_counts(calibrated), strict=True
            ):
                if key not in estimates:
                    estimates[key] = Estimate(*numbers)
        return estimates


def training_lookup(tables: Tables, source: str) -> dict[tuple[str, str], Estimate]:
    """Return {(run id, training hospital): macro AUROC on its internal test split} for a pool of training hospitals.

    `source` is the name of the pool, whose hospitals have the splits "test:<hospital>" in the table `scores`.
    """
    rows = select(tables["scores"], dataset=source)
    rows = rows[rows["split"].astype(str).str.startswith(TEST_OF)]
    hospitals = rows["split"].astype(str).str.removeprefix(TEST_OF)
    numbers = zip(*_numbers(rows, "value", "low", "high"), *_counts(rows), strict=True)
    keys = zip(rows["run_id"].astype(str), hospitals, strict=True)
    return {key: Estimate(*row) for key, row in zip(keys, numbers, strict=True)}


def gap_lookup(gaps: pd.DataFrame) -> dict[tuple[str, str, str], Estimate]:
    """Return {(run id, dataset, finding): gap}, with simultaneous bounds.

    The bounds of a finding's gap hold for all findings of the run at this hospital at once. The bounds of a macro gap
    hold for the run's macro gaps at all hospitals at once. `gaps`: the table of this name.
    """
    numbers: tuple[list[Any], ...] = (
        *_numbers(gaps, "value", "low", "high"),
        *_counts(gaps),
        *_numbers(gaps, "internal", "external"),
    )
    return corrected({row[0]: Estimate(*row[1:]) for row in zip(_keys(gaps), *numbers, strict=True)})


def corrected(found: Mapping[tuple[str, str, str], Estimate]) -> dict[tuple[str, str, str], Estimate]:
    """Return {(run id, dataset, finding): estimate} with bounds that hold for all estimates with the same `compared_with`."""
    sizes = Counter(compared_with(key) for key, estimate in found.items() if estimate.has_interval)
    return {key: estimate.corrected(sizes[compared_with(key)]) for key, estimate in found.items()}


def compared_with(key: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return a key that is equal for all gaps that are compared with each other.

    `key`: run id, dataset and finding of a gap. The gap of a finding is compared with the gaps of the other findings at
    the same hospital. A macro gap is compared with the run's macro gaps at the other hospitals.
    """
    run, dataset, finding = key
    if finding != MACRO:
        return run, dataset, "findings"
    return run, EXTERNAL if dataset == EXTERNAL else "hospitals", MACRO


def _keys(rows: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield (run id, dataset, finding) of each row."""
    return (tuple(map(str, key)) for key in rows_of(rows, "run_id", "dataset", "finding"))  # type: ignore[misc]


def _numbers(rows: pd.DataFrame, *columns: str) -> list[list[float]]:
    """Return columns as lists of floats; missing values become NaN."""
    return [rows[column].astype(float).tolist() for column in columns]


def _counts(rows: pd.DataFrame) -> list[list[int]]:
    """Return the sample-size columns as lists of integers; missing values become 0."""
    columns = (pd.to_numeric(rows[column], errors="coerce") for column in COUNTS)
    return [column.fillna(0).astype(int).tolist() for column in columns]


def gap_side(gap: Estimate, value: float, macro: Estimate) -> Estimate:
    """Return the internal or the external AUROC of a gap (`value`) as an estimate; MISSING if there is no gap.

    `gap` is the gap that has this AUROC; the table `gaps` has no interval of the AUROC. `macro` is the mean AUROC over
    every scored finding, with its interval. If `value` and `macro` are means over the same findings, `macro` is
    returned; else the result has no interval.
    """
    if not (gap.has_value and is_number(value)):
        return MISSING
    same = macro.has_value and abs(macro.value - value) < TOLERANCE
    return macro if same else Estimate(value, n=gap.n, num_positive=gap.num_positive, num_findings=gap.num_findings)


def probe_lookup(sources: pd.DataFrame) -> dict[tuple[str, str], Estimate]:
    """Return the balanced accuracies of source probes: {(run id, control): accuracy}.

    A source probe is a classifier that predicts the hospital of an image from a run's features. The control states how
    the data were changed, such as "shuffled"; "none" means unchanged data.
    """
    full = (sources["probe"] == "features") & (sources["shots"] == 0)
    rows = sources[full & (sources["metric"] == PROBE_METRIC)]
    columns = ("run_id", "control", "value", "low", "high", "chance", "n")
    return {
        (str(run), str(control)): Estimate(float(value), float(low), float(high), count(n), chance=float(chance))
        for run, control, value, low, high, chance, n in rows_of(rows, *columns)
    }


def new_hospital_lookup(
    predicted: pd.DataFrame, recipes: pd.DataFrame
) -> dict[tuple[str, str], tuple[Estimate, Estimate]]:
    """Return {(recipe or run, finding or "macro"): AUROC to expect at a new hospital with its interval, and with the prediction interval}.

    A run has the numbers of its recipe; they are NaN with too few hospitals. predicted, recipes: the tables `next_hospital` and `recipes`.
    """
    runs_of: dict[str, list[str]] = {}
    for recipe, run in rows_of(recipes, "recipe_id", "run_id"):
        runs_of.setdefault(recipe, [recipe]).append(run)
    found = {}
    for row in records_of(predicted):
        if row["metric"] == "auroc":
            expected, new = (Estimate(row["value"], row[f"{of}low"], row[f"{of}high"]) for of in ("", "new_"))
            found.update(
                {(run, row["finding"]): (expected, new) for run in runs_of.get(row["run_id"], [row["run_id"]])}
            )
    return found


def causal_lookup(transplants: pd.DataFrame, recipes: Collection[str]) -> dict[str, Estimate]:
    """Return the causal scores by id of the run or recipe. `recipes`: ids of recipes that are not run ids.

    A causal score is the mean absolute change in probability that internal pixels cause in external images, minus the
    change by the control. Runs are compared with runs, and recipes with recipes. The simultaneous bounds of a score
    hold for all scores that are compared with it.
    """
    selected = {"kind": "causal", "host": "external", "finding": "macro", "subset": "all", "measure": "abs_dp"}
    rows = transplants
    for column, value in selected.items():
        rows = rows[rows[column] == value]
    columns = ("run_id", "effect", "low", "high", "n")
    num_recipes = int(rows["run_id"].isin(list(recipes)).sum())
    compared = {True: num_recipes, False: len(rows) - num_recipes}
    return {
        str(run): Estimate(float(value), float(low), float(high), count(n)).corrected(compared[run in recipes])
        for run, value, low, high, n in rows_of(rows, *columns)
    }


def count(value: Any) -> int:
    """Return a count as an integer; a missing value becomes 0."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
