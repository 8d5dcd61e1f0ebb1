"""Nuisance variables that may act as shortcuts for a finding: projection, support devices, sex, age, scanner and marker.

Nuisance variables vary inside one hospital, so a network that is trained at one hospital can learn to use them. A level
is one value of a variable, such as AP. A pooled AUROC uses all images; a stratified AUROC compares only images of the
same level.

Shapes: N images, F findings, L levels of a nuisance variable, P patients (or groups of patients, see `Sample`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bench.planning.auxiliary_targets import DEVICES
from bench.scoring.area_intervals import ClassSizes, area_interval, effective_patients, mean_interval, paired_interval
from bench.scoring.column import Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.influence import correlations, error_of, mean_of
from bench.scoring.intervals import wilson
from bench.scoring.metrics import auroc
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.sample import Sample
from harmonize.cohorts.pooled import Place
from harmonize.datasets import native
from harmonize.ground_truth.ground_truth import tag_boxes
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNMAPPED_CODE
from harmonize.seeds import stream

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Nuisance = tuple[tuple[str, ...], Codes]  # names of the levels, and the level index of each image (-1: unknown)
Row = tuple[str, str, str, str, float, float, float, float, int]  # the values of COLUMNS

COLUMNS = ("nuisance", "level", "finding", "metric", "value", "low", "high", "chance", "n")
SUPPORT, MARKER, ANY = "support devices", "marker", "any"
UNKNOWN = -1
MOST_PATIENTS = 20_000  # maximum number of patients per cohort, drawn at random
MIN_PATIENTS = 10  # minimum number of patients with a finding, and also of patients without the finding
MIN_STRATUM = 5  # the same minimum for each stratum; a stratum has the images of one level


def levels(table: pd.DataFrame, marker: NDArray[np.bool_] | None = None) -> dict[str, Nuisance]:
    """Return the nuisance variables that vary in a cohort's table: name -> (names of levels, level index of each image).

    The index is -1 for an unknown level. marker: mask of the images with the drawn marker of a phantom cohort; None for
    other cohorts, where markers are unknown.
    """
    nuisances: dict[str, Nuisance] = {}
    for name, groups in PatientGroups.of(table).groups.items():
        if name != "sex age":
            code = np.full(len(table), UNKNOWN, np.int64)
            for number, members in enumerate(groups.values()):
                code[members] = number
            nuisances[name] = (tuple(group.partition("=")[2] for group in groups), code)
    for column in (DEVICES, native(DEVICES)):
        if column in table and SUPPORT not in nuisances:
            state = table[column].astype("Int8").fillna(UNMAPPED_CODE).to_numpy(np.int8)
            code = np.select([state == PRESENT, np.isin(state, (ABSENT, NOT_MENTIONED))], [1, 0], UNKNOWN)
            nuisances[SUPPORT] = (("no", "yes"), code.astype(np.int64))
    if marker is not None:
        nuisances[MARKER] = (("no", "yes"), marker.astype(np.int64))
    return {
        name: (level_names, code)
        for name, (level_names, code) in nuisances.items()
        if len(np.unique(code[code >= 0])) > 1
    }


def phantom_marker(places: Sequence[Place], image_id: "pd.Series[str]") -> NDArray[np.bool_] | None:
    """Return the mask of the images with the drawn marker in a phantom cohort; None for other cohorts."""
    tags = tag_boxes(places)
    return None if tags is None else image_id.astype(str).isin(tags).to_numpy(bool)


def patient_sample(patient: NDArray[Any], seed: int = 0, max_patients: int = MOST_PATIENTS) -> NDArray[np.bool_]:
    """Return a mask of the images of at most `max_patients` randomly drawn patients."""
    ids, code = np.unique(np.asarray(patient, str), return_inverse=True)
    selected = np.zeros(len(ids), bool)
    selected[stream(seed, "nuisance patients").permutation(len(ids))[:max_patients]] = True
    return np.asarray(selected[code])


def shares(nuisances: Mapping[str, Nuisance], patient: NDArray[Any]) -> list[Row]:
    """Return rows with the share of each level among the images with a known level.

    Wilson's interval counts Kish's effective number of patients, because the images of one patient mostly have one level.
    """
    rows: list[Row] = []
    for name, (level_names, code) in nuisances.items():
        known_code, of_patients = code[code >= 0], np.unique(patient[code >= 0], return_counts=True)[1][None]
        for number, level in enumerate(level_names):
            share = np.array([(known_code == number).mean()])
            low, high = wilson(share, effective_patients(of_patients))
            row = (name, level, "", "share", float(share[0]), float(low[0]), float(high[0]), np.nan, len(known_code))
            rows.append(row)
    return rows


class Association:
    """Measures how nuisance variables are associated with findings in internal training images and in other cohorts.

    In the rows, the variable "any" stands for a model that uses all variables together.
    """

    def __init__(
        self,
        findings: Sequence[str],
        nuisances: Mapping[str, Nuisance],
        label_NF: NDArray[np.int8],
    ) -> None:
        self.findings, self.named = tuple(findings), {name: levels for name, (levels, _) in nuisances.items()}
        self.label_NF, self.nuisances = label_NF, dict(nuisances)
        # (variables, finding) -> scoring function for `external`
        self.fitted: dict[tuple[tuple[str, ...], int], Any] = {}

    def rows(self, patient: NDArray[Any], seed: int = 0) -> list[Row]:
        """Return the rows of the internal cohort: cramers_v and out-of-fold auroc_nuisance of each variable and finding.

        auroc_nuisance is the AUROC of a logistic model that predicts the finding only from the variable.
        """
        sample = Sample.of(np.asarray(patient, object), "nuisances")
        fold = stream(seed, "nuisance folds").permutation(sample.num_patients)[sample.patient] % 5
        out = _cramers(self.findings, self.nuisances, self.label_NF, sample)
        for name, members in self._models(self.nuisances):
            for f, finding in enumerate(self.findings):
                label = self.label_NF[:, f]
                if not _enough(label, sample.patient):
                    continue
                score = np.zeros(len(label))
                x = self._inputs(members, self.nuisances)
                for number in range(5):
                    score[fold == number] = _effects(x, label, fold != number)[1](x[fold == number])
                out += _auroc_rows(name, finding, label, score, sample)
        return out

    def external(
        self, nuisances: Mapping[str, Nuisance], label_NF: NDArray[np.int8], patient: NDArray[Any]
    ) -> list[Row]:
        """Return the rows of an external cohort: cramers_v and auroc_nuisance of each variable and finding.

        The models of auroc_nuisance are fitted to internal training images. An AUROC below 1/2 means that the
        association is reversed in this cohort.
        """
        sample = Sample.of(np.asarray(patient, object), "nuisances")
        out = _cramers(self.findings, nuisances, label_NF, sample)
        for name, members in self._models(self.nuisances):
            shared_members = [member for member in members if member in nuisances]
            if name != ANY and not shared_members:
                continue
            for f, finding in enumerate(self.findings):
                if shared_members and _enough(label_NF[:, f], sample.patient) and (self.label_NF[:, f] >= 0).any():
                    key = (tuple(shared_members), f)
                    if key not in self.fitted:
                        x = self._inputs(shared_members, self.nuisances)
                        self.fitted[key] = _effects(x, self.label_NF[:, f], np.ones(len(x), bool))[1]
                    score = self.fitted[key](self._inputs(shared_members, nuisances))
                    out += _auroc_rows(name, finding, label_NF[:, f], score, sample)
        return out

    def _models(self, nuisances: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        single: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in nuisances]
        return [*single, (ANY, tuple(nuisances))] if len(single) > 1 else single

    def _inputs(self, members: Sequence[str], nuisances: Mapping[str, Nuisance]) -> Array:
        """Return the model input: one column of 0 and 1 for each level that a variable of `members` has internally.

        An image with an unknown level, or a level that the internal cohort does not have, has 0 in all columns of the
        variable.
        """
        columns = []
        for name in members:
            level_names, code = nuisances[name]
            level_of_image = np.array([*level_names, ""], object)[code]
            columns += [(level_of_image == level).astype(np.float64) for level in self.named[name]]
        return np.stack(columns, axis=1)


def stratified(
    findings: Sequence[str],
    label_NF: NDArray[np.int8],
    logit_NF: NDArray[np.floating],
    patient: NDArray[Any],
    nuisances: Mapping[str, Nuisance],
) -> list[Row]:
    """Return rows with pooled_auroc, stratified_auroc and their difference, for each variable and finding.

    The finding "macro" is the mean over findings. The stratified AUROC compares positive with negative images of the
    same level, so a network gains nothing from knowing the level. Levels with fewer than five positive or five negative
    patients are excluded from both AUROCs; at least two levels must remain. pooled_less_stratified is the pooled minus
    the stratified AUROC; its interval follows from theirs and the correlation of their influences.
    """
    sample = Sample.of(np.asarray(patient, object), "nuisances")
    rows: list[Row] = []
    for name, (level_names, code) in nuisances.items():
        finding_rows = []
        for f, finding in enumerate(findings):
            aurocs = _pooled_and_stratified(label_NF[:, f], logit_NF[:, f], code, len(level_names), sample)
            if aurocs is not None:
                finding_rows.append((finding, *aurocs))
        if not finding_rows:
            continue
        value_F2, bounds_F22, influence_F2P = (np.array([row[i] for row in finding_rows]) for i in (1, 2, 3))
        for finding, value, bounds, influence, n in finding_rows:
            rows += _comparison_rows(name, finding, value, bounds, influence, n)
        means = [mean_of(value_F2[:, i], influence_F2P[:, i]) for i in (0, 1)]
        value, influence = np.array([m[0] for m in means]), np.array([m[1] for m in means])
        of_both = [influence_F2P[:, i] for i in (0, 1)]
        bounds = np.array(
            [
                mean_interval("auroc", value_F2[:, i], bounds_F22[:, :, i].T, correlations(of_one @ of_one.T))
                for i, of_one in enumerate(of_both)
            ]
        ).T
        rows += _comparison_rows(name, MACRO, value, bounds, influence, min(n for *_, n in finding_rows))
    return rows


def _comparison_rows(name: str, finding: str, value: Array, bounds: Array, influence_2P: Array, n: int) -> list[Row]:
    value_3, (low, high) = np.array([*value, value[0] - value[1]]), bounds
    correlation = float(correlations(influence_2P @ influence_2P.T)[0, 1])
    gap_low, gap_high = paired_interval(value, low, high, correlation)
    bounds_3 = zip((*low, gap_low), (*high, gap_high), strict=True)
    metrics = zip(("pooled_auroc", "stratified_auroc", "pooled_less_stratified"), value_3, (0.5, 0.5, 0.0), strict=True)
    return [
        (name, "", finding, metric, float(v), float(lower), float(upper), chance, n)
        for (metric, v, chance), (lower, upper) in zip(metrics, bounds_3, strict=True)
    ]


def _pooled_and_stratified(
    label: NDArray[np.int8], logit: NDArray[np.floating], code: Codes, num_levels: int, sample: Sample
) -> tuple[Array, Array, Array, int] | None:
    """Return values [2], bounds [2, 2] and influences [2, P] of pooled and stratified AUROC, and the number of images.

    Return None if fewer than two strata (images of one level) have enough patients.
    """
    strata = [np.where(code == level, label, np.int8(UNKNOWN)) for level in range(num_levels)]
    strata = [column for column in strata if _enough(column, sample.patient, MIN_STRATUM)]
    if len(strata) < 2:
        return None
    inside = np.any([column >= 0 for column in strata], axis=0)
    columns = np.stack([np.where(inside, label, np.int8(UNKNOWN)), *strata], axis=1)
    value = np.array([auroc((c == 1)[c >= 0], logit[c >= 0]) for c in columns.T])
    positives, negatives = (np.array([float((c == sign).sum()) for c in strata]) for sign in (1, 0))
    pairs = positives * negatives
    weight = pairs / pairs.sum()
    values = np.array([value[0], weight @ value[1:]])
    sizes = ClassSizes.of_labels(columns[:, :1], sample.patient)
    influence = np.zeros((2, sample.num_groups))
    for c, of_images in enumerate(columns.T):
        column = Column.of(sample.patient, of_images, logit)
        of_area = sample.sums(column.auroc()[1], column.rows)
        if c == 0:
            influence[0] = of_area
            continue
        # an image also changes the number of pairs, the weight of its stratum
        of_pairs = np.where(column.positive, negatives[c - 1], positives[c - 1]) / pairs.sum()
        influence[1] += weight[c - 1] * of_area + (value[c] - values[1]) * sample.sums(of_pairs, column.rows)
    return values, np.stack(area_interval("auroc", values, error_of(influence), sizes)), influence, int(inside.sum())


def _cramers(
    findings: Sequence[str], nuisances: Mapping[str, Nuisance], label_NF: NDArray[np.int8], sample: Sample
) -> list[Row]:
    """Return rows with Cramér's V (cramers_v) of each nuisance variable and finding.

    Only images with a known level and a known label count.
    """
    rows: list[Row] = []
    for name, (level_names, code) in nuisances.items():
        for f, finding in enumerate(findings):
            label = label_NF[:, f]
            known_rows = np.flatnonzero((code >= 0) & (label >= 0))
            if not _enough(np.where(code >= 0, label, np.int8(UNKNOWN)), sample.patient):
                continue
            cell = code[known_rows] * 2 + label[known_rows]
            value = cramers_v(np.bincount(cell, minlength=len(level_names) * 2).reshape(-1, 2).astype(np.float64))
            rows.append((name, "", finding, "cramers_v", float(value), np.nan, np.nan, 0.0, len(known_rows)))
    return rows


def cramers_v(count_RC: NDArray[np.floating]) -> Array:
    """Return the bias-corrected Cramér's V [...], 0 to 1, of contingency tables [..., R, C].

    The result is NaN when all images are in one row or one column. Source: Bergsma 2013,
    doi:10.1016/j.jkss.2012.10.002.
    """
    count = np.asarray(count_RC, np.float64)
    row, column = count.sum(-1, keepdims=True), count.sum(-2, keepdims=True)
    n, rows, columns = count.sum((-2, -1)), (row[..., 0] > 0).sum(-1), (column[..., 0, :] > 0).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = row * column / n[..., None, None]
        phi = np.where(expected > 0, (count - expected) ** 2 / expected, 0).sum((-2, -1)) / n
        phi = np.maximum(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
        fewer = np.minimum(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
        return np.where((np.minimum(rows, columns) >= 2) & (n >= 2) & (fewer > 0), np.sqrt(phi / fewer), np.nan)


def _enough(label: NDArray[np.int8], patient: NDArray[np.int32], least: int = MIN_PATIENTS) -> bool:
    """Return whether at least `least` patients have a positive image, and at least `least` have a negative image.

    `label` [N]: 1 positive, 0 negative, else unknown. `patient` [N]: index of the patient.
    """
    return all(len(np.unique(patient[label == side])) >= least for side in (0, 1))


def _effects(x: Array, label: NDArray[np.int8], train: NDArray[np.bool_]) -> tuple[LogisticRegression | None, Any]:
    """Return a logistic model fitted to the labeled training images, and its scoring function without the intercept.

    The intercept depends on the prevalence in the training folds, so scores with intercept cannot be compared over
    folds. If the training images have only one class, the model is None and all scores are 0.
    """
    rows = train & (label >= 0)
    if len(np.unique(label[rows])) < 2:
        return None, lambda inputs: np.zeros(len(inputs))
    model = LogisticRegression(C=1.0).fit(x[rows], label[rows])
    return model, lambda inputs: inputs @ model.coef_[0]


def _auroc_rows(name: str, finding: str, label: NDArray[np.int8], score: Array, sample: Sample) -> list[Row]:
    labeled = label >= 0
    column = Column.of(sample.patient, label, score)
    error = error_of(sample.sums(column.auroc()[1], column.rows))
    value = auroc(label[labeled] == 1, score[labeled])
    sizes = ClassSizes.of_labels(label[:, None], sample.patient)
    (low,), (high,) = area_interval("auroc", np.array([value]), error[None], sizes)
    return [(name, "", finding, "auroc_nuisance", value, float(low), float(high), 0.5, int(labeled.sum()))]
