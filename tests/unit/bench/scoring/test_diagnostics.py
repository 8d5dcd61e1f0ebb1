"""Symptoms of faults: broken outputs are reported, and healthy outputs are not."""

import numpy as np
import pytest

from bench.scoring.diagnostics import Interval, constant, cross_auroc, histogram, inverted, other_order, untrained
from bench.scoring.scored_split import ScoredSplit

FINDINGS = ("Edema", "Pneumonia", "Cardiomegaly", "Lung Lesion")
UNKNOWN = Interval(np.nan, np.nan, np.nan)


def split(order: tuple[int, ...] = (0, 1, 2, 3), signal: float = 2.0, seed: int = 0) -> ScoredSplit:
    draw = np.random.default_rng(seed)
    state = draw.integers(0, 2, (400, 4)).astype(np.int8)
    logit = (draw.normal(size=(400, 4)) + signal * state)[:, order].astype(np.float32)
    ids = np.arange(400).astype(str).astype(object)
    return ScoredSplit("nih", "test", "report", ids, ids, logit, state)


def test_healthy_outputs_have_no_symptoms() -> None:
    assert constant(split(), FINDINGS) == []
    assert other_order(split(), FINDINGS) == []


def test_outputs_in_another_order_are_reported() -> None:
    (symptom,) = other_order(split((1, 2, 0, 3)), FINDINGS)
    assert symptom.value == pytest.approx(0.75 * 0.42, abs=0.05)
    assert "Edema from the output of Cardiomegaly" in symptom.advice
    assert "Lung Lesion" not in symptom.advice


def test_a_weak_model_is_not_reported_as_misordered() -> None:
    assert all(other_order(split(signal=0.0, seed=seed), FINDINGS) == [] for seed in range(20))


def test_a_dead_output_is_reported() -> None:
    broken = split()
    broken.logit[:, 2] = -3.0
    assert [(s.finding, s.value) for s in constant(broken, FINDINGS)] == [("Cardiomegaly", 1.0)]


def test_a_finding_is_inverted_only_if_its_entire_interval_is_below_one_half() -> None:
    symptoms = inverted(
        "brax", {"Edema": Interval(0.4, 0.33, 0.47), "Pneumonia": Interval(0.45, 0.39, 0.52), "x": UNKNOWN}
    )
    assert [s.finding for s in symptoms] == ["Edema"]


def test_chance_level_at_the_internal_hospital_is_reported() -> None:
    assert untrained("chexpert", Interval(0.51, 0.47, 0.55))
    assert not untrained("chexpert", Interval(0.56, 0.52, 0.6))
    assert not untrained("chexpert", UNKNOWN)


def test_cross_auroc_compares_every_output_with_every_finding() -> None:
    matrix, indices = cross_auroc(split((1, 0, 2, 3)))
    assert indices == [0, 1, 2, 3]
    assert matrix[1, 0] > 0.85
    assert matrix[0, 1] > 0.85
    assert matrix[0, 0] < 0.6


def test_the_histogram_counts_every_labeled_image_once() -> None:
    partly_labeled = split()
    partly_labeled.state[:100, 0] = -3
    edges, present, absent = histogram(partly_labeled, 0)
    assert len(edges) == 21
    assert present.sum() == (partly_labeled.state[:, 0] == 1).sum()
    assert absent.sum() == (partly_labeled.state[:, 0] == 0).sum()
