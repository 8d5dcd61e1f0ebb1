"""Simulate two hospitals with known differences, and compute the true components of their gap.

The hospitals differ in case mix, prevalence, labels and skill (the separation of positives and negatives). A stratum is
a group of patients with the same sex, age decade, view and label. A prediction score is the stratum's mean + the patient's effect +
noise; effect and noise have normal distributions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from bench.scoring.calibration_metrics import bin_of
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.scored_split import ScoredSplit

Array = NDArray[np.float64]
PATIENT_SD, NOISE_SD = 0.8, 0.6
SD = float(np.hypot(PATIENT_SD, NOISE_SD))


def patients(num: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the patient number of each image; a patient has 1 to 6 images."""
    return np.repeat(np.arange(num), generator.integers(1, 7, num))


class Mixture(NamedTuple):
    """Scores of a class of patients: the mean score [S] of each stratum, and its share [S] of these patients."""

    mean: Array
    share: Array

    def __or__(self, other: "Mixture") -> "Mixture":
        """Return the strata of both."""
        return Mixture(*(np.concatenate(both) for both in zip(self, other, strict=True)))


# the 24 cells of a hospital: sex (1 for women), age decade from 30 to 39 (0) on, view (1 for AP)
FEMALE, DECADE, AP = (np.ravel(axis) for axis in np.meshgrid([0, 1], np.arange(6), [0, 1], indexing="ij"))


@dataclass(frozen=True, slots=True)
class World:
    """A simulated hospital.

    women        share of women
    aging        logarithm of the ratio of the shares of two neighboring age decades, the older to the younger
    ap           log odds of the view AP at the age of 55; the odds rise with age
    prevalence   true share of positive patients
    distance     mean score of positives minus mean score of negatives, for women and for men, in the youngest PA cell; smaller by
                 0.3 in AP, and by 0.1 for each decade
    mislabelled  share of the negatives with a positive label
    """

    women: float
    aging: float
    ap: float
    prevalence: float
    distance: tuple[float, float]
    mislabelled: float = 0.0

    @property
    def cells(self) -> Array:
        """The share of each cell [24] among the patients; it does not depend on the label."""
        of_decade = np.exp(self.aging * DECADE) / np.exp(self.aging * np.arange(6)).sum()
        of_ap = expit(self.ap + 0.3 * (DECADE - 2.5))
        return np.where(FEMALE, self.women, 1 - self.women) * of_decade * np.where(AP, of_ap, 1 - of_ap)

    @property
    def means(self) -> tuple[Array, Array]:
        """The mean score of the positives and of the negatives of each cell, [24] each."""
        negative = 0.3 * FEMALE + 0.05 * DECADE + 0.2 * AP
        return negative + np.where(FEMALE, *self.distance) - 0.3 * AP - 0.1 * DECADE, negative

    def densities(self, mix: "World | None" = None, mislabelled: float | None = None) -> tuple[Mixture, Mixture]:
        """Return the strata of the patients with a positive label, and the strata of the patients with a negative label.

        The case mix is that of the hospital `mix`, by default of this one. `mislabelled` replaces the value of this hospital.
        """
        share, (positive, negative) = (mix or self).cells, self.means
        wrong = self.mislabelled if mislabelled is None else mislabelled
        true = self.prevalence / (self.prevalence + (1 - self.prevalence) * wrong)
        return Mixture(positive, share * true) | Mixture(negative, share * (1 - true)), Mixture(negative, share)

    @property
    def labelled(self) -> float:
        """Return the share of patients with a positive label, right or wrong."""
        return self.prevalence + (1 - self.prevalence) * self.mislabelled

    def draw(self, name: str, num_patients: int, generator: np.random.Generator) -> ScoredSplit:
        """Return a simulated split. If labels can be wrong, the mapping `strict` gives the true labels."""
        patient = patients(num_patients, generator)
        true = generator.random(num_patients) < self.prevalence
        labeled = true | (generator.random(num_patients) < self.mislabelled)
        cell = generator.choice(len(FEMALE), num_patients, p=self.cells)
        mean = np.where(true, *(means[cell] for means in self.means)) + generator.normal(0, PATIENT_SD, num_patients)
        logit = (mean[patient] + generator.normal(0, NOISE_SD, len(patient)))[:, None].astype(np.float32)
        state, strict = (label[patient, None].astype(np.int8) for label in (labeled, true))
        mapped = {"strict": strict} if self.mislabelled else {}
        view = np.where(AP[cell], "AP", "PA").astype(object)[patient]
        patient_groups = PatientGroups(
            np.where(FEMALE[cell], "F", "M").astype(object)[patient],
            35.0 + 10 * DECADE[cell][patient],
            view,
            view,
            mapped,
        )
        ids = np.arange(len(patient)).astype(str).astype(object)
        return ScoredSplit(
            name, "test", "report", ids, patient.astype(object), logit, state, patient_groups=patient_groups
        )


INTERNAL = World(women=0.3, aging=-0.2, ap=-1.0, prevalence=0.3, distance=(1.3, 2.3))
THERE = World(women=0.7, aging=0.2, ap=0.5, prevalence=0.15, distance=(1.1, 2.0), mislabelled=0.12)


def area(positive: Mixture, negative: Mixture) -> float:
    """Return the AUROC of positives and negatives whose scores are mixtures of normal distributions."""
    chance = norm.cdf((positive.mean[:, None] - negative.mean) / (np.sqrt(2) * SD))
    return float(positive.share @ chance @ negative.share)


def precision(positive: Mixture, negative: Mixture, prevalence: float) -> float:
    """Return the AUPRC of positives and negatives whose scores are mixtures of normal distributions.

    The AUPRC is the mean precision over the scores of positives; `prevalence` is the share of positives.
    """
    score = np.linspace(-8, 10, 20001)
    hit, false = (norm.sf(score[:, None], of.mean, SD) @ of.share for of in (positive, negative))
    density = norm.pdf(score[:, None], positive.mean, SD) @ positive.share
    return float(np.trapezoid(density * prevalence * hit / (prevalence * hit + (1 - prevalence) * false), score))


def calibration_error(positive: Mixture, negative: Mixture, prevalence: float) -> float:
    """Return the ECE of a run whose logits are the scores of positives and negatives; `prevalence` is the share of positives."""
    score = np.linspace(-8, 10, 200_001)
    from_positive, from_negative = (
        sum(share * norm.pdf(score, mean, SD) for mean, share in zip(*of, strict=True)) for of in (positive, negative)
    )
    density = prevalence * from_positive + (1 - prevalence) * from_negative
    excess = (prevalence * from_positive - density * expit(score)) / density.sum()
    return float(np.abs(np.bincount(bin_of(expit(score)), excess)).sum())


@cache
def planted() -> dict[str, dict[str, float]]:
    """Return metric -> component -> true value, for the gap between INTERNAL and THERE; also the gap and the remainder."""
    internal, external, mixed, strict = (
        INTERNAL.densities(),
        THERE.densities(),
        THERE.densities(mix=INTERNAL),
        THERE.densities(mislabelled=0.0),
    )
    auroc_parts = {
        "gap": area(*internal) - area(*external),
        "prevalence": 0.0,
        "case_mix": area(*mixed) - area(*external),
        "labels": area(*strict) - area(*external),
    }

    def parts(metric: Callable[[Mixture, Mixture, float], float]) -> dict[str, float]:
        """Return the components of a metric that depends on the prevalence."""
        at_external, at_internal = metric(*external, THERE.labelled), metric(*external, INTERNAL.labelled)
        return {
            "gap": metric(*internal, INTERNAL.labelled) - at_external,
            "prevalence": at_internal - at_external,
            "case_mix": metric(*mixed, INTERNAL.labelled) - at_internal,
        }

    components = {"auroc": auroc_parts, "auprc": parts(precision), "ece": parts(calibration_error)}
    return {
        name: parts | {"remainder": parts["gap"] - sum(v for p, v in parts.items() if p != "gap")}
        for name, parts in components.items()
    }
