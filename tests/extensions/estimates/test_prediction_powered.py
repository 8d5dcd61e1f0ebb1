"""Prediction-powered estimates: equal to ppi-python, right as often as stated, and never wider than the labels alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.extensions.estimates.prediction_powered import (
    SCORES,
    CombinedEstimate,
    Images,
    Patients,
    combined_scores,
    mean,
)
from bench.scoring.column import Column
from bench.scoring.delong import areas
from bench.scoring.metrics import auroc
from tests.nonempty import nonempty

CASES = json.loads((Path(__file__).parents[2] / "oracles" / "prediction_powered.json").read_text())["cases"]
CUT = -0.5  # a logit above this is a positive call


def hospital(
    seed: int, num_patients: int, slope: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray[Any, Any], Images]:
    """Draw labels and images of patients with one to four images; slope 1 and shift 0 give calibrated probabilities."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num_patients), random.integers(1, 5, num_patients))
    logit = 1.6 * (-1 + 0.7 * random.normal(size=num_patients)[patient] + random.normal(size=len(patient)))
    label = (random.random(len(patient)) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    return label, Images(1 / (1 + np.exp(-slope * logit - shift)), logit, patient, logit > CUT)


def combined(seed: int, num_labeled: int, num_patients: int, **of_hospital: float) -> dict[str, CombinedEstimate]:
    label, images = hospital(seed, num_patients, **of_hospital)
    rows = images.patient < num_labeled
    return combined_scores(label[rows], images.part(rows), images.part(~rows))


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_that_of_ppi_python(case: dict[str, Any]) -> None:
    label, predicted, unlabeled = (np.array(case[name]) for name in ("label", "predicted", "unlabeled"))
    patients = Patients(np.arange(len(label)), np.arange(len(unlabeled)))
    found = mean(label, predicted, unlabeled, patients, case["level"])
    assert found.value == pytest.approx(case["value"], abs=1e-6)
    assert [found.low, found.high] == pytest.approx(case["interval"], abs=1e-6)
    assert [found.labels_low, found.labels_high] == pytest.approx(case["labels_alone"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("of_hospital", [{}, {"slope": 0.4, "shift": 1.0}, {"slope": -1.0}])
def test_intervals_contain_the_truth_as_often_as_stated_and_are_no_wider_than_those_of_the_labels(
    of_hospital: dict[str, float],
) -> None:
    label, images = hospital(99, 200_000, **of_hospital)
    truth = {
        "prevalence": label.mean(),
        "sensitivity": images.called[label == 1].mean(),
        "specificity": 1 - images.called[label == 0].mean(),
        "accuracy": (images.called == label).mean(),
        "auroc": auroc(label, images.score),
    }
    results = [combined(seed, 150, 1150, **of_hospital) for seed in range(300)]
    for name in SCORES:
        found = [result[name] for result in results]
        # Three standard errors of a share of .9 in 300 samples are .05; the normal interval itself is a little narrow.
        assert 0.84 <= np.mean([f.low <= truth[name] <= f.high for f in found]) <= 0.97, name
        assert np.mean([f.high - f.low for f in found]) <= np.mean([f.labels_high - f.labels_low for f in found]), name
        assert abs(np.mean([f.value for f in found]) - truth[name]) < 0.006, name
    if not of_hospital:  # good predictions take a fifth of the width away
        for name in ("prevalence", "specificity"):
            widths = [[f.high - f.low, f.labels_high - f.labels_low] for f in (result[name] for result in results)]
            assert np.divide(*np.mean(widths, axis=0)) < 0.8


def test_simulated_intervals_of_few_labels_hold() -> None:
    """Normal intervals contained the AUROC in 48 to 78 % of samples with 1 to 18 patients with the finding."""
    table = pd.read_csv(Path(__file__).parents[3] / "benchmarks" / "local_labels.csv")
    assert len(table) == 80
    assert (table["simulations"] >= 2000).all()
    assert (table["zero_width"] == 0).all()
    assert (table["coverage"] >= 0.88).all()
    few = table[(table["labeled"] * table["prevalence"] < 19) & (table["score"] == "auroc")]
    assert len(few) == 10
    assert (few["coverage"] >= 0.9).all()
    assert (few["coverage_labels"] >= 0.9).all()


def test_a_perfect_separation_by_few_labels_has_an_interval() -> None:
    label = np.repeat(np.array([1, 0], np.int8), [5, 95])
    logit = np.where(label == 1, 2.0, -2.0) + np.linspace(0, 1, 100)
    images = Images(1 / (1 + np.exp(-logit)), logit, np.arange(100), logit > 0)
    found = combined_scores(label, images, images.part(np.zeros(100, bool)))
    assert found["auroc"].value == 1
    assert 0.6 < found["auroc"].low < 0.95
    assert found["auroc"].high == 1
    assert found["sensitivity"].low < 0.8 < found["sensitivity"].high == 1
    one = combined_scores(np.repeat(np.array([1, 0], np.int8), [1, 99]), images, images)
    assert np.isnan([one["auroc"].value, one["sensitivity"].value]).all()
    assert one["prevalence"].low < 0.01 < one["prevalence"].high < 0.1


def test_predictions_without_information_are_not_used() -> None:
    label, images = hospital(0, 500)
    rows = images.patient < 100
    flat = Images(np.full(len(label), 0.3), np.zeros(len(label)), images.patient, images.called)
    found = combined_scores(label[rows], flat.part(rows), flat.part(~rows))
    for name in ("prevalence", "auroc"):
        assert found[name].power == 0
        assert found[name].value == found[name].labels_value
    assert found["auroc"].value == 0.5


def test_images_of_one_patient_count_as_one() -> None:
    """Ten copies of each image give the interval of one copy; without patient codes, it would be three times too narrow."""
    label, images = hospital(1, 300)
    once = np.unique(images.patient, return_index=True)[1]
    label, rows = label[once], images.patient[once] < 80
    single = images.part(once)
    tenfold = Images(*(np.repeat(a, 10) for a in (single.probability, single.score, single.patient, single.called)))
    ten = np.repeat(rows, 10)
    one = combined_scores(label[rows], single.part(rows), single.part(~rows))
    copies = combined_scores(np.repeat(label, 10)[ten], tenfold.part(ten), tenfold.part(~ten))
    for name, found in nonempty(one.items()):
        # an AUROC of one image per patient has at least the variance of independent images, one of ten copies at least a tenth
        assert copies[name].low == pytest.approx(found.low, abs=0.02 if name == "auroc" else 1e-9)
        assert copies[name].power == pytest.approx(found.power, abs=1e-9)


def test_unlabeled_images_of_labeled_patients_are_left_out() -> None:
    label, images = hospital(2, 200)
    first = np.append(True, images.patient[1:] != images.patient[:-1])
    rows = (images.patient < 60) & first  # one image of each labeled patient has a label
    of_others = images.patient >= 60
    found = combined_scores(label[rows], images.part(rows), images.part(~rows))
    assert found == combined_scores(label[rows], images.part(rows), images.part(of_others))
    assert found["auroc"].num_labeled_patients == 60


def test_without_other_patients_the_scores_are_those_of_the_labels_alone() -> None:
    label, images = hospital(2, 200)
    rows = images.patient < 60
    some = combined_scores(label[rows], images.part(rows), images.part(~rows))
    none = combined_scores(label[rows], images.part(rows), images.part(np.zeros(len(label), bool)))
    assert set(none) == set(some)
    for name, own in none.items():
        of_labels = (some[name].labels_value, some[name].labels_low, some[name].labels_high)
        assert (own.value, own.low, own.high) == (own.labels_value, own.labels_low, own.labels_high) == of_labels
        assert own.power == 0


@pytest.mark.slow
@given(st.permutations(range(40)), st.integers(0, 50), st.floats(0.1, 10))
def test_the_order_of_images_and_an_increasing_transform_of_scores_change_nothing(
    order: list[int], seed: int, scale: float
) -> None:
    random = np.random.default_rng(seed)
    label = (random.random(40) < 0.4).astype(np.int8)
    images = Images(random.random(40), random.normal(size=40).round(1), random.integers(0, 30, 40), random.random(40) < 0.5)  # fmt: skip
    more = Images(random.random(90), random.normal(size=90).round(1), random.integers(30, 80, 90), random.random(90) < 0.5)  # fmt: skip
    moved = Images(images.probability[order], np.exp(scale * images.score[order] / 10), images.patient[order], images.called[order])  # type: ignore[index] # fmt: skip
    scaled = Images(more.probability, np.exp(scale * more.score / 10), more.patient, more.called)
    before, after = combined_scores(label, images, more), combined_scores(label[order], moved, scaled)
    for name in nonempty(before):
        np.testing.assert_allclose(
            [after[name].value, after[name].low, after[name].power],
            [before[name].value, before[name].low, before[name].power],
            atol=1e-9,
        )


def test_labels_that_do_not_suffice_give_no_interval() -> None:
    label, images = hospital(3, 100)
    rows = images.patient < 20
    absent = np.zeros(int(rows.sum()), np.int8)
    found = combined_scores(absent, images.part(rows), images.part(~rows))
    assert (found["prevalence"].value, found["prevalence"].labels_value) == (0, 0)
    prevalence = found["prevalence"]
    assert prevalence.low == prevalence.labels_low == 0
    assert 0.05 < prevalence.high == prevalence.labels_high < 0.25  # the rule of three: 3 / 20
    assert np.isnan([found["sensitivity"].value, found["auroc"].value]).all()
    single = images.patient == images.patient[0]
    assert np.isnan(combined_scores(label[single], images.part(single), images.part(~single))["accuracy"].low)


def test_the_influence_on_auroc_sums_to_obuchowskis_variance() -> None:
    label, images = hospital(5, 2000)
    column = Column.of(images.patient.astype(np.int32), label, images.score)
    area, of_image = column.auroc()
    assert area == pytest.approx(auroc(label, images.score), abs=1e-12)
    assert of_image.sum() == pytest.approx(0, abs=1e-12)
    of_patient = np.bincount(column.patient, of_image)
    expected = areas(label, images.score[:, None], images.patient).covariance.item()
    assert of_patient @ of_patient == pytest.approx(expected, rel=0.005)
