"""Triage with a guarantee: what conformal thresholds of the internal hospital give at each hospital.

The thresholds come from the internal validation split (module `conformal`). Where the patients of another hospital are
not exchangeable with patients of the internal hospital, the guarantee may be broken.
Shapes: P patients, K findings, L stated rates, V quantities, S cohorts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import divide, mean_over
from bench.extensions.decisions.conformal import LEVELS, highest_by_chance, thresholds
from bench.scoring.column import Column
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import error_of
from bench.scoring.intervals import independent, share_interval
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.score_run import RunMetrics
from bench.scoring.scored_split import DROPPED, ScoredSplit

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# miss_rate: mean over patients of the share of a patient's positive images that are released; false_positive_rate: mean over
# patients of the share of a patient's negative images that are flagged; the others are shares of all images
QUANTITIES = ("miss_rate", "false_positive_rate", "released", "flagged", "deferred")
GROUP_OF_QUANTITY = (0, 1, 2, 2, 2)  # images that a quantity is a share of: with the finding, without it, all


@dataclass(frozen=True, slots=True, eq=False)
class TriageThresholds:
    """The thresholds of a run for its findings.

    logit [L, 2, K]: release and flag; infinite if the internal hospital has too few patients; NaN without a validation split, or
    if a class is absent. num_patients [2, K]: internal validation patients with a positive image, and with a negative image.
    """

    logit: Array
    num_patients: NDArray[np.int64]

    @classmethod
    def choose(cls, val: ScoredSplit | None, num_findings: int) -> Self:
        """Choose the thresholds on the internal validation split; NaN without this split."""
        logit = np.full((len(LEVELS), 2, num_findings), np.nan)
        num_patients = np.zeros((2, num_findings), np.int64)
        if val is None:
            return cls(logit, num_patients)
        patient = val.cached("patient codes", lambda: np.unique(val.patient_id.astype(str), return_inverse=True)[1])
        for k in range(num_findings):
            label = val.labels()[:, k]
            rows = label != DROPPED
            num_patients[:, k] = [len(np.unique(patient[label == sign])) for sign in (1, 0)]
            if num_patients[:, k].all():
                logit[:, :, k] = thresholds(label[rows], val.logit[rows, k].astype(np.float64), patient[rows])
        return cls(logit, num_patients)

    def by_chance(self) -> Array:
        """Return the highest error rates by chance [L, 2, K] (`highest_by_chance`)."""
        cells = [
            [[highest_by_chance(int(num), level) for num in of_class] for of_class in self.num_patients]
            for level in LEVELS
        ]
        return np.array(cells, np.float64)


def cuts_of(column: Column, logit: Array) -> tuple[int, int]:
    """Return the number of flagged images, and the index of the first released image, for the logits (release, flag)."""
    release, flag = logit
    flagged = int(np.searchsorted(-column.score, -flag, side="left"))
    return flagged, max(flagged, int(column.reaching(np.array([release]))[0]))


def tallies(column: Column, logit: Array, images: NDArray[np.int64]) -> Array:
    """Return sums of each patient [P, 3 + 4 L], for `quantities_of`.

    The first three are 1 for a patient with a positive image, 1 for a patient with a negative image, and the number of images. Then
    for each level: share of positive images that are released, share of negative images that are flagged, number of released
    images, number of flagged images.
    logit [L, 2]: thresholds. images [2, P]: numbers of positive and of negative images of each patient.
    """
    positive, num_patients = column.positive, images.shape[1]
    sums = [*(images > 0).astype(np.float64), images.sum(0).astype(np.float64)]
    for of_level in logit:
        num_flagged, first_released = cuts_of(column, of_level)
        flagged, released = slice(None, num_flagged), slice(first_released, None)
        misses = np.bincount(column.patient[released][positive[released]], minlength=num_patients)
        alarms = np.bincount(column.patient[flagged][~positive[flagged]], minlength=num_patients)
        sums += [misses / np.maximum(images[0], 1), alarms / np.maximum(images[1], 1)]
        sums += [
            np.bincount(column.patient[rows], minlength=num_patients).astype(np.float64) for rows in (released, flagged)
        ]
    return np.stack(sums, 1)


def quantities_of(of_patients: Array) -> tuple[Array, Array]:
    """Compute the QUANTITIES [L, V] from `tallies` [P, 3 + 4 L], and the influences of the patients [L, V, P]; NaN without images."""
    parts = of_patients[:, 3:].reshape(len(of_patients), -1, 4)
    of = of_patients[:, [0, 1, 2, 2]]
    value = divide(parts.sum(0), of.sum(0))
    influence = divide(parts - value * of[:, None], of.sum(0)).transpose(1, 2, 0)
    deferred = 1 - value[:, 2] - value[:, 3]
    of_deferred = -influence[:, 2] - influence[:, 3]
    return np.column_stack([value, deferred]), np.concatenate([influence, of_deferred[:, None]], 1)


@dataclass(frozen=True, slots=True, eq=False)
class TriageQuantities:
    """The quantities of one cohort [K, L, V]; NaN for a finding without scores.

    error [K, L, V]: standard errors. num_patients [K, 2]: patients with a positive image, and with a negative image. num_images [K].
    effective [2, K, 3]: numbers of independent images that say as much as these images, if the images of a patient are
    independent (row 0), and if they are alike (row 1).
    """

    dataset: str
    value: Array
    error: Array
    num_patients: NDArray[np.int64]
    num_images: NDArray[np.int64]
    effective: Array

    @classmethod
    def of(cls, split: SplitMetrics, chosen: TriageThresholds) -> Self:
        """Compute the quantities of one split."""
        num_findings = len(split.columns)
        known = np.array([len(column.rows) > 0 for column in split.columns]) & ~np.isnan(chosen.logit).any((0, 1))
        value = np.full((num_findings, len(LEVELS), len(QUANTITIES)), np.nan)
        error = value.copy()
        num_patients = np.zeros((num_findings, 2), np.int64)
        num_images = np.zeros(num_findings, np.int64)
        effective = np.zeros((2, num_findings, 3))
        images = split.images_of_patients
        for k in np.flatnonzero(known):
            of_patients = tallies(split.columns[k], chosen.logit[:, :, k], images[:, k])
            value[k], influence = quantities_of(of_patients)
            error[k] = error_of(influence)
            *num_patients[k], num_images[k] = of_patients[:, :3].sum(0).astype(np.int64)
            effective[:, k] = effective_sizes(images[:, k])
        return cls(split.scored.dataset, value, error, num_patients, num_images, effective)

    @classmethod
    def mean(cls, hospitals: Sequence[Self]) -> Self:
        """Return the unweighted mean over hospitals; a hospital without a value is left out. Counts are sums."""
        value, error = mean_over(*(np.stack([getattr(h, name) for h in hospitals]) for name in ("value", "error")))
        num_patients = np.sum([hospital.num_patients for hospital in hospitals], 0)
        num_images = np.sum([hospital.num_images for hospital in hospitals], 0)
        effective = independent(np.stack([hospital.effective for hospital in hospitals]))
        return cls(EXTERNAL, value, error, num_patients, num_images, effective)

    def bounds(self) -> Array:
        """Return value, low and high of each quantity [K, L, V, 3]."""
        images, patients = self.effective[:, :, None, GROUP_OF_QUANTITY]
        return np.stack([self.value, *share_interval(self.value, self.error, images, patients)], -1)


def effective_sizes(images: NDArray[np.int64]) -> Array:
    """Return the rows of `TriageQuantities.effective` [2, 3] of one finding, from its positive and negative images of each patient [2, P].

    A rate is a mean over patients, so each patient is a sample for `independent`.
    """
    both = images.sum(0)
    return np.array(
        [
            [*(float(independent(of_class.astype(np.float64))) for of_class in images), both.sum()],
            [np.count_nonzero(of_group) for of_group in (*images, both)],
        ],
        np.float64,
    )


def rows(run: RunMetrics) -> list[Row]:
    """Return the rows of the table `triage`: each split, then the mean over the external hospitals; no row without a value."""
    chosen = TriageThresholds.choose(run.val, len(run.findings))
    cohorts = [TriageQuantities.of(run.test, chosen)] if run.test else []
    hospitals = [TriageQuantities.of(split, chosen) for split in run.external]
    cohorts += [*hospitals, *([TriageQuantities.mean(hospitals)] if hospitals else [])]
    by_chance = chosen.by_chance()  # [L, 2, K]
    at = np.where(np.isfinite(chosen.logit), chosen.logit, np.nan)
    out: list[Row] = []
    for cohort in cohorts:
        numbers = cohort.bounds()
        for k, finding in enumerate(run.findings):
            for index, level in enumerate(LEVELS):
                if not np.isfinite(numbers[k, index, 0, 0]):
                    continue
                of_internal, chance = chosen.num_patients[:, k].tolist(), by_chance[index][:, k].tolist()
                of_cohort = (*cohort.num_patients[k].tolist(), int(cohort.num_images[k]))
                values = numbers[k, index].ravel().tolist()
                prefix = (run.run_id, cohort.dataset, finding, level, *at[index, :, k].tolist(), *of_internal)
                out.append((*prefix, *values, *chance, *of_cohort))
    return out
