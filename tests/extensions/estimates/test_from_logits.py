"""Estimators that need only logits: values counted by hand, and by slow programs of a few lines."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from bench.extensions.estimates import from_logits, prevalence
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


def test_cbpe_with_the_prevalence_of_em_is_right_if_only_the_prevalence_differs() -> None:
    label, logit = shifted(40_000, 0.6, seed=3)
    here = internal(*shifted(20_000, 0.2), threshold=0.2)
    truth, found = metrics.auroc(label, logit.astype(np.float32)), from_logits.cbpe_em(here, logit)
    assert found["prevalence"] == pytest.approx(label.mean(), abs=0.02)
    assert found["auroc"] == pytest.approx(truth, abs=0.01)
    assert found["sensitivity"] == pytest.approx((logit >= 0.2)[label == 1].mean(), abs=0.02)
    assert abs(from_logits.cbpe(here, logit)["prevalence"] - label.mean()) > 0.1


def test_probabilities_change_with_the_odds_of_the_prevalence() -> None:
    prob = np.array([0.5, 0.25])
    odds = prob / (1 - prob) * (0.6 / 0.4) / (0.2 / 0.8)
    assert prevalence.with_prevalence(prob, 0.2, 0.6) == pytest.approx(odds / (1 + odds))
    assert prevalence.with_prevalence(prob, 0.2, 0.2) == pytest.approx(prob)
    assert np.isnan(prevalence.with_prevalence(prob, 0.0, 0.5)).all()


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


def test_atc_classwise_counts_each_kind_of_call_by_itself() -> None:
    # positive calls at internal: logits 2, 1, 0.5 with 2 of 3 correct: cut at sigmoid(1); negative calls: all correct
    logit = np.array([3.0, 0.9, 1.2, 0.1, -1.1, -0.2])
    found = from_logits.atc_classwise(INTERNAL, logit)
    # of 4 positive calls 2 are above the cut; 2 negative calls are correct
    assert found["sensitivity"] == pytest.approx(1.0)
    assert found["specificity"] == pytest.approx(2 / 4)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["prevalence"] == pytest.approx(2 / 6)


def test_doc_subtracts_the_fall_of_the_mean_confidence() -> None:
    at_internal = expit([2.0, 1.0, 0.5, 1.0, 2.0]).mean()
    here = expit([3.0, 0.9, 1.1, 0.2]).mean()
    found = from_logits.doc(INTERNAL, np.array([3.0, 0.9, -1.1, -0.2]))
    assert found == {"accuracy": pytest.approx(0.8 - (at_internal - here))}
    assert from_logits.doc(INTERNAL, INTERNAL.logit) == {"accuracy": pytest.approx(0.8)}
    assert from_logits.doc(INTERNAL, np.array([50.0])) == {"accuracy": 1.0}  # 0.8 + 0.2 or more


def test_doc_classwise_subtracts_the_fall_of_each_kind_of_call() -> None:
    found = from_logits.doc_classwise(INTERNAL, np.array([0.9, 0.1, -3.0]))
    positive = 2 / 3 - (expit([2.0, 1.0, 0.5]).mean() - expit([0.9, 0.1]).mean())
    negative = min(1.0, 1.0 - (expit([1.0, 2.0]).mean() - expit(3.0)))
    assert found["accuracy"] == pytest.approx((2 * positive + negative) / 3)
    assert found["specificity"] == pytest.approx(negative / (negative + 2 * (1 - positive)))
    assert found["sensitivity"] == pytest.approx(2 * positive / (2 * positive + (1 - negative)))
    assert found["prevalence"] == pytest.approx((2 * positive + (1 - negative)) / 3)


def test_the_share_of_positive_calls_and_its_correction() -> None:
    logit = np.array([1.0, -1.0, -1.0, -1.0, 0.0])
    assert prevalence.classify_count(INTERNAL, logit) == {"prevalence": 0.4}
    # sensitivity 1, false positive rate 1/3 at internal
    assert prevalence.adjusted_count(INTERNAL, logit) == {"prevalence": pytest.approx((0.4 - 1 / 3) / (1 - 1 / 3))}
    assert prevalence.adjusted_count(INTERNAL, np.array([-1.0])) == {"prevalence": 0.0}
    assert prevalence.adjusted_count(INTERNAL, np.array([1.0])) == {"prevalence": 1.0}


def test_bbse_corrects_the_mean_probability() -> None:
    high, low = expit([2.0, 0.5]).mean(), expit([1.0, -1.0, -2.0]).mean()
    expected = (PROB.mean() - low) / (high - low)
    assert prevalence.bbse(INTERNAL, LOGIT) == {"prevalence": pytest.approx(expected)}


def test_em_has_the_highest_likelihood_of_all_prevalences() -> None:
    _, logit = shifted(500, 0.35, seed=4)
    here = internal(*shifted(2_000, 0.2))
    before, prob = here.label.mean(), here.platt.apply(logit)
    shares = np.linspace(0.001, 0.999, 999)
    likelihood = [np.log(share * prob / before + (1 - share) * (1 - prob) / (1 - before)).sum() for share in shares]
    found = prevalence.em(here, logit)["prevalence"]
    assert found == pytest.approx(shares[int(np.argmax(likelihood))], abs=1e-3)


def test_em_is_the_fixed_point_of_expectation_maximization() -> None:
    _, logit = shifted(800, 0.5, seed=5)
    here = internal(*shifted(2_000, 0.2))
    before, prob = float(here.label.mean()), here.platt.apply(logit)
    found = prevalence.em(here, logit)["prevalence"]
    assert prevalence.with_prevalence(prob, before, found).mean() == pytest.approx(found, abs=1e-9)


def test_em_counts_images_whose_probability_is_exactly_0_or_1() -> None:
    logit = np.array([800.0, -800.0, -800.0, -800.0])
    assert prevalence.em(INTERNAL, logit) == {"prevalence": pytest.approx(0.25)}
    assert prevalence.em(INTERNAL, np.array([-800.0])) == {"prevalence": 0.0}
    assert prevalence.em(INTERNAL, np.array([800.0])) == {"prevalence": 1.0}
    found = prevalence.em(INTERNAL, np.append(logit, 0.3))["prevalence"]
    prob = prevalence.with_prevalence(expit([0.3]), 0.4, found)[0]
    assert (1 + prob) / 5 == pytest.approx(found, abs=1e-9)


def test_all_estimators_of_the_prevalence_are_right_if_only_the_prevalence_differs() -> None:
    label, logit = shifted(60_000, 0.55, seed=6)
    here = internal(*shifted(60_000, 0.2), threshold=0.3)
    for estimator in (prevalence.adjusted_count, prevalence.bbse, prevalence.em):
        assert estimator(here, logit)["prevalence"] == pytest.approx(label.mean(), abs=0.02)
    assert prevalence.classify_count(here, logit)["prevalence"] == pytest.approx((logit >= 0.3).mean())


def test_values_equal_those_of_nannyml_and_quapy() -> None:
    project = Path(__file__).parents[3]
    cases = json.loads((project / "tests" / "oracles" / "estimators.json").read_text())["cases"]
    inputs = runpy.run_path(str(project / "scripts" / "oracles" / "estimators.py"))["inputs"]
    functions = {name: getattr(from_logits, name) for name in ("cbpe", "cbpe_em")}
    functions |= {name: getattr(prevalence, name) for name in ("em", "classify_count", "adjusted_count", "bbse")}
    for row in nonempty(cases):
        drawn = inputs(row["seed"], row["internal"], row["new"])
        assert drawn["logit"].sum() + drawn["new"].sum() + drawn["label"].sum() == pytest.approx(row["checksum"])
        here = InternalFinding(drawn["label"], drawn["logit"], row["threshold"], Platt(row["slope"], row["offset"]))
        found = {name: function(here, drawn["new"]) for name, function in functions.items()}
        compared = [key.split() for key in row if " " in key]
        assert len(compared) == 12
        for name, quantity in compared:
            assert found[name][quantity] == pytest.approx(row[f"{name} {quantity}"], abs=1e-6), (row["seed"], name)
