"""Samples in which few patients decide: each score has an interval with a width, or none at all."""

import warnings

import numpy as np
import pytest

from bench.config.settings import Settings
from bench.scoring.calibration_metrics import measured
from bench.scoring.column import Column
from bench.scoring.influence import error_of, half_width
from bench.scoring.metrics_of_split import AUROC, Key, measure
from bench.scoring.sample import MOST_GROUPS, Sample
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from tests.resampled import in_groups

EVERY = Settings(min_count=1)
BOUNDED = ("auroc", "auprc", "f1", "precision", "sensitivity", "specificity", "npv")


def split(name: str, label: np.ndarray, logit: np.ndarray, patient: np.ndarray | None = None) -> ScoredSplit:
    ids = np.array([f"i{i}" for i in range(len(label))], object)
    patients = ids if patient is None else np.array([f"p{i:05}" for i in patient], object)
    dataset, of = name.split("/")
    scores, labels = logit[:, None].astype(np.float32), label[:, None].astype(np.int8)
    return ScoredSplit(dataset, of, "report", ids, patients, scores, labels)


def scored(label: np.ndarray, logit: np.ndarray, patient: np.ndarray | None = None) -> RunScores:
    """Return the scores of a sample as internal and as external split, computed without any warning."""
    draw = np.random.default_rng(9)
    usual = (draw.random(200) < 0.3).astype(np.int8)
    val = split("internal/val", usual, draw.normal(usual))
    splits = [val, *(split(name, label, logit, patient) for name in ("internal/test", "there/all"))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return score_run("r", ["A"], "internal", splits, EVERY)


def check(found: RunScores) -> None:
    """Each known value lies inside an interval with a width, or has none; areas and rates have one."""
    rows = found.scores.dropna(subset="value")
    known = rows["low"].notna()
    assert (known == rows["high"].notna()).all()
    inside = rows[known]
    assert ((inside["low"] <= inside["value"]) & (inside["value"] <= inside["high"])).all()
    assert (inside["low"] < inside["high"]).all(), "no width"
    assert known[rows["metric"].isin(BOUNDED)].all()


def usual(num: int, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    label = (draw.random(num) < share).astype(np.int8)
    return label, draw.normal(size=num) + label


def test_a_largest_error_of_a_bin_with_one_patient_has_no_interval() -> None:
    label, logit = usual(60)
    label[7], logit = 0, np.minimum(logit, 2.0)
    logit[7] = 5.0  # alone in the bin of the highest probabilities
    measured = measure(split("there/all", label, logit), None, EVERY)
    assert measured.value[Key("mce")][0] > 0.99
    assert np.isnan(measured.influence[Key("mce")]).all()
    assert (
        scored(label, logit)
        .scores.query("metric == 'mce' and calibrator == 'none' and split != 'val'")["low"]
        .isna()
        .all()
    )


@pytest.mark.parametrize("num", [20, 120])
def test_calibration_errors_do_not_depend_on_the_order_and_an_ace_needs_five_patients_in_each_bin(num: int) -> None:
    prob, label = np.tile([0.2, 0.95], num // 2), np.tile([1, 1, 0, 0, 0, 1, 0, 0, 0, 0], num // 10) == 1
    orders = [np.random.default_rng(seed).permutation(num) for seed in range(6)]
    errors = [error_of(measured(label[o], prob[o] - 1e-9 * (num < 100) * o, 15, o, num).influence) for o in orders]
    np.testing.assert_allclose(errors, errors[:1] * 6, rtol=1e-6)
    assert np.isnan(errors[0][3]) == (num < 100)


def test_images_without_a_label_have_no_influence() -> None:
    label, logit = usual(90)
    state = label.copy()
    state[:30] = -1
    measured = measure(split("there/all", state, logit), None, EVERY)
    codes = measured.sample.patient
    for key, of_patients in measured.influence.items():
        assert (np.nan_to_num(of_patients[0, codes[:30]]) == 0).all(), key
    alone = measure(split("there/all", label[30:], logit[30:]), None, EVERY)
    for key, of_patients in measured.influence.items():
        assert error_of(of_patients) == pytest.approx(error_of(alone.influence[key]), nan_ok=True), key


def test_more_patients_than_groups_have_nearly_the_error_of_single_patients() -> None:
    draw = np.random.default_rng(1)
    patient = in_groups(3 * MOST_GROUPS, 3, draw)
    label = (draw.random(len(patient)) < 0.1).astype(np.int8)
    logit = draw.normal(size=len(patient)) + label + draw.normal(size=3 * MOST_GROUPS)[patient]
    measured = measure(split("there/all", label, logit, patient), None, EVERY, only=AUROC)
    assert measured.influence[AUROC].shape == (1, MOST_GROUPS)
    _, of_image = Column.of(measured.sample.patient, label, logit.astype(np.float32)).auroc()
    column = measured.columns[0]
    exact = error_of(np.bincount(column.patient, of_image))
    assert error_of(measured.influence[AUROC])[0] == pytest.approx(exact, rel=0.06)
    again = Sample.of(np.array([f"p{i:05}" for i in patient[::-1]], object), "there/all")
    assert again.key == measured.sample.key
    np.testing.assert_array_equal(again.group[::-1], measured.sample.group), "groups depend on the patients only"


def test_few_deciding_patients_widen_an_interval_by_few_degrees_of_freedom() -> None:
    many, few = np.resize([0.1, -0.1], 100), np.zeros(100)
    few[:2] = error_of(many) / np.sqrt(2) * np.array([1, -1])
    assert error_of(few) == pytest.approx(error_of(many))
    assert half_width(few) > 1.5 * half_width(many)
    assert half_width(many) == pytest.approx(1.98 * error_of(many), rel=0.01)
