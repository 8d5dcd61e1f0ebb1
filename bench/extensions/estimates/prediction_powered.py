"""Prediction-powered estimates: combine few labels of a hospital with the predictions for its unlabeled images.

Every estimate starts from the labels alone. A second quantity is computed from predictions, so it is known for labeled
and unlabeled images: the influence that an image would have if its label were the predicted probability. The mean of
this quantity over the labeled images differs from its mean over the unlabeled images only by chance. A multiple of the
difference is therefore added to the estimate, which removes a part of the chance of drawing these labeled images:

    estimate = labels alone + power x (mean over unlabeled - mean over labeled images)

`power` minimizes the variance of the estimate. If predictions do not help, it is 0, and the result is that of the labels
alone. The estimate is correct for poor predictions, too; poor predictions only make the interval wider. Labeled patients
must be a random sample of the hospital's patients.

For the mean of labels, the estimate is that of ppi-python. All other scores use the first-order influence of
an image on the score (a one-step estimate). Patients are the units: influences are summed over the images of a patient.

Normal intervals hold for many labeled patients only. So a share has the interval of `share_bounds`, and an AUROC that of
`area_interval`: they are never of zero width, and hold with few patients. The predictions make the intervals narrower by the ratio of
the two variances, as more labels would. With fewer than LEAST_FOR_PREDICTIONS patients of a class, nobody can say how much the
predictions help, so they are not used. `benchmarks/local_labels.csv` has the coverage.

Source: Angelopoulos et al. 2023, Science 382, 669 (arXiv:2301.09633); PPI++, Angelopoulos, Duchi and Zrnic 2023
(arXiv:2311.01453), section 6.1 for the power.
Shapes: n labeled images, N unlabeled images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.scoring.area_intervals import ClassSizes, area_interval
from bench.scoring.column import Column
from bench.scoring.intervals import share_bounds
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Codes = NDArray[np.integer]

LEVEL = 0.9  # of the intervals
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
    num_unlabeled_patients: int


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Predictions for images [n]: calibrated probability of the finding, score, positive call, patient code.

    score: any number that rises with the probability, such as the logit; only AUROC uses it. called: None leaves out
    the scores that need calls. patient: the same code for all images of a patient, also in the other set of images.
    Raises ValueError for different lengths, and for a probability outside [0, 1].
    """

    probability: Array
    score: Array
    patient: Codes
    called: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        lengths = {len(a) for a in (self.probability, self.score, self.patient, self.called) if a is not None}
        if len(lengths) > 1:
            raise ValueError(f"the arrays have different lengths: {sorted(lengths)}")
        require_finite(self.probability, "probabilities")
        require_finite(self.score, "scores")
        if ((self.probability < 0) | (self.probability > 1)).any():
            raise ValueError("a probability is outside [0, 1]: calibrate logits first")

    def part(self, rows: NDArray[np.bool_]) -> "Images":
        """Return some of the images."""
        called = None if self.called is None else self.called[rows]
        return Images(self.probability[rows], self.score[rows], self.patient[rows], called)


def combined_scores(
    label: NDArray[np.integer], labeled: Images, unlabeled: Images, level: float = LEVEL
) -> dict[str, CombinedEstimate]:
    """Estimate the scores of a hospital from labels [n] of some images and the predictions for all images.

    The scores (SCORES): prevalence; sensitivity, specificity and accuracy of the calls (only with calls); and AUROC.
    label: 0 or 1 for each labeled image.
    Unlabeled images of labeled patients are left out, because the two samples must be independent. Without other
    images, or with fewer than LEAST_FOR_PREDICTIONS labeled patients with the finding or without it, the result is
    that of the labels alone, and the power is 0.

    Raises ValueError if a label is neither 0 nor 1, or if `level` is not in (0, 1).

    >>> labels = np.array([1, 0, 0, 1, 0, 0])
    >>> seen = Images(np.array([0.7, 0.2, 0.1, 0.6, 0.4, 0.1]), np.array([1, -1, -2, 0, 0, -2.0]), np.arange(6))
    >>> more = Images(np.array([0.3, 0.1, 0.8, 0.2]), np.array([-1, -2, 1, -1.0]), np.arange(6, 10))
    >>> prevalence = combined_scores(labels, seen, more)["prevalence"]
    >>> round(prevalence.value, 3), round(prevalence.low, 3), round(prevalence.high, 3), prevalence.power
    (0.333, 0.114, 0.656, 0.0)
    """
    if not np.isin(label, (0, 1)).all() or len(label) != len(labeled.patient):
        raise ValueError("label must have a 0 or a 1 for each labeled image")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    of_class = [len(np.unique(labeled.patient[label == sign])) for sign in (1, 0)]
    unlabeled = unlabeled.part(~np.isin(unlabeled.patient, labeled.patient) & (min(of_class) >= LEAST_FOR_PREDICTIONS))
    target = label.astype(np.float64)
    p, q = labeled.probability, unlabeled.probability
    mean_of = partial(mean, patient=labeled.patient, patient_unlabeled=unlabeled.patient, level=level)
    out = {"prevalence": mean_of(target, p, q)}
    if labeled.called is not None and unlabeled.called is not None:
        calls, other = labeled.called.astype(np.float64), unlabeled.called.astype(np.float64)
        out["accuracy"] = mean_of(*(t * c + (1 - t) * (1 - c) for t, c in ((target, calls), (p, calls), (q, other))))
        out["sensitivity"] = _share(target, p, q, calls, other, labeled, unlabeled, level)
        out["specificity"] = _share(1 - target, 1 - p, 1 - q, 1 - calls, 1 - other, labeled, unlabeled, level)
    out["auroc"] = _auroc(label, labeled, unlabeled, level)
    everyone = np.ones(len(label), bool)
    members = {"prevalence": everyone, "accuracy": everyone, "sensitivity": label == 1, "specificity": label == 0}
    for name, member in members.items():
        if name in out:
            out[name] = _with_bounds(out[name], _share_bounds, ClassSizes.of(_images(labeled, [member])), level)
    sizes = ClassSizes.of(_images(labeled, [label == 1, label == 0]))
    out["auroc"] = _with_bounds(out["auroc"], partial(area_interval, "auroc"), sizes, level)
    return {name: out[name] for name in SCORES if name in out}


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

    sizes: of the labeled images. For the combined estimate, they grow by the ratio of the variances.
    """
    if not np.isfinite(one.labels_value) or one.num_labeled_patients < LEAST_PATIENTS:
        return one
    z = float(ndtri((1 + level) / 2))
    errors = np.nan_to_num([one.high - one.low, one.labels_high - one.labels_low]) / (2 * z)
    values = np.clip([one.value, one.labels_value], 0.0, 1.0)
    more = (errors[1] / errors[0]) ** 2 if errors.all() else 1.0
    both = ClassSizes(*(np.stack([more * numbers, numbers], -1) for numbers in sizes))
    (low, labels_low), (high, labels_high) = bounds_of(values, errors, both, z)
    value, labels_value = values.tolist()
    return replace(
        one,
        value=value,
        low=float(low),
        high=float(high),
        labels_value=labels_value,
        labels_low=float(labels_low),
        labels_high=float(labels_high),
    )


def mean(
    outcome: Array,
    predicted: Array,
    predicted_unlabeled: Array,
    patient: Codes | None = None,
    patient_unlabeled: Codes | None = None,
    level: float = LEVEL,
) -> CombinedEstimate:
    """Estimate the mean of an outcome [n] with its predictions for labeled [n] and unlabeled images [N].

    Without patient codes, each image is a patient of its own, and the result is that of ppi-python's `ppi_mean_ci` and
    `ppi_mean_pointestimate`. There is one exception: if the interval were wider than that of the labels alone, the
    power is 0.
    """
    codes = np.arange(len(outcome)) if patient is None else patient
    others = np.arange(len(predicted_unlabeled)) if patient_unlabeled is None else patient_unlabeled
    value = float(outcome.mean())
    return _combine(value, outcome - value, predicted, predicted_unlabeled, codes, others, level)


def _share(
    member: Array, p: Array, q: Array, calls: Array, other: Array, labeled: Images, unlabeled: Images, level: float
) -> CombinedEstimate:
    """Estimate the share of positive calls among the members of a class, such as the sensitivity.

    member [n]: 1 for images of the class. p [n], q [N]: probability of the class.
    """
    if not member.any() or _too_few(member == 1, labeled.patient):
        return _without_interval(float("nan"), labeled.patient, unlabeled.patient)
    value = float(member @ calls / member.sum())
    # The predictions' own estimate is the center, so that the quantity depends on predictions alone.
    center = (p @ calls + q @ other) / (p.sum() + q.sum())
    scale = np.concatenate([p, q]).mean()
    of_labels = member * (calls - value) / member.mean()
    return _combine(
        value,
        of_labels,
        p * (calls - center) / scale,
        q * (other - center) / scale,
        labeled.patient,
        unlabeled.patient,
        level,
    )


def _auroc(label: NDArray[np.integer], labeled: Images, unlabeled: Images, level: float) -> CombinedEstimate:
    """Estimate AUROC: the influence is that of the U statistic's first-order (Hajek) projection.

    The predictions of all images give the distribution of the scores in each class: an image counts as positive with
    its probability, and as negative with the rest.
    """
    if any(_too_few(label == value, labeled.patient) for value in (0, 1)):
        return _without_interval(float("nan"), labeled.patient, unlabeled.patient)
    num = len(label)
    column = Column.of(np.zeros(num, np.int32), label.astype(np.int8), labeled.score)
    of_labels = np.empty(num)
    value, of_labels[column.rows] = column.auroc()
    of_predictions = _predicted_influence(
        np.concatenate([labeled.probability, unlabeled.probability]), np.concatenate([labeled.score, unlabeled.score])
    )
    return _combine(
        value, of_labels * num, of_predictions[:num], of_predictions[num:], labeled.patient, unlabeled.patient, level
    )


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


def _too_few(member: NDArray[np.bool_], patient: Codes) -> bool:
    return len(np.unique(patient[member])) < LEAST_PATIENTS


def _combine(
    value: float,
    of_labels: Array,
    predicted: Array,
    predicted_unlabeled: Array,
    patient: Codes,
    patient_unlabeled: Codes,
    level: float,
) -> CombinedEstimate:
    """Combine an estimate from labels with its predicted influence.

    value: estimate from the labels. of_labels [n]: influence of each labeled image times n, with mean 0. predicted [n],
    predicted_unlabeled [N]: the same from predictions; their mean need not be 0.
    """
    num, other = len(of_labels), len(predicted_unlabeled)
    of_labels_P = _patient_sums(of_labels - of_labels.mean(), patient)
    variance = _variance(of_labels_P, num)
    if len(of_labels_P) < LEAST_PATIENTS or variance <= 1e-24:
        return _without_interval(value, patient, patient_unlabeled)
    of_labels_alone = np.sqrt(variance)
    power, error, shifted, num_unlabeled = 0.0, of_labels_alone, value, 0
    if other:
        predicted_P = _patient_sums(predicted - predicted.mean(), patient)
        unlabeled_P = _patient_sums(predicted_unlabeled - predicted_unlabeled.mean(), patient_unlabeled)
        num_unlabeled = len(unlabeled_P)
        power = _power(of_labels_P, predicted_P, predicted, predicted_unlabeled, patient, patient_unlabeled)
        power = float(np.clip(power, 0.0, 1.0))
        error = np.sqrt(_variance(of_labels_P - power * predicted_P, num) + _variance(power * unlabeled_P, other))
        if error > of_labels_alone:  # rare: the power is estimated from all images, the variances from each sample
            power, error = 0.0, of_labels_alone
        shifted += power * float(predicted_unlabeled.mean() - predicted.mean())
    half, labels_half = (float(ndtri((1 + level) / 2) * width) for width in (error, of_labels_alone))
    return CombinedEstimate(
        shifted,
        shifted - half,
        shifted + half,
        value,
        value - labels_half,
        value + labels_half,
        power,
        len(of_labels_P),
        num_unlabeled,
    )


def _power(
    of_labels_P: Array,
    predicted_P: Array,
    predicted: Array,
    predicted_unlabeled: Array,
    patient: Codes,
    patient_unlabeled: Codes,
) -> float:
    """Estimate the weight of the predictions that minimizes the variance, as ppi-python does (its `_calc_lam_glm`).

    The variance of the predictions comes from the labeled and the unlabeled images together.
    """
    num, other = len(predicted), len(predicted_unlabeled)
    covariance = float(of_labels_P @ predicted_P) / num
    center = np.concatenate([predicted, predicted_unlabeled]).mean()
    pooled_P = np.concatenate(
        [_patient_sums(predicted - center, patient), _patient_sums(predicted_unlabeled - center, patient_unlabeled)]
    )
    variance = float(pooled_P @ pooled_P) / (num + other) * len(pooled_P) / (len(pooled_P) - 1)
    return covariance / ((1 + num / other) * variance) if variance > 1e-24 else 0.0


def _patient_sums(value: Array, patient: Codes) -> Array:
    """Sum values [n] over the images of each patient."""
    codes = np.unique(patient, return_inverse=True)[1]
    return np.asarray(np.bincount(codes, value), np.float64)


def _variance(influence_P: Array, num: int) -> float:
    """Compute the variance of a mean over `num` images from the summed influences of the patients."""
    return float(influence_P @ influence_P) / num**2


def _without_interval(value: float, patient: Codes, patient_unlabeled: Codes) -> CombinedEstimate:
    """Return the value from the labels alone without an interval, for labels that do not suffice for an interval."""
    nan = float("nan")
    return CombinedEstimate(
        value, nan, nan, value, nan, nan, 0.0, len(np.unique(patient)), len(np.unique(patient_unlabeled))
    )
