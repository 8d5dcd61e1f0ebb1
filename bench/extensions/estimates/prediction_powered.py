"""Prediction-powered estimates: combine few labels of a hospital with the predictions for its unlabeled images.

Every estimate starts from the labels alone. A second quantity is computed from predictions, so it is known for labeled
and unlabeled images: the influence that an image would have if its label were the predicted probability. The mean of
this quantity over the labeled images differs from its mean over the unlabeled images only by chance. A multiple of the
difference is therefore added to the estimate, which removes a part of the chance of drawing these labeled images:

    estimate = labels alone + power x (mean over unlabeled - mean over labeled images)

`power` minimizes the variance of the estimate. If predictions do not help, it is 0, and the result is that of the labels
alone. The estimate is correct for poor predictions, too; poor predictions only make the interval wider. Labeled patients
must be a random sample of the hospital's patients.

For the mean of labels, the estimate equals ppi-python's. All other scores use the first-order influence of
an image on the score (a one-step estimate). Patients are the units: influences are summed over the images of a patient.

Normal intervals hold for many labeled patients only. So shares have the intervals of `share_bounds`, and AUROCs the intervals of
`area_interval`: these hold with few patients, and never have zero width. The predictions make the intervals narrower by the ratio of
the two variances, as more labels would. With fewer than LEAST_FOR_PREDICTIONS patients of a class, the gain from the predictions is
unknown, so they are not used. `benchmarks/local_labels.csv` has the coverage.

Source: Angelopoulos et al. 2023, Science 382, 669 (arXiv:2301.09633); PPI++, Angelopoulos, Duchi and Zrnic 2023
(arXiv:2311.01453), section 6.1 for the power.
Shapes: n labeled images, N unlabeled images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.scoring.area_intervals import ClassSizes, area_interval
from bench.scoring.column import Column
from bench.scoring.intervals import share_bounds

Array = NDArray[np.float64]
Codes = NDArray[np.integer]

LEVEL = 0.9  # confidence level of the intervals
# A score without two patients in each class has no variance.
LEAST_PATIENTS = 2
LEAST_FOR_PREDICTIONS = 20  # labeled patients with and without the finding
SCORES = ("prevalence", "sensitivity", "specificity", "accuracy", "auroc")


@dataclass(frozen=True, slots=True)
class CombinedEstimate:
    """An estimate from labels and predictions, beside the estimate from the labels alone.

    Both intervals have the same level. power: weight of the predictions; 0 means that they are not used. The bounds are
    NaN with one labeled patient. The values are also NaN if a class that the score needs has fewer than two patients.
    """

    value: float
    low: float
    high: float
    labels_value: float
    labels_low: float
    labels_high: float
    power: float
    num_labeled_patients: int


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Predictions for images [n]: calibrated probability of the finding, score, patient code, positive call.

    score: any number that rises with the probability, such as the logit; only AUROC uses it. patient: the same code for all
    images of a patient, also in the other set of images.
    """

    probability: Array
    score: Array
    patient: Codes
    called: NDArray[np.bool_]

    def part(self, rows: NDArray[np.bool_]) -> "Images":
        """Return some of the images."""
        return Images(self.probability[rows], self.score[rows], self.patient[rows], self.called[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """The patient codes of the labeled images [n] and of the unlabeled images [N]."""

    labeled: Codes
    unlabeled: Codes

    def too_few(self, member: NDArray[np.bool_]) -> bool:
        """Return whether the labeled images of a class have fewer patients than a variance needs."""
        return len(np.unique(self.labeled[member])) < LEAST_PATIENTS


def combined_scores(
    label: NDArray[np.integer], labeled: Images, unlabeled: Images, level: float = LEVEL
) -> dict[str, CombinedEstimate]:
    """Estimate the scores of a hospital from labels [n] of some images and the predictions for all images.

    The scores (SCORES): prevalence; sensitivity, specificity and accuracy of the calls; and AUROC. label: 0 or 1 for each
    labeled image. Unlabeled images of labeled patients are left out, because the two samples must be independent. Without
    other images, or with fewer than LEAST_FOR_PREDICTIONS labeled patients with the finding or without it, the result is
    that of the labels alone, and the power is 0.

    >>> labels = np.array([1, 0, 0, 1, 0, 0])
    >>> prob, logit = np.array([0.7, 0.2, 0.1, 0.6, 0.4, 0.1]), np.array([1, -1, -2, 0, 0, -2.0])
    >>> seen = Images(prob, logit, np.arange(6), prob > 0.5)
    >>> prevalence = combined_scores(labels, seen, seen)["prevalence"]
    >>> round(prevalence.value, 3), round(prevalence.low, 3), round(prevalence.high, 3), prevalence.power
    (0.333, 0.114, 0.656, 0.0)
    """
    of_class = [len(np.unique(labeled.patient[label == sign])) for sign in (1, 0)]
    unlabeled = unlabeled.part(~np.isin(unlabeled.patient, labeled.patient) & (min(of_class) >= LEAST_FOR_PREDICTIONS))
    target = label.astype(np.float64)
    p, q = labeled.probability, unlabeled.probability
    calls, other = labeled.called.astype(np.float64), unlabeled.called.astype(np.float64)
    correct, of_p, of_q = (t * c + (1 - t) * (1 - c) for t, c in ((target, calls), (p, calls), (q, other)))
    patients = Patients(labeled.patient, unlabeled.patient)
    everyone, positive = np.ones(len(label), bool), label == 1
    out = {
        "prevalence": (mean(target, p, q, patients, level), [everyone]),
        "sensitivity": (_share(target, p, q, calls, other, patients, level), [positive]),
        "specificity": (_share(1 - target, 1 - p, 1 - q, 1 - calls, 1 - other, patients, level), [~positive]),
        "accuracy": (mean(correct, of_p, of_q, patients, level), [everyone]),
        "auroc": (_auroc(label, labeled, unlabeled, patients, level), [positive, ~positive]),
    }
    bounds_of = dict.fromkeys(out, _share_bounds) | {"auroc": partial(area_interval, "auroc")}
    return {
        name: _with_bounds(estimate, bounds_of[name], ClassSizes.of(_images(labeled, members)), level)
        for name, (estimate, members) in out.items()
    }


def _images(images: Images, members: Sequence[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return the number of images of each patient in each of some sets of images: [sets, P]."""
    _, patient = np.unique(images.patient, return_inverse=True)
    return np.stack([np.bincount(patient[member], minlength=patient.max() + 1) for member in members])


def _share_bounds(value: Array, error: Array, sizes: ClassSizes, quantile: float) -> tuple[Array, Array]:
    level = 2 * float(ndtr(quantile)) - 1
    return share_bounds(value, error**2, sizes.images[0], sizes.patients[0], level)


def _with_bounds(
    one: CombinedEstimate,
    bounds_of: Callable[[Array, Array, ClassSizes, float], tuple[Array, Array]],
    sizes: ClassSizes,
    level: float,
) -> CombinedEstimate:
    """Return an estimate with bounds for few patients, from the standard errors of its normal intervals.

    sizes: the sizes of the labeled images. For the combined estimate, they grow by the ratio of the variances.
    """
    if not np.isfinite(one.labels_value) or one.num_labeled_patients < LEAST_PATIENTS:
        return one
    z = float(ndtri((1 + level) / 2))
    errors = np.nan_to_num([one.high - one.low, one.labels_high - one.labels_low]) / (2 * z)
    values = np.clip([one.value, one.labels_value], 0.0, 1.0)
    more = (errors[1] / errors[0]) ** 2 if errors.all() else 1.0
    both = ClassSizes(*(np.stack([more * numbers, numbers], -1) for numbers in sizes))
    lows, highs = bounds_of(values, errors, both, z)
    (value, low, high), (alone, alone_low, alone_high) = np.stack([values, lows, highs], 1).tolist()
    return CombinedEstimate(value, low, high, alone, alone_low, alone_high, one.power, one.num_labeled_patients)


def mean(
    outcome: Array, predicted: Array, predicted_unlabeled: Array, patients: Patients, level: float = LEVEL
) -> CombinedEstimate:
    """Estimate the mean of an outcome [n] with its predictions for labeled [n] and unlabeled images [N].

    If each image is a patient of its own, the result equals ppi-python's `ppi_mean_ci` and `ppi_mean_pointestimate`.
    There is one exception: if the interval were wider than with the labels alone, the power is 0.
    """
    value = float(outcome.mean())
    return _combine(value, outcome - value, predicted, predicted_unlabeled, patients, level)


def _share(
    member: Array, p: Array, q: Array, calls: Array, other: Array, patients: Patients, level: float
) -> CombinedEstimate:
    """Estimate the share of positive calls among the members of a class, such as the sensitivity.

    member [n]: 1 for images of the class. p [n], q [N]: probability of the class.
    """
    if patients.too_few(member == 1):
        return _without_interval(float("nan"), patients)
    value = float(member @ calls / member.sum())
    # The predictions' own estimate is the center, so that the quantity depends on predictions alone.
    center = (p @ calls + q @ other) / (p.sum() + q.sum())
    scale = np.concatenate([p, q]).mean()
    of_labels = member * (calls - value) / member.mean()
    return _combine(value, of_labels, p * (calls - center) / scale, q * (other - center) / scale, patients, level)


def _auroc(
    label: NDArray[np.integer], labeled: Images, unlabeled: Images, patients: Patients, level: float
) -> CombinedEstimate:
    """Estimate AUROC: the influence is that of the U statistic's first-order (Hajek) projection.

    The predictions of all images give the distribution of the scores in each class: an image counts as positive with
    its probability, and as negative with the rest.
    """
    if patients.too_few(label == 1) or patients.too_few(label == 0):
        return _without_interval(float("nan"), patients)
    num = len(label)
    column = Column.of(np.zeros(num, np.int32), label.astype(np.int8), labeled.score)
    of_labels = np.empty(num)
    value, of_labels[column.rows] = column.auroc()
    of_predictions = _predicted_influence(
        np.concatenate([labeled.probability, unlabeled.probability]), np.concatenate([labeled.score, unlabeled.score])
    )
    return _combine(value, of_labels * num, of_predictions[:num], of_predictions[num:], patients, level)


def _predicted_influence(probability: Array, score: Array) -> Array:
    """Compute each image's influence on AUROC if its label were drawn with its probability, times the number of images."""
    _, place = np.unique(score, return_inverse=True)
    positive, negative = (np.bincount(place, weight) for weight in (probability, 1 - probability))
    if not positive.sum() or not negative.sum():
        return np.zeros(len(score))
    # the shares of the other class with a lower (for a positive) or a higher score (for a negative); ties count half
    below = ((np.cumsum(negative) - negative / 2) / negative.sum())[place]
    above = (1 - (np.cumsum(positive) - positive / 2) / positive.sum())[place]
    area = float(probability @ below / probability.sum())
    prevalence = probability.mean()
    return np.asarray(
        probability * (below - area) / prevalence + (1 - probability) * (above - area) / (1 - prevalence), np.float64
    )


def _combine(
    value: float, of_labels: Array, predicted: Array, predicted_unlabeled: Array, patients: Patients, level: float
) -> CombinedEstimate:
    """Combine an estimate from labels with its predicted influence.

    value: estimate from the labels. of_labels [n]: influence of each labeled image times n, with mean 0. predicted [n],
    predicted_unlabeled [N]: the same from predictions; their mean need not be 0.
    """
    num, other = len(of_labels), len(predicted_unlabeled)
    of_labels_P = _patient_sums(of_labels - of_labels.mean(), patients.labeled)
    variance = _variance(of_labels_P, num)
    if len(of_labels_P) < LEAST_PATIENTS or variance <= 1e-24:
        return _without_interval(value, patients)
    of_labels_alone = np.sqrt(variance)
    power, error, shifted = 0.0, of_labels_alone, value
    if other:
        predicted_P = _patient_sums(predicted - predicted.mean(), patients.labeled)
        unlabeled_P = _patient_sums(predicted_unlabeled - predicted_unlabeled.mean(), patients.unlabeled)
        power = _power(of_labels_P, predicted_P, predicted, predicted_unlabeled, patients)
        error = np.sqrt(_variance(of_labels_P - power * predicted_P, num) + _variance(power * unlabeled_P, other))
        if error > of_labels_alone:  # rare: the power is estimated from all images, the variances from each sample
            power, error = 0.0, of_labels_alone
        shifted += power * float(predicted_unlabeled.mean() - predicted.mean())
    half, labels_half = (float(ndtri((1 + level) / 2) * width) for width in (error, of_labels_alone))
    numbers = (shifted, shifted - half, shifted + half, value, value - labels_half, value + labels_half)
    return CombinedEstimate(*numbers, power, len(of_labels_P))


def _power(
    of_labels_P: Array, predicted_P: Array, predicted: Array, predicted_unlabeled: Array, patients: Patients
) -> float:
    """Estimate the weight of the predictions, 0 to 1, that minimizes the variance, as ppi-python does (its `_calc_lam_glm`).

    The variance of the predictions comes from the labeled and the unlabeled images together.
    """
    num, other = len(predicted), len(predicted_unlabeled)
    covariance = float(of_labels_P @ predicted_P) / num
    center = np.concatenate([predicted, predicted_unlabeled]).mean()
    of_labeled = _patient_sums(predicted - center, patients.labeled)
    pooled_P = np.concatenate([of_labeled, _patient_sums(predicted_unlabeled - center, patients.unlabeled)])
    variance = float(pooled_P @ pooled_P) / (num + other) * len(pooled_P) / (len(pooled_P) - 1)
    return float(np.clip(covariance / ((1 + num / other) * variance), 0.0, 1.0)) if variance > 1e-24 else 0.0


def _patient_sums(value: Array, patient: Codes) -> Array:
    """Sum values [n] over the images of each patient."""
    codes = np.unique(patient, return_inverse=True)[1]
    return np.asarray(np.bincount(codes, value), np.float64)


def _variance(influence_P: Array, num: int) -> float:
    """Compute the variance of a mean over `num` images from the summed influences of the patients."""
    return float(influence_P @ influence_P) / num**2


def _without_interval(value: float, patients: Patients) -> CombinedEstimate:
    """Return the value from the labels alone without an interval, for labels that do not suffice for an interval."""
    nan = float("nan")
    return CombinedEstimate(value, nan, nan, value, nan, nan, 0.0, len(np.unique(patients.labeled)))
