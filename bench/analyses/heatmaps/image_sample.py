"""Sample of images for heat maps and gallery: bounded, seeded, at most one image per patient. Uses neither torch nor pixels."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RULE = "f1_max"  # the operating point that the page shows first
KINDS = ("true positive", "false negative", "false positive", "true negative", "sure miss", "sure false alarm")
SURE_KINDS = KINDS[4:]
SURE = 0.9  # minimum calibrated probability of a "sure false alarm"; a "sure miss" has at most 1 - SURE

Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Logits and labels of the scored images of one cohort."""

    dataset: str
    image_id: Texts  # [N]
    patient_id: Texts  # [N]
    state_NK: NDArray[np.int8]  # label states
    logit_NK: NDArray[np.float32]
    findings: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return label_NK: 1 present, 0 absent or not mentioned, -1 excluded."""
        return np.select([self.state_NK == 1, np.isin(self.state_NK, (0, -2))], [1, 0], -1).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Point:
    """Threshold on the logit and Platt scaling of a finding, fixed on the validation split."""

    threshold: float
    slope: float
    offset: float

    def probability(self, logit: NDArray[np.floating] | np.floating) -> NDArray[np.float64]:
        """Return calibrated probabilities."""
        z = np.clip(self.slope * np.asarray(logit, np.float64) + self.offset, -700, 700)
        return np.asarray(1 / (1 + np.exp(-z)))


def order(seen: Seen) -> NDArray[np.int64]:
    """Return the image rows in an order that depends only on their ids and the cohort, so it is equal for all runs."""
    keys = [sha256(f"{seen.dataset}/attention\x1f{image}".encode()).digest() for image in seen.image_id]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def first_of_each(patient_id: Texts, among: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the first `most` of the rows `among` that belong to different patients."""
    patients: set[str] = set()
    kept: list[int] = []
    for row in among.tolist():
        if len(kept) == most:
            break
        if patient_id[row] not in patients:
            patients.add(patient_id[row])
            kept.append(row)
    return np.array(kept, np.int64)


def positives(seen: Seen, known: AbstractSet[tuple[str, str]], most: int) -> dict[str, NDArray[np.int64]]:
    """Return at most `most` images with each finding, one per patient; images with a known outline come first.

    A patient has the same image for all findings, so images are decoded once and serve several findings.
    """
    outlined = np.isin(seen.image_id, sorted({image for image, _ in known}))
    drawn = order(seen)
    drawn = drawn[np.argsort(~outlined[drawn], kind="stable")]
    drawn = drawn[(seen.labels[drawn] == 1).any(1)]
    drawn = first_of_each(seen.patient_id, drawn, len(drawn))
    chosen = {}
    for k, finding in enumerate(seen.findings):
        mine = drawn[seen.labels[drawn, k] == 1]
        there = np.array([(image, finding) in known for image in seen.image_id[mine]], bool)
        chosen[finding] = mine[np.argsort(~there, kind="stable")][:most]
    return chosen


def cases(seen: Seen, points: Mapping[str, Point], most: int) -> pd.DataFrame:
    """Return the cases of the gallery: finding, kind, rank, row, probability; at most `most` per finding and kind.

    True and false calls at the validation threshold are in the seeded order. Sure errors are sorted by confidence: a
    calibrated probability of at least SURE without the finding, or of at most 1 - SURE with it. One image per patient.
    """
    drawn = order(seen)
    rows: list[tuple[str, str, int, int, float]] = []
    for k, finding in enumerate(seen.findings):
        point = points.get(finding)
        if point is None or not np.isfinite(point.threshold):
            continue
        label, logit = seen.labels[drawn, k], seen.logit_NK[drawn, k]
        probability, called = point.probability(logit), logit >= point.threshold
        masks = (
            (label == 1) & called, (label == 1) & ~called, (label == 0) & called, (label == 0) & ~called,
            (label == 1) & (probability <= 1 - SURE), (label == 0) & (probability >= SURE),
        )  # fmt: skip
        for kind, mask in zip(KINDS, masks, strict=True):
            at = np.flatnonzero(mask)
            if kind in SURE_KINDS:
                at = at[np.argsort(probability[at] * (1 if kind == KINDS[4] else -1), kind="stable")]
            for rank, row in enumerate(first_of_each(seen.patient_id, drawn[at], most).tolist()):
                rows.append((finding, kind, rank, row, float(point.probability(seen.logit_NK[row, k]))))
    return pd.DataFrame(rows, columns=["finding", "kind", "rank", "row", "probability"])


def points_of(operating_points: pd.DataFrame, rule: str, findings: Sequence[str]) -> dict[str, Point]:
    """Return threshold and Platt scaling per finding, for the findings that have them."""
    rows = operating_points[(operating_points["rule"] == rule) & operating_points["finding"].isin(findings)]
    columns = ("finding", "threshold", "platt_a", "platt_b")
    return {str(f): Point(float(t), float(a), float(b)) for f, t, a, b in zip(*(rows[c] for c in columns), strict=True)}
