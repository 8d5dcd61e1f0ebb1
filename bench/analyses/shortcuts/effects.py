"""Effects of image changes on a network's predictions, compared with a control change, with intervals.

A host is an image that is changed; a donor is an image whose pixels are put into the host. `kind` is the name of a kind
of change, such as "border". Probabilities are the sigmoid of the network's logits, without calibration.

Shapes: N images of one cohort, K findings, P patients of a cohort.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.area_intervals import ClassSizes, area_interval, mean_interval, paired_interval
from bench.scoring.column import Column
from bench.scoring.influence import Influence, correlations, error_of
from bench.scoring.intervals import EQUAL, mean_bounds, share_interval
from bench.scoring.metrics import auroc
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
Logits = NDArray[np.float32]

MEAN = "macro"  # the mean over findings
MIN_IMAGES = 10  # minimum number of host images; for an AUROC, minimum number of images of each class
# kinds of changes over which the causal score is averaged; they were chosen before any score was computed
SCORED = (
    "marker",
    "corner",
    "border",
)
CAUSAL = "causal"  # the `kind` of the causal score
COLUMNS = tuple(name for name in SCHEMAS["transplants"] if name != "run_id")


@dataclass(frozen=True, slots=True)
class ChangedPredictions:
    """Logits [N, K] of the same images before and after a change, and after the control change."""

    kind: str
    donor: str  # cohort of the donors, or "" for kinds without a donor
    host: str  # cohort of the images
    before: Logits
    after: Logits
    control: Logits | None  # after the control change, mostly with pixels of the host's cohort; None without a control
    state: NDArray[np.int8]  # [N, K], label states: 1 present, 0 absent; images with other values count as neither
    patient: NDArray[np.intp]  # [N], index of each image's patient among those of the host cohort; all different
    num_patients: int  # patients of the host cohort


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """One measure: its value on changed images, its value on controls (NaN without controls), and their difference.

    `effect` is the difference, or the value on changed images if there are no controls. `influence` has the influences
    of the patients of the hosts on the effect, `bounds` its 95 % interval; `n` is the number of images.
    """

    value: float
    control: float
    effect: float
    influence: Influence
    bounds: tuple[float, float]
    n: int


Key = tuple[str, str, str]  # measure, finding, subset
Effects = dict[Key, Effect]


def effects(predictions: ChangedPredictions, findings: Sequence[str], threshold_K: Array) -> Effects:
    """Return all effects of one kind of change on one host cohort: (measure, finding, subset) -> effect.

    Measures: abs_dp (mean absolute change of the probability), dp (mean signed change), flip_rate (share of images
    whose call at the threshold changes), auroc (change of the AUROC). Subsets of images: all; for dp and flip_rate also
    present and absent (images with and without the finding). The effect is the value minus the value of the control on
    the same images; without a control, the effect equals the value. The finding "macro" is the mean over findings. The
    result is empty for fewer than MIN_IMAGES images. Intervals: Student's for means of probabilities, and NaN if no image
    differs; bounds of shares and AUROCs combine the intervals of both numbers (`paired_interval`).
    """
    if len(predictions.before) < MIN_IMAGES:
        return {}
    before_NK = expit(predictions.before.astype(np.float64))

    def measures(logit_NK: Logits) -> dict[str, Array]:
        dp_NK = expit(logit_NK.astype(np.float64)) - before_NK
        flip_NK = ((logit_NK >= threshold_K) != (predictions.before >= threshold_K)).astype(np.float64)
        return {"abs_dp": np.abs(dp_NK), "dp": dp_NK, "flip_rate": np.where(np.isnan(threshold_K), np.nan, flip_NK)}

    changed = measures(predictions.after)
    control = measures(predictions.control) if predictions.control is not None else {}
    subsets = {
        "all": np.ones(predictions.state.shape, bool),
        "present": predictions.state == 1,
        "absent": predictions.state == 0,
    }
    effects_by_key: Effects = {}
    for measure, value_NK in changed.items():
        for subset, in_subset_NK in subsets.items():
            if measure == "abs_dp" and subset != "all":
                continue
            table = _means(predictions, value_NK, control.get(measure), in_subset_NK, shares=measure == "flip_rate")
            effects_by_key |= {
                (measure, finding, subset): effect for finding, effect in zip(findings, table, strict=True) if effect
            }
    for finding, effect in zip(findings, _areas(predictions), strict=True):
        if effect:
            effects_by_key["auroc", finding, "all"] = effect
    return with_mean(effects_by_key, findings)


def _means(
    predictions: ChangedPredictions,
    value_NK: Array,
    control_NK: Array | None,
    in_subset_NK: NDArray[np.bool_],
    shares: bool,
) -> list[Effect | None]:
    """Return for each finding the mean effect over the images in the subset; `shares`: each image has 0 or 1.

    The effect is None if the subset has fewer than MIN_IMAGES images, or if the finding has no threshold.
    """
    effects: list[Effect | None] = []
    for k in range(value_NK.shape[1]):
        in_subset = in_subset_NK[:, k]
        value = value_NK[in_subset, k]
        n = len(value)
        if n < MIN_IMAGES or np.isnan(value).any():
            effects.append(None)
            continue
        # without a control, all changes of the control are 0, and their interval is 0 to 0
        compared = np.stack([value, np.zeros(n) if control_NK is None else control_NK[in_subset, k]])
        means, difference = compared.mean(1), compared[0] - compared[1]
        influence = (compared - means[:, None]) / n
        if shares:
            low, high = share_interval(means, error_of(influence), np.full(2, n), np.full(2, n))
            high[1] *= control_NK is not None
            bounds = paired_interval(means, low, high, _correlation(influence), patients=n)
        else:
            bounds = mean_bounds(float(difference.mean()), float(difference.std(ddof=1)) / n**0.5, n)
        control = float(means[1]) if control_NK is not None else float("nan")
        numbers = (float(means[0]), control, float(difference.mean()))
        effects.append(Effect(*numbers, _of_hosts(predictions, influence, np.flatnonzero(in_subset)), bounds, n))
    return effects


def _of_hosts(predictions: ChangedPredictions, influence: Array, rows: NDArray[np.intp]) -> Influence:
    """Return the influences on the first minus the second number [2, n] of the images with the indices `rows` [n]."""
    of_patients = np.zeros(predictions.num_patients)
    of_patients[predictions.patient[rows]] = influence[0] - influence[1]
    return Influence({predictions.host: of_patients})


def _correlation(influence: Array) -> float:
    """Return the correlation of two numbers from the influences on them [2, n]; 0 if one has none."""
    return float(correlations(influence @ influence.T)[0, 1])


def _areas(predictions: ChangedPredictions) -> list[Effect | None]:
    """Return for each finding the effect on its AUROC.

    The effect is None if fewer than MIN_IMAGES images have the finding, or fewer than MIN_IMAGES images do not have it.
    """
    label = np.where(np.isin(predictions.state, (0, 1)), predictions.state, -1).astype(np.int8)
    scores = {"before": predictions.before, "after": predictions.after}
    if predictions.control is not None:
        scores["control"] = predictions.control
    patient = predictions.patient.astype(np.int32)
    sizes = ClassSizes.of_labels(label, patient)
    reference = "control" if predictions.control is not None else "before"
    effects: list[Effect | None] = []
    for k in range(label.shape[1]):
        labeled = label[:, k] >= 0
        if min((label[:, k] == 1).sum(), (label[:, k] == 0).sum()) < MIN_IMAGES:
            effects.append(None)
            continue
        area = {name: auroc(label[labeled, k], score[labeled, k]) for name, score in scores.items()}
        control_change = float("nan") if predictions.control is None else area["control"] - area["before"]
        compared = np.array([area["after"], area[reference]])
        influence = np.zeros((2, len(label)))
        for of_score, name in zip(influence, ("after", reference), strict=True):
            column = Column.of(patient, label[:, k], scores[name][:, k])
            of_score[column.rows] = column.auroc()[1]
        of_both = ClassSizes(sizes.patients[:, [k, k]], sizes.images[:, [k, k]])
        own = area_interval("auroc", compared, error_of(influence), of_both)
        bounds = paired_interval(compared, *own, _correlation(influence))
        numbers = (area["after"] - area["before"], control_change, float(compared[0] - compared[1]))
        of_hosts = _of_hosts(predictions, influence, np.arange(len(label)))
        effects.append(Effect(*numbers, of_hosts, bounds, int(labeled.sum())))
    return effects


def with_mean(effects_by_key: Effects, findings: Sequence[str]) -> Effects:
    """Return the effects, and add for each measure and subset the mean over the findings."""
    keys = dict.fromkeys((measure, subset) for measure, _, subset in effects_by_key)
    means = {
        (measure, MEAN, subset): averaged(
            [effects_by_key[measure, f, subset] for f in findings if (measure, f, subset) in effects_by_key]
        )
        for measure, subset in keys
    }
    return effects_by_key | means


def averaged(effects: Sequence[Effect]) -> Effect:
    """Return the unweighted mean of effects. The `n` of the mean is the smallest `n` of these effects.

    An effect on which no patient has an influence, such as that on a constant output, adds nothing to the interval of the mean. If
    all are, the mean has no interval.
    """
    values = np.array([e.effect for e in effects])
    influence = Influence.stack([e.influence for e in effects])
    low, high = np.array([e.bounds for e in effects]).T
    constant = np.isnan(low) & (influence.error <= EQUAL)
    ends = [np.where(constant & ~constant.all(), values, end) for end in (low, high)]
    bounds = mean_interval("", values, ends, correlations(influence.covariance))
    mean = Influence.mean([e.influence for e in effects])
    value = float(np.mean([e.value for e in effects]))
    control = float(np.mean([e.control for e in effects]))
    return Effect(value, control, float(np.mean(values)), mean, bounds, min(e.n for e in effects))


def pooled(groups: Iterable[Effects]) -> Effects:
    """Return the mean of each effect over the groups that contain this effect. A group is a cohort or a kind of change."""
    effects_of_key: dict[Key, list[Effect]] = {}
    for effects_by_key in groups:
        for key, effect in effects_by_key.items():
            effects_of_key.setdefault(key, []).append(effect)
    return {key: averaged(effect) for key, effect in effects_of_key.items()}


def rows(effects_by_cell: Mapping[tuple[str, str, str], Effects]) -> pd.DataFrame:
    """Return the table `transplants` of one run (without run_id). `effects_by_cell`: (kind, donor, host) -> effects."""
    table_rows = []
    for (kind, donor, host), effects_by_key in effects_by_cell.items():
        for (measure, finding, subset), effect in effects_by_key.items():
            name = (kind, donor, host, finding, subset, measure)
            table_rows.append((*name, effect.value, effect.control, effect.effect, *effect.bounds, effect.n))
    return pd.DataFrame(table_rows, columns=list(COLUMNS))
