"""Net benefit and triage of one finding from a table of predictions, without a store.

A table has one row per image with the columns `label` (1 finding present, 0 absent), `patient_id`, and `probability` or `score`.
The column `note` of a result says why a number is missing, infinite or not reliable; it is "" if there is nothing to say.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.decisions.calls import CURVE
from bench.extensions.decisions.conformal import LEVELS, ROUNDING, highest_by_chance, thresholds
from bench.extensions.decisions.net_benefit import OVER_ALL, intervals_of, measures_of, odds
from bench.extensions.decisions.triage import (
    GROUP_OF_QUANTITY,
    QUANTITIES,
    effective_sizes,
    quantities_of,
    tallies,
)
from bench.scoring.across_runs.paired_tests import own_error, paired
from bench.scoring.area_intervals import effective_patients
from bench.scoring.column import Column
from bench.scoring.influence import error_of
from bench.scoring.intervals import share_interval
from bench.scoring.sample import Sample
from harmonize.errors import ConfigError

Array = NDArray[np.float64]
# prefixes of the columns, in the order of `net_benefit.MEASURES`; their own suffixes are "", _low and _high
_MEASURES = ("net_benefit", "standardized", "over_all")
_RATES = ("miss_rate", "false_positive_rate")
_CLASSES = ("the finding", "an image without the finding")  # what patients of the two classes have
FEW_PATIENTS = 10  # intervals of fewer patients of a class are not reliable, as with the default `min_count` of a grid


def checked(table: pd.DataFrame, column: str, of: str) -> pd.DataFrame:
    """Return the columns `label`, `patient_id` and `column` of a table of predictions.

    Raises ConfigError for a missing column, no rows, a label other than 0 and 1, a missing patient, and a number in `column` that
    is not finite, or is no probability if `column` is "probability". `of` names the table in messages.
    """
    if not isinstance(table, pd.DataFrame):
        raise ConfigError(f"a {type(table).__name__} is no table", of, "give a pandas DataFrame")
    if missing := [name for name in ("label", "patient_id", column) if name not in table]:
        raise ConfigError(f"the table has no column {missing[0]!r}", of, f"name it among {', '.join(map(str, table))}")
    if not len(table):
        raise ConfigError("the table has no rows", of, "give one row for each image")
    if not table["label"].isin([0, 1]).all():
        raise ConfigError("a label is neither 0 nor 1", of, "leave out images without a certain label")
    if table["patient_id"].isna().any():
        raise ConfigError("a patient_id is missing", of, "give each image the id of its patient")
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        raise ConfigError(f"a {column} is missing or not finite", of, "leave out images without a prediction")
    if column == "probability" and (numbers.min() < 0 or numbers.max() > 1):
        raise ConfigError(
            "a probability is outside 0 to 1", of, "apply a calibrator or the logistic function to logits"
        )
    return pd.DataFrame(
        {"label": table["label"].to_numpy(np.int8), "patient_id": table["patient_id"].astype(str), column: numbers}
    )


def net_benefit_of(
    predictions: pd.DataFrame,
    at: Sequence[float],
    minus: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row for each threshold; `bench.api.net_benefit` lists the columns. Raises its errors."""
    fix = "choose thresholds such as 0.05 and 0.2"
    threshold = _numbers(at, "thresholds", "net_benefit", fix)
    threshold = threshold if len(threshold) else np.array(CURVE)
    for number in threshold.tolist():
        try:
            odds(number)
        except ValueError as error:
            raise ConfigError(str(error), "net_benefit", fix) from error
    first = checked(predictions, "probability", "net_benefit, predictions")
    sample = Sample.of(first["patient_id"].to_numpy(object))
    value, bounds, influence = _measured(sample, first, threshold)
    low, high = bounds
    out = pd.DataFrame({"threshold": threshold})
    for m, name in enumerate(_MEASURES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = value[m], low[m], high[m]
    out["treat_all"] = value[0] - value[OVER_ALL]
    if minus is not None:
        second = checked(minus, "probability", "net_benefit, minus")
        if not (
            len(first) == len(second)
            and (first["label"].to_numpy() == second["label"].to_numpy()).all()
            and (first["patient_id"].to_numpy() == second["patient_id"].to_numpy()).all()
        ):
            raise ConfigError(
                "the two tables do not have the same images", "net_benefit", "sort both tables by the same image id"
            )
        others, of_others, influence_of_others = _measured(sample, second, threshold)
        own = np.stack([own_error(of[0], *ends[:, 0]) for of, ends in ((value, bounds), (others, of_others))])
        if first.equals(second):
            own = np.zeros_like(own)
        alone = np.stack([error_of(influence), error_of(influence_of_others)])
        difference = paired(value[0], others[0], error_of(influence - influence_of_others), own, alone)
        for name, numbers in zip(("difference", "difference_low", "difference_high", "p"), difference, strict=True):
            out[name] = numbers
    positive = int(first["label"].sum())
    of_class = [first.loc[first["label"] == sign, "patient_id"].nunique() for sign in (1, 0)]
    notes = _notes_of_images(*of_class)
    if sample.num_patients == 1:
        out[out.filter(regex="(_low|_high)$|^p$").columns] = np.nan
        notes.append("one patient has no interval")
    return out.assign(
        n=len(first),
        num_positive=positive,
        num_negative=len(first) - positive,
        num_patients=sample.num_patients,
        note="; ".join(notes),
    )


def _numbers(values: object, name: str, where: str, fix: str) -> Array:
    """Return numbers as an array; one number is an array of one. Raises ConfigError for anything else."""
    try:
        numbers = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the {name} are not numbers", where, fix) from error
    if numbers.ndim != 1:
        raise ConfigError(f"the {name} are not a list of numbers", where, fix)
    return numbers


def _notes_of_images(num_positive: int, num_negative: int) -> list[str]:
    """Return what few images of a class mean for a net benefit. The numbers count patients."""
    notes = []
    if not num_positive:
        notes.append("no image has the finding, so there is no standardized net benefit")
    if not num_negative:
        notes.append("no image is without the finding, so these images do not show false alarms")
    return notes + _few(num_positive, num_negative, "")


def _few(num_positive: int, num_negative: int, place: str) -> list[str]:
    """Return a note for each class with images of few patients; `place` stands behind the word for patients."""
    return [
        f"only {_patients(num, of_class, place=place)}, so intervals are missing or not reliable"
        for num, of_class in zip((num_positive, num_negative), _CLASSES, strict=True)
        if 0 < num < FEW_PATIENTS
    ]


def _patients(num: int, of_class: str, kind: str = "", place: str = "") -> str:
    """Return how many patients have images of a class, such as "2 patients have the finding"."""
    return f"{num} {kind}patient{place} has {of_class}" if num == 1 else f"{num} {kind}patients{place} have {of_class}"


def _notes_of_triage(level: float, num_internal: Sequence[int], num_positive: int, num_negative: int) -> str:
    """Return why thresholds or rates are missing at a stated rate. The numbers count patients: with the finding, without it."""
    needed = int(np.ceil(1 / level - 1 - ROUNDING))
    notes = [
        f"nothing is {call}: {_patients(num, of_class, 'internal ')}, and {needed} are needed"
        for call, num, of_class in zip(("released", "flagged"), num_internal, _CLASSES, strict=True)
        if num < needed
    ]
    if not num_positive:
        notes.append("no image of the hospital has the finding, so there is no miss rate")
    if not num_negative:
        notes.append("no image of the hospital is without the finding, so there is no false positive rate")
    return "; ".join(notes + _few(num_positive, num_negative, " of the hospital"))


def _measured(sample: Sample, table: pd.DataFrame, threshold: Array) -> tuple[Array, Array, Array]:
    """Return the measures [M, D] of a table of predictions, their intervals [2, M, D], and influences on net benefits [D, P]."""
    label, prob = table["label"].to_numpy(), table["probability"].to_numpy(np.float64)
    of_class = np.stack([label == 0, label == 1])
    called = sample.sums((prob >= threshold[:, None])[:, None] & of_class)
    total = sample.sums(of_class)
    sizes = np.array([len(table), effective_patients(np.bincount(sample.patient))])
    bounds, influence = intervals_of(called, total, threshold, sizes)
    return measures_of(called.sum(-1), total.sum(-1), threshold), bounds, influence[0]


def triage_of(
    internal: pd.DataFrame,
    hospital: pd.DataFrame,
    levels: Sequence[float] = LEVELS,
) -> pd.DataFrame:
    """Return one row for each stated rate; `bench.api.triage` lists the columns. Raises its errors."""
    fix = "choose levels such as 0.05 and 0.1"
    levels = _numbers(levels, "levels", "triage", fix).tolist()
    if not levels:
        raise ConfigError("there are no levels", "triage", fix)
    own, there = (
        checked(table, "score", f"triage, {name}") for table, name in ((internal, "internal"), (hospital, "hospital"))
    )
    patient = np.unique(own["patient_id"].to_numpy(str), return_inverse=True)[1]
    label, score = own["label"].to_numpy(np.int8), own["score"].to_numpy(np.float64)
    num_internal = [len(np.unique(patient[label == sign])) for sign in (1, 0)]
    if not all(num_internal):
        raise ConfigError("a class is absent", "triage, internal", "give images with the finding and images without it")
    try:
        at = thresholds(label, score, patient, levels)
    except ValueError as error:
        raise ConfigError(str(error), "triage", fix) from error
    sample = Sample.of(there["patient_id"].to_numpy(object))
    label, num_patients = there["label"].to_numpy(np.int8), sample.num_patients
    column = Column.of(sample.patient, label, there["score"].to_numpy(np.float64))
    images = np.stack([np.bincount(sample.patient[label == sign], minlength=num_patients) for sign in (1, 0)])
    value, influence = quantities_of(tallies(column, at, images))  # [L, V], [L, V, P]
    low, high = share_interval(value, error_of(influence), *effective_sizes(images)[:, GROUP_OF_QUANTITY])
    out = pd.DataFrame({"level": levels, "release_threshold": at[:, 0], "flag_threshold": at[:, 1]})
    out["num_internal_positive"], out["num_internal_negative"] = num_internal
    for v, name in enumerate(QUANTITIES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = value[:, v], low[:, v], high[:, v]
    for name, num in zip(_RATES, num_internal, strict=True):
        out[f"{name}_by_chance"] = [highest_by_chance(num, level) for level in levels]
    num_positive, num_negative = np.count_nonzero(images, axis=1).tolist()
    notes = [_notes_of_triage(level, num_internal, num_positive, num_negative) for level in levels]
    return out.assign(num_positive=num_positive, num_negative=num_negative, n=len(there), note=notes)
