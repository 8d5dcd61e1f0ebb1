"""Effects of image changes on a network's predictions, compared with their controls, with intervals.

Shapes: N images of one cohort, K findings, B replicates. Probabilities are the network's own, uncalibrated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.bootstrap.bootstrap import rank_metrics
from bench.scoring.bootstrap.intervals import percentile
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.metrics import auroc
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
Logits = NDArray[np.float32]

MEAN = "macro"  # the mean over findings
MIN_IMAGES = 10  # minimum number of hosts, and of images of each class for an AUROC
SCORED = ("marker", "corner", "border")  # the kinds of the causal score, declared before any was computed
CAUSAL = "causal"  # the `kind` of the causal score
COLUMNS = tuple(name for name in SCHEMAS["transplants"] if name != "run_id")


@dataclass(frozen=True, slots=True)
class Answers:
    """The logits [N, K] of the same images: unchanged, changed, and changed by the control."""

    kind: str
    donor: str  # cohort, or "" for kinds without a donor
    host: str
    before: Logits
    after: Logits
    control: Logits | None  # None for kinds without a control
    state: NDArray[np.int8]  # [N, K]
    patient: NDArray[np.str_]  # [N], each once


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """One measure: its value, that of the control, their difference (the effect) with replicates [B], and the images used."""

    value: float
    control: float
    effect: float
    replicates: Array
    n: int


Key = tuple[str, str, str]  # measure, finding, subset
Effects = dict[Key, Effect]


def effects(answers: Answers, findings: Sequence[str], threshold_K: Array, num_resamples: int) -> Effects:
    """Return every effect of one kind on one host cohort.

    Measures: abs_dp (mean absolute change of the probability), dp (mean signed change), flip_rate (share of images whose
    call at the threshold changes), auroc (change of the AUROC). Subsets: all; for dp and flip_rate also present and absent.
    effect = value - control, paired by image; without a control it equals the value.
    """
    if len(answers.before) < MIN_IMAGES:
        return {}
    resamples = Resamples.draw(answers.patient, num_resamples, f"transplants {answers.host}")
    drawn_BP = resamples.weight.transpose(0, 2, 1).reshape(-1, resamples.num_patients)[: resamples.num]
    drawn_BN = drawn_BP[:, resamples.patient].astype(np.float64)
    before_NK = expit(answers.before.astype(np.float64))

    def measures(logit_NK: Logits) -> dict[str, Array]:
        dp_NK = expit(logit_NK.astype(np.float64)) - before_NK
        flip_NK = ((logit_NK >= threshold_K) != (answers.before >= threshold_K)).astype(np.float64)
        return {"abs_dp": np.abs(dp_NK), "dp": dp_NK, "flip_rate": np.where(np.isnan(threshold_K), np.nan, flip_NK)}

    changed = measures(answers.after)
    control = measures(answers.control) if answers.control is not None else {}
    subsets = {"all": np.ones(answers.state.shape, bool), "present": answers.state == 1, "absent": answers.state == 0}
    found: Effects = {}
    for measure, value_NK in changed.items():
        for subset, inside_NK in subsets.items():
            if measure == "abs_dp" and subset != "all":
                continue
            table = _means(value_NK, control.get(measure), inside_NK, drawn_BN)
            found |= {(measure, finding, subset): each for finding, each in zip(findings, table, strict=True) if each}
    for finding, each in zip(findings, _areas(answers, resamples), strict=True):
        if each:
            found["auroc", finding, "all"] = each
    return with_mean(found, findings)


def _means(
    value_NK: Array, control_NK: Array | None, inside_NK: NDArray[np.bool_], drawn_BN: Array
) -> list[Effect | None]:
    """Return the mean effect of each finding over the images of the subset; None with too few images or no threshold."""
    out: list[Effect | None] = []
    for k in range(value_NK.shape[1]):
        inside = inside_NK[:, k]
        value = value_NK[inside, k]
        if len(value) < MIN_IMAGES or np.isnan(value).any():
            out.append(None)
            continue
        against = control_NK[inside, k] if control_NK is not None else None
        difference = value - against if against is not None else value
        drawn = drawn_BN[:, inside]
        with np.errstate(invalid="ignore"):
            replicates = drawn @ difference / drawn.sum(1)
        control = float(against.mean()) if against is not None else float("nan")
        out.append(Effect(float(value.mean()), control, float(difference.mean()), replicates, len(value)))
    return out


def _areas(answers: Answers, resamples: Resamples) -> list[Effect | None]:
    """Return the effect on each finding's AUROC; None with too few images."""
    label = np.where(np.isin(answers.state, (0, 1)), answers.state, -1).astype(np.int8)
    scores = {"before": answers.before, "after": answers.after}
    if answers.control is not None:
        scores["control"] = answers.control
    replicates = {name: rank_metrics(resamples, label, score)[0] for name, score in scores.items()}
    against = "control" if answers.control is not None else "before"
    out: list[Effect | None] = []
    for k in range(label.shape[1]):
        judged = label[:, k] >= 0
        if min((label[:, k] == 1).sum(), (label[:, k] == 0).sum()) < MIN_IMAGES:
            out.append(None)
            continue
        area = {name: auroc(label[judged, k], score[judged, k]) for name, score in scores.items()}
        moved = float("nan") if answers.control is None else area["control"] - area["before"]
        difference = replicates["after"][k] - replicates[against][k]
        value = area["after"] - area["before"]
        out.append(Effect(value, moved, area["after"] - area[against], difference, int(judged.sum())))
    return out


def with_mean(found: Effects, findings: Sequence[str]) -> Effects:
    """Return the effects and, for each measure and subset, their mean over the findings."""
    keys = dict.fromkeys((measure, subset) for measure, _, subset in found)
    means = {
        (measure, MEAN, subset): averaged(
            [found[measure, f, subset] for f in findings if (measure, f, subset) in found]
        )
        for measure, subset in keys
    }
    return found | means


def averaged(several: Sequence[Effect]) -> Effect:
    """Return the unweighted mean of effects; n is the minimum."""
    value, control, effect = (
        float(np.mean([getattr(e, name) for e in several])) for name in ("value", "control", "effect")
    )
    replicates = np.mean([e.replicates for e in several], axis=0)
    return Effect(value, control, effect, replicates, min(e.n for e in several))


def pooled(several: Iterable[Effects]) -> Effects:
    """Return the mean of each effect over the cohorts or kinds that have it."""
    gathered: dict[Key, list[Effect]] = {}
    for found in several:
        for key, each in found.items():
            gathered.setdefault(key, []).append(each)
    return {key: averaged(each) for key, each in gathered.items()}


def rows(found: Mapping[tuple[str, str, str], Effects]) -> pd.DataFrame:
    """Return the `transplants` table of one run (without run_id) of the effects by (kind, donor, host)."""
    out = []
    for (kind, donor, host), numbers in found.items():
        for (measure, finding, subset), each in numbers.items():
            low, high = percentile(np.array([each.effect]), each.replicates[None])
            out.append((kind, donor, host, finding, subset, measure, each.value, each.control, each.effect,
                        float(low[0]), float(high[0]), each.n))  # fmt: skip
    return pd.DataFrame(out, columns=list(COLUMNS))
