"""The table `estimators`: how wrong each estimator is at hospitals with labels.

Each labeled hospital is left out in turn: its scores are estimated from its logits and from the other hospitals, then
compared with its true scores.
Shapes: R runs, K findings, H labeled hospitals, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.extensions.estimates.expected_scores import (
    LEAST_HOSPITALS,
    ExpectedDifferences,
    expected,
    left_out,
    outside,
    widening,
)
from bench.extensions.estimates.from_hospitals import KnownValues
from bench.extensions.estimates.quantities import QUANTITIES, Array, finite_mean
from bench.scoring.bootstrap.intervals import normal_interval
from reports.schemas.tables import SCHEMAS

BASELINE = "mean_gap"
LARGE = 0.1  # an absolute error above this is large
_LEAST_RUNS = 3  # a rank correlation of fewer runs is 1, 0 or -1


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A labeled hospital that is left out: what is the same for all estimators and quantities.

    others: quantity -> values at the other hospitals. here: quantity -> estimates at this hospital. reasons, widening: see
    `outside` and `ExpectedDifferences`. labeled_images, images: number of images of the other hospitals, and of this one.
    """

    others: Mapping[str, KnownValues]
    here: Mapping[str, Mapping[str, Array]]
    reasons: NDArray[np.object_]
    widening: Array
    labeled_images: Array
    images: int

    @classmethod
    def of(cls, known: Mapping[str, KnownValues], num_images: Sequence[int], hospital: int) -> Self:
        """Return what is known when a hospital is left out."""
        others = {quantity: values.without(hospital) for quantity, values in known.items()}
        at = {quantity: values.at(hospital) for quantity, values in known.items()}
        labeled_images = np.asarray([*num_images[:hospital], *num_images[hospital + 1 :]], np.float64)
        images = num_images[hospital]
        return cls(others, at, outside(others, at, images), widening(others, at), labeled_images, images)


def estimator_table(
    known: Mapping[str, KnownValues],
    entries: Sequence[Entry],
    num_images: Sequence[int],
    replicates_HRB: Array | None = None,
    quantities: Sequence[str] = QUANTITIES,
) -> pd.DataFrame:
    """Build the table `estimators` of some quantities, empty with fewer than 3 labeled hospitals.

    num_images [H]: images of each hospital. replicates_HRB: replicates of the macro AUROC of each hospital and run, which
    give the intervals of the rows with the finding "macro" and the quantity "auroc"; those rows have no interval without
    them.
    """
    columns = list(SCHEMAS["estimators"])
    if len(num_images) < LEAST_HOSPITALS:
        return pd.DataFrame(columns=columns)
    places = [_Place.of(known, num_images, h) for h in range(len(num_images))]
    prevalences = {entry.name: left_out(entry, known["prevalence"]) for entry in entries}
    rows = []
    for quantity in quantities:
        values = known[quantity]
        estimates = prevalences
        if quantity != "prevalence":
            estimates = {entry.name: left_out(entry, values) for entry in entries}
        base = estimates.get(BASELINE)
        for entry in entries:
            error = estimates[entry.name] - values.truth
            if np.isfinite(error).any():
                name = {"estimator": entry.name, "title": entry.title, "quantity": quantity}
                cells = _cells(entry, quantity, values.truth, error, places, prevalences[entry.name])
                rows.append({**name, **cells})
                replicates = replicates_HRB if quantity == "auroc" else None
                means = _macros(values, estimates[entry.name], base, replicates)
                rows += [{**name, **means}] if means["n"] else []
    table = pd.DataFrame(rows, columns=columns)
    texts = {"estimator", "title", "quantity", "finding"}
    return table.astype({name: "float64" for name in columns if name not in texts})


def _cells(
    entry: Entry, quantity: str, truth_HRK: Array, error: Array, places: Sequence[_Place], prevalence_HRK: Array
) -> dict[str, object]:
    """Return the row of all cells of an estimator; a cell is one run and finding at one hospital."""
    inside, stated, width = np.zeros(error.shape, bool), np.zeros(error.shape, bool), np.full(error.shape, np.nan)
    for h, place in enumerate(places):
        labeled_prevalence = place.others["prevalence"].truth
        differing = ExpectedDifferences(
            place.widening, place.labeled_images, labeled_prevalence, place.images, prevalence_HRK[h]
        )
        others, at = place.others[quantity], place.here[quantity]
        result = expected(entry, others, at, place.reasons, quantity=quantity, differing=differing)
        width[h] = result.mean_half
        inside[h] = result.contains(truth_HRK[h])
        stated[h] = result.stated
    has = np.isfinite(error) & np.isfinite(width)
    stated &= has
    finite = error[np.isfinite(error)]
    return {
        "finding": "all",
        "value": float(np.abs(finite).mean()),
        "bias": float(finite.mean()),
        "coverage": _share(inside[has]),
        "half_width": float(width[has].mean()) if has.any() else np.nan,
        "stated": _share(stated[has]),
        "coverage_stated": _share(inside[stated]),
        "num_large": int((np.abs(error[has]) > LARGE).sum()),
        "num_large_stated": int((np.abs(error[stated]) > LARGE).sum()),
        "n": len(finite),
    }


def _macros(known: KnownValues, estimate: Array, base: Array | None, replicates_HRB: Array | None) -> dict[str, object]:
    """Return the row of the means over findings of an estimator.

    Estimator and mean gap (`base`) are compared on the same cells: those in which both have a value.
    """
    both = np.isfinite(estimate) & np.isfinite(known.truth)
    both &= np.isfinite(base) if base is not None else True
    num = both.sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, truth = (np.where(both, values, 0).sum(2) / num for values in (estimate, known.truth))
        usual = np.where(both, base, 0).sum(2) / num if base is not None else np.full(num.shape, np.nan)
    error = mean - truth
    difference = np.abs(error) - np.abs(usual - truth)
    row: dict[str, object] = {
        "finding": "macro",
        "value": float(finite_mean(np.abs(error), (0, 1))),
        "bias": float(finite_mean(error, (0, 1))),
        "difference": float(finite_mean(difference, (0, 1))),
        "num_large": int((np.abs(error) > LARGE).sum()),
        "tau": _mean_tau(mean, truth),
        "n": int(np.isfinite(error).sum()),
    }
    if replicates_HRB is not None:
        moved = truth[..., None] + replicates_HRB - finite_mean(replicates_HRB, -1)[..., None]
        absolute = np.abs(mean[..., None] - moved)
        low, row["high"] = _interval(np.abs(error), absolute)
        row["low"] = float(np.maximum(low, 0.0))
        of_difference = absolute - np.abs(usual[..., None] - moved)
        row["difference_low"], row["difference_high"] = _interval(difference, of_difference)
    return row


def _interval(value_HR: Array, replicates_HRB: Array) -> tuple[float, float]:
    """Return the 95 % interval of the mean of value_HR over patients, 1.96 standard deviations of its replicates to both sides."""
    value = np.array([finite_mean(value_HR, (0, 1))], np.float64)
    (low,), (high,) = normal_interval(value, finite_mean(replicates_HRB, (0, 1))[None])
    return float(low), float(high)


def _mean_tau(estimate_HR: Array, truth_HR: Array) -> float:
    """Return the mean over hospitals of Kendall's tau-b between estimated and true values of the runs; NaN with few runs."""
    from scipy.stats import kendalltau

    of_hospitals = []
    for estimate, truth in zip(estimate_HR, truth_HR, strict=True):
        runs = np.isfinite(estimate) & np.isfinite(truth)
        if runs.sum() >= _LEAST_RUNS:
            of_hospitals.append(float(kendalltau(estimate[runs], truth[runs]).statistic))
    finite = [tau for tau in of_hospitals if np.isfinite(tau)]
    return float(np.mean(finite)) if finite else float("nan")


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else float("nan")
