"""Broken models are recognised by their numbers, and healthy ones are left alone."""

import numpy as np
import pytest

from bench.scoring.diagnostics import constant, cross_auroc, histogram, inverted, other_order, untrained
from bench.scoring.scored_split import ScoredSplit

FINDINGS = ("Edema", "Pneumonia", "Cardiomegaly", "Lung Lesion")


def part(order: tuple[int, ...] = (0, 1, 2, 3), signal: float = 2.0, seed: int = 0) -> ScoredSplit:
    draw = np.random.default_rng(seed)
    state = draw.integers(0, 2, (400, 4)).astype(np.int8)
    logit = (draw.normal(size=(400, 4)) + signal * state)[:, order].astype(np.float32)
    ids = np.arange(400).astype(str).astype(object)
    return ScoredSplit("nih", "test", "report", ids, ids, logit, state)


def test_a_healthy_model_shows_no_symptom() -> None:
    assert constant(part(), FINDINGS) == []
    assert other_order(part(), FINDINGS) == []


def test_outputs_in_another_order_are_named() -> None:
    (symptom,) = other_order(part((1, 2, 0, 3)), FINDINGS)
    assert symptom.value == pytest.approx(0.75 * 0.42, abs=0.05)
    assert "Edema from the output of Cardiomegaly" in symptom.advice
    assert "Lung Lesion" not in symptom.advice


def test_a_weak_model_is_not_called_misordered() -> None:
    assert all(other_order(part(signal=0.0, seed=seed), FINDINGS) == [] for seed in range(20))


def test_a_dead_output_is_found() -> None:
    broken = part()
    broken.logit[:, 2] = -3.0
    assert [(s.finding, s.value) for s in constant(broken, FINDINGS)] == [("Cardiomegaly", 1.0)]


def test_below_one_half_counts_only_with_its_whole_interval() -> None:
    found = inverted("brax", {"Edema": (0.4, 0.33, 0.47), "Pneumonia": (0.45, 0.39, 0.52), "x": (np.nan,) * 3})
    assert [s.finding for s in found] == ["Edema"]


def test_chance_at_internal_is_named() -> None:
    assert untrained("chexpert", 0.51, 0.47, 0.55)
    assert not untrained("chexpert", 0.56, 0.52, 0.6)
    assert not untrained("chexpert", np.nan, np.nan, np.nan)


def test_cross_auroc_holds_every_output_against_every_finding() -> None:
    matrix, known = cross_auroc(part((1, 0, 2, 3)))
    assert known == [0, 1, 2, 3]
    assert matrix[1, 0] > 0.85
    assert matrix[0, 1] > 0.85
    assert matrix[0, 0] < 0.6


def test_the_histogram_counts_every_rated_image_once() -> None:
    some = part()
    some.state[:100, 0] = -3
    edges, present, absent = histogram(some, 0)
    assert len(edges) == 21
    assert present.sum() == (some.state[:, 0] == 1).sum()
    assert absent.sum() == (some.state[:, 0] == 0).sum()
