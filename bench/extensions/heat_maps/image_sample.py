"""Choice of images for heat maps and gallery from labels and logits: few images in a fixed pseudorandom order.

A case is a pair of an image and a finding. The kind of a case (KINDS) says how the prediction compares with the label.

Shapes: N images, K findings.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KINDS = ("true positive", "false negative", "false positive", "true negative", "sure miss", "sure false alarm")
CONFIDENT_KINDS = KINDS[4:]
# A "sure false alarm" has at least this calibrated probability, although the finding is absent. A "sure miss" has at
# most 1 minus this probability, although the finding is present.
MIN_CONFIDENCE = 0.9

Texts = NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImages:
    """Logits and labels of the scored images of one cohort."""

    dataset: str
    image_id: Texts  # [N]
    patient_id: Texts  # [N]
    state_NK: NDArray[np.int8]  # label states
    logit_NK: NDArray[np.float32]
    findings: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return label_NK: 1 present, 0 absent or not mentioned, -1 uncertain or null (not scored)."""
        return np.select([self.state_NK == 1, np.isin(self.state_NK, (0, -2))], [1, 0], -1).astype(np.int8)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Threshold on the logit and Platt scaling of a finding, fixed on the validation split."""

    threshold: float
    slope: float
    offset: float

    def probability(self, logit: NDArray[np.floating] | np.floating) -> NDArray[np.float64]:
        """Return the probabilities of logits, calibrated by Platt scaling."""
        z = np.clip(self.slope * np.asarray(logit, np.float64) + self.offset, -700, 700)
        return np.asarray(1 / (1 + np.exp(-z)))


def seeded_order(scored: ScoredImages) -> NDArray[np.int64]:
    """Return the row indices in a pseudorandom order, which depends only on image ids and cohort.

    So all runs use the same order.
    """
    keys = [sha256(f"{scored.dataset}/attention\x1f{image}".encode()).digest() for image in scored.image_id]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def first_per_patient(patient_id: Texts, candidates: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the first row of each patient in `candidates`, for the first `most` patients in the order of `candidates`."""
    patients: set[str] = set()
    rows: list[int] = []
    for row in candidates.tolist():
        if len(rows) == most:
            break
        if patient_id[row] not in patients:
            patients.add(patient_id[row])
            rows.append(row)
    return np.array(rows, np.int64)


def positives(
    scored: ScoredImages, outlined_pairs: AbstractSet[tuple[str, str]], most_per_finding: int
) -> dict[str, NDArray[np.int64]]:
    """Return for each finding the rows of at most `most_per_finding` images with this finding, one per patient.

    `outlined_pairs` are pairs (image id, finding) with a known outline; images with an outline come first. The same
    image of a patient is used for all findings, so that few images must be decoded.
    """
    outlined = np.isin(scored.image_id, sorted({image for image, _ in outlined_pairs}))
    ordered = seeded_order(scored)
    ordered = ordered[np.argsort(~outlined[ordered], kind="stable")]
    ordered = ordered[(scored.labels[ordered] == 1).any(1)]
    ordered = first_per_patient(scored.patient_id, ordered, len(ordered))
    chosen = {}
    for k, finding in enumerate(scored.findings):
        rows = ordered[scored.labels[ordered, k] == 1]
        has_outline = np.array([(image, finding) in outlined_pairs for image in scored.image_id[rows]], bool)
        chosen[finding] = rows[np.argsort(~has_outline, kind="stable")][:most_per_finding]
    return chosen


def cases(scored: ScoredImages, points: Mapping[str, OperatingPoint], most_per_case: int) -> pd.DataFrame:
    """Return the gallery's cases, at most `most_per_case` per finding and kind.

    Columns: finding, kind, rank (position among the cases of this finding and kind), row (index in `scored`),
    probability.

    The first four kinds compare a call at the threshold with the label; their cases are in the order of `seeded_order`.
    The last two kinds are confident errors, the most confident first: a calibrated probability of at most
    1 - MIN_CONFIDENCE although the finding is present, or of at least MIN_CONFIDENCE although the finding is absent. A
    patient has at most one image per finding and kind.
    """
    ordered = seeded_order(scored)
    rows: list[tuple[str, str, int, int, float]] = []
    for k, finding in enumerate(scored.findings):
        point = points.get(finding)
        if point is None or not np.isfinite(point.threshold):
            continue
        label, logit = scored.labels[ordered, k], scored.logit_NK[ordered, k]
        probability, called = point.probability(logit), logit >= point.threshold
        case_masks = (
            (label == 1) & called,
            (label == 1) & ~called,
            (label == 0) & called,
            (label == 0) & ~called,
            (label == 1) & (probability <= 1 - MIN_CONFIDENCE),
            (label == 0) & (probability >= MIN_CONFIDENCE),
        )
        for kind, mask in zip(KINDS, case_masks, strict=True):
            indices = np.flatnonzero(mask)
            if kind in CONFIDENT_KINDS:
                indices = indices[np.argsort(probability[indices] * (1 if kind == KINDS[4] else -1), kind="stable")]
            for rank, row in enumerate(first_per_patient(scored.patient_id, ordered[indices], most_per_case).tolist()):
                rows.append((finding, kind, rank, row, float(point.probability(scored.logit_NK[row, k]))))
    return pd.DataFrame(rows, columns=["finding", "kind", "rank", "row", "probability"])


def points_of(operating_points: pd.DataFrame, rule: str, findings: Sequence[str]) -> dict[str, OperatingPoint]:
    """Return finding -> threshold and Platt scaling; `rule` is the rule by which the threshold was fixed.

    Findings without a row in `operating_points` are left out.
    """
    rows = operating_points[(operating_points["rule"] == rule) & operating_points["finding"].isin(findings)]
    columns = ("finding", "threshold", "platt_a", "platt_b")
    return {
        str(f): OperatingPoint(float(t), float(a), float(b))
        for f, t, a, b in zip(*(rows[c] for c in columns), strict=True)
    }
