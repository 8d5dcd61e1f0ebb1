"""Estimators that need only logits: values counted by hand, and by slow programs of a few lines."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from bench.extensions.estimates import from_logits
from bench.extensions.estimates.quantities import InternalFinding
from bench.scoring import metrics
from bench.scoring.calibration_metrics import errors
from bench.scoring.calibrators import Platt
from tests.extensions.estimates.hospitals import calibrated, internal, shifted
from tests.nonempty import nonempty

Array = NDArray[np.float64]
AS_IS = Platt(1.0, 0.0)  # the calibrated probability is the sigmoid of the logit
PROB = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.1])
LOGIT = np.log(PROB / (1 - PROB))
INTERNAL = internal(np.array([1, 0, 1, 0, 0], np.int8), np.array([2.0, 1.0, 0.5, -1.0, -2.0]), 0.0, AS_IS)
NO_THRESHOLD = InternalFinding(INTERNAL.label, INTERNAL.logit, float("nan"), AS_IS)


def auroc_of_pairs(prob: Array, logit: Array) -> float:
    """The chance that a positive image has the higher logit, from a sum over all pairs of images."""
    won = total = 0.0
    for p, above in zip(prob, logit, strict=True):
        for q, below in zip(prob, logit, strict=True):
            weight = p * (1 - q)
            won += weight * (1.0 if above > below else 0.5 if above == below else 0.0)
            total += weight
    return won / total


def test_the_expected_auroc_equals_the_sum_over_all_pairs() -> None:
    draw = np.random.default_rng(0)
    for decimals in (6, 1, 0):  # with few decimals, many images have the same logit
        logit, prob = np.round(draw.normal(size=150), decimals), draw.random(150)
        assert from_logits.expected_auroc(prob, logit) == pytest.approx(auroc_of_pairs(prob, logit), abs=1e-12)


def test_the_expected_auroc_of_certain_labels_is_the_auroc() -> None:
    label, logit = calibrated(400)
    logit = logit.round(1)
    found = from_logits.expected_auroc(label.astype(float), logit)
    assert found == pytest.approx(metrics.auroc(label, logit.astype(np.float32)), abs=1e-12)


def test_cbpe_adds_probabilities_instead_of_labels() -> None:
    found = from_logits.cbpe(INTERNAL, LOGIT)
    # called positive: 0.9, 0.8, 0.6; not: 0.4, 0.2, 0.1
    assert found["sensitivity"] == pytest.approx(2.3 / 3.0)
    assert found["specificity"] == pytest.approx(2.3 / 3.0)
    assert found["accuracy"] == pytest.approx(4.6 / 6)
    assert found["prevalence"] == pytest.approx(3.0 / 6)
    assert found["auroc"] == pytest.approx(auroc_of_pairs(PROB, LOGIT))
    assert found["ece"] == pytest.approx(0.0, abs=1e-12)  # the calibrator changes nothing


def test_the_expected_ece_is_the_distance_of_calibrated_and_raw_probabilities_in_each_bin() -> None:
    twice = InternalFinding(INTERNAL.label, INTERNAL.logit, 0.0, Platt(2.0, 0.5), bins=4)
    prob = expit(2 * LOGIT + 0.5)
    bins = [[0.2, 0.1], [0.4], [0.6], [0.9, 0.8]]  # raw probabilities of the bins 0-0.25, 0.25-0.5, ...
    expected = 0.0
    for members in bins:
        rows = np.isin(PROB, members)
        expected += rows.sum() / 6 * abs(prob[rows].mean() - PROB[rows].mean())
    assert from_logits.cbpe(twice, LOGIT)["ece"] == pytest.approx(expected)


def test_cbpe_without_a_threshold_has_the_quantities_that_need_none() -> None:
    found, usual = from_logits.cbpe(NO_THRESHOLD, LOGIT), from_logits.cbpe(INTERNAL, LOGIT)
    assert set(found) == {"auroc", "ece", "prevalence"}
    assert all(found[name] == pytest.approx(usual[name]) for name in found)
    assert from_logits.atc(NO_THRESHOLD, LOGIT) == {}  # no call, so no confidence


def test_with_right_calibration_cbpe_is_close_to_the_truth() -> None:
    label, logit = calibrated(40_000, seed=3, offset=0.3)
    found = from_logits.cbpe(internal(*calibrated(20_000), threshold=0.4), logit)
    called, positive = logit >= 0.4, label == 1
    truth = {
        "auroc": metrics.auroc(label, logit.astype(np.float32)),
        "sensitivity": called[positive].mean(),
        "specificity": (~called)[~positive].mean(),
        "accuracy": (called == positive).mean(),
        "ece": errors(label, expit(logit))["ece"],
        "prevalence": positive.mean(),
    }
    assert set(found) == set(truth)
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, abs=0.02), name


def test_atc_counts_the_images_that_are_at_least_as_confident_as_the_correct_share_at_home() -> None:
    # calls at internal: + + + - -, correct: yes no yes yes yes; confidence: sigmoid of |logit| 2, 1, 0.5, 1, 2
    assert INTERNAL.correct().tolist() == [True, False, True, True, True]
    # 4 of 5 are correct, so the cut is the second lowest confidence, sigmoid(1)
    logit = np.array([3.0, 0.9, -1.1, -0.2])
    assert from_logits.atc(INTERNAL, logit) == {"accuracy": 0.5}
    assert from_logits.atc(INTERNAL, np.array([1.0, 5.0])) == {"accuracy": 1.0}


def test_atc_at_home_is_the_accuracy_at_home() -> None:
    for share in (0.1, 0.5, 0.9):
        label, logit = shifted(501, share)
        here = internal(label, logit, threshold=0.3)
        assert from_logits.atc(here, logit)["accuracy"] == pytest.approx(here.correct().mean())
    wrong = internal(np.array([0, 0, 1, 1], np.int8), np.array([2.0, 1.0, -1.0, -2.0]), 0.0, AS_IS)
    assert from_logits.atc(wrong, wrong.logit) == {"accuracy": 0.0}
    right = internal(np.array([1, 1, 0, 0], np.int8), wrong.logit, 0.0, AS_IS)
    assert from_logits.atc(right, np.array([0.1, -0.1])) == {"accuracy": 1.0}


def test_values_equal_those_of_nannyml() -> None:
    project = Path(__file__).parents[3]
    cases = json.loads((project / "tests" / "oracles" / "estimators.json").read_text())["cases"]
    inputs = runpy.run_path(str(project / "scripts" / "oracles" / "estimators.py"))["inputs"]
    for row in nonempty(cases):
        drawn = inputs(row["seed"], row["internal"], row["new"])
        assert drawn["logit"].sum() + drawn["new"].sum() + drawn["label"].sum() == pytest.approx(row["checksum"])
        here = InternalFinding(drawn["label"], drawn["logit"], row["threshold"], Platt(row["slope"], row["offset"]))
        found = from_logits.cbpe(here, drawn["new"])
        for quantity in ("auroc", "sensitivity", "specificity", "accuracy"):
            assert found[quantity] == pytest.approx(row[f"cbpe {quantity}"], abs=1e-6), (row["seed"], quantity)
