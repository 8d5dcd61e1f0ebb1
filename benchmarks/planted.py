"""Simulate two hospitals with known differences, and compute the true components of their gap.

The hospitals differ in case mix, prevalence, labels and skill (the separation of positives and negatives). A stratum is
a group of patients with the same sex and label. A prediction score is the stratum's mean + the patient's effect +
noise; effect and noise have normal distributions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from bench.scoring.calibration_metrics import bin_of
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.scored_split import ScoredSplit

PATIENT_SD, NOISE_SD = 0.8, 0.6
SD = float(np.hypot(PATIENT_SD, NOISE_SD))


def patients(num: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the patient number of each image; a patient has 1 to 6 images."""
    return np.repeat(np.arange(num), generator.integers(1, 7, num))


@dataclass(frozen=True, slots=True)
class World:
    """A simulated hospital.

    women        share of women
    prevalence   true share of positive patients
    distance     mean score of positives minus mean score of negatives, for women and for men
    mislabelled  share of the negatives with a positive label
    """

    women: float
    prevalence: float
    distance: tuple[float, float]
    mislabelled: float = 0.0

    def densities(
        self, women: float | None = None, mislabelled: float | None = None
    ) -> tuple[Mapping[float, float], Mapping[float, float]]:
        """Return the strata of the patients with a positive label, and the strata of the patients with a negative label.

        Each is a mapping from the mean score of a stratum to the stratum's share of these patients. `women` and
        `mislabelled` replace the values of this hospital, if not None. Scores of women are higher by 0.3.
        """
        share = self.women if women is None else women
        wrong = self.mislabelled if mislabelled is None else mislabelled
        true = self.prevalence / (self.prevalence + (1 - self.prevalence) * wrong)
        negative = {0.3: share, 0.0: 1 - share}
        positive = {0.3 + self.distance[0]: share * true, self.distance[1]: (1 - share) * true}
        return positive | {
            mean + 1e-9: (1 - true) * share_of_stratum for mean, share_of_stratum in negative.items()
        }, negative

    @property
    def labelled(self) -> float:
        """Return the share of patients with a positive label, right or wrong."""
        return self.prevalence + (1 - self.prevalence) * self.mislabelled

    def draw(self, name: str, num_patients: int, generator: np.random.Generator) -> ScoredSplit:
        """Return a simulated split. If labels can be wrong, the mapping `strict` gives the true labels."""
        patient = patients(num_patients, generator)
        true = generator.random(num_patients) < self.prevalence
        labeled = true | (generator.random(num_patients) < self.mislabelled)
        female = generator.random(num_patients) < self.women
        mean = 0.3 * female + true * np.where(female, *self.distance) + generator.normal(0, PATIENT_SD, num_patients)
        logit = (mean[patient] + generator.normal(0, NOISE_SD, len(patient)))[:, None].astype(np.float32)
        state, strict = (label[patient, None].astype(np.int8) for label in (labeled, true))
        mapped = {"strict": strict} if self.mislabelled else {}
        text = np.full(len(patient), "PA", object)
        patient_groups = PatientGroups(
            np.where(female, "F", "M").astype(object)[patient], np.full(len(patient), 50.0), text, text, mapped
        )
        ids = np.arange(len(patient)).astype(str).astype(object)
        return ScoredSplit(
            name, "test", "report", ids, patient.astype(object), logit, state, patient_groups=patient_groups
        )


INTERNAL = World(women=0.3, prevalence=0.3, distance=(1.0, 2.0))
THERE = World(women=0.7, prevalence=0.15, distance=(0.8, 1.7), mislabelled=0.12)


def area(positive: Mapping[float, float], negative: Mapping[float, float]) -> float:
    """Return the AUROC of positives and negatives whose scores are mixtures of normal distributions."""
    pairs = [
        (p * n, norm.cdf((up - down) / (np.sqrt(2) * SD))) for up, p in positive.items() for down, n in negative.items()
    ]
    return float(sum(share * chance for share, chance in pairs))


def precision(positive: Mapping[float, float], negative: Mapping[float, float], prevalence: float) -> float:
    """Return the AUPRC of positives and negatives whose scores are mixtures of normal distributions.

    The AUPRC is the mean precision over the scores of positives; `prevalence` is the share of positives.
    """
    score = np.linspace(-8, 10, 20001)
    hit, false = (
        sum(share * norm.sf(score, mean, SD) for mean, share in strata.items()) for strata in (positive, negative)
    )
    density = sum(share * norm.pdf(score, mean, SD) for mean, share in positive.items())
    return float(np.trapezoid(density * prevalence * hit / (prevalence * hit + (1 - prevalence) * false), score))


def calibration_error(positive: Mapping[float, float], negative: Mapping[float, float], prevalence: float) -> float:
    """Return the ECE of a run whose logits are the scores of positives and negatives; `prevalence` is the share of positives."""
    score = np.linspace(-8, 10, 200_001)
    from_positive, from_negative = (
        sum(share * norm.pdf(score, mean, SD) for mean, share in strata.items()) for strata in (positive, negative)
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
        THERE.densities(women=INTERNAL.women),
        THERE.densities(mislabelled=0.0),
    )
    auroc_parts = {
        "gap": area(*internal) - area(*external),
        "prevalence": 0.0,
        "case_mix": area(*mixed) - area(*external),
        "labels": area(*strict) - area(*external),
    }

    def parts(metric: Callable[[Mapping[float, float], Mapping[float, float], float], float]) -> dict[str, float]:
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
