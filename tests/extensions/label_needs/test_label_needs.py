"""How many labeled patients are needed: known truth, drawn from hospitals whose shift is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.extensions.label_needs.draws import (
    CURVES,
    NEEDS,
    Draws,
    LabeledColumn,
    numbers_of_patients,
    recalibrated,
    summarize,
)
from bench.extensions.label_needs.goals import Goals
from bench.scoring.calibration_metrics import ece, errors
from bench.scoring.calibrators import fit_platt
from bench.scoring.scored_split import ScoredSplit
from harmonize.errors import ConfigError

DRAWS = 40


def column(seed: int, num_patients: int, slope: float = 1.0, shift: float = 0.0) -> LabeledColumn:
    """Draw patients with one to three images; sigmoid(slope * logit + shift) is the true probability."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num_patients), random.integers(1, 4, num_patients))
    logit = np.sort(random.normal(-1, 2, len(patient)))
    patient = random.permutation(patient)
    label = (random.random(len(logit)) < 1 / (1 + np.exp(-slope * logit - shift))).astype(np.int8)
    return LabeledColumn(label, logit.astype(np.float32), patient)


@pytest.fixture(scope="module")
def shifted() -> list[Draws]:
    """A hospital of 4,400 patients where the network is overconfident and the finding more frequent than internally."""
    return recalibrated("Edema", "nih", column(1, 4400, 0.5, 1.5), column(0, 2000), DRAWS)


def medians(outcomes: list[Draws]) -> dict[int, float]:
    return {o.n: float(np.nanmedian(o.ece)) for o in outcomes}


@pytest.mark.slow
def test_recalibration_needs_patients_and_the_error_falls_with_their_number(shifted: list[Draws]) -> None:
    error = medians(shifted)
    assert list(error) == [0, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert error[0] > 0.2  # the internal calibrator is wrong by up to 1.5 on the logit scale
    assert error[10] > error[50] > error[200] > error[1000]
    assert error[2000] < 0.025
    assert error[2000] == pytest.approx(
        np.median(shifted[0].best), abs=0.006
    )  # no better than perfect calibration can look


@pytest.mark.slow
def test_a_stricter_goal_needs_more_patients() -> None:
    hospital, internal = column(1, 4400, 0.5, 1.5), column(0, 2000)

    def needed(goals: Goals) -> float:
        _, needs = summarize(recalibrated("Edema", "nih", hospital, internal, DRAWS), goals)
        answer = needs["needed"].item()
        return float("inf") if np.isnan(answer) else float(answer)

    by_error = [needed(Goals(ece=goal)) for goal in (0.5, 0.1, 0.05, 0.025, 0.001)]
    assert by_error == sorted(by_error)
    assert by_error[0] == 0
    assert 10 < by_error[1] < by_error[3] < by_error[4] == float("inf")
    by_share = [needed(Goals(share=share)) for share in (0.3, 0.8, 0.99)]
    assert by_share == sorted(by_share)


@pytest.mark.slow
@given(st.integers(0, 300))
def test_the_quick_calibration_error_is_that_of_scoring(seed: int) -> None:
    hospital = column(seed, 30, 0.5, 0.3)
    prob = fit_platt(hospital.label, hospital.logit).apply(hospital.logit)
    if np.isfinite(prob).all():
        assert ece(hospital.label, prob, 15) == pytest.approx(errors(hospital.label, prob)["ece"], abs=1e-12)


def split(hospital: LabeledColumn, order: Any, names: Any) -> ScoredSplit:
    logit = hospital.logit.astype(np.float32)[:, None]
    ids = np.array([f"i{i}" for i in range(len(logit))], object)
    patients = np.array([f"{names}{code:05}" for code in hospital.patient], object)
    arrays = (ids, patients, logit, hospital.label[:, None])
    return ScoredSplit("nih", "all", "report", *(a[order] for a in arrays))


@settings(max_examples=8)
@given(st.integers(0, 50), st.randoms(use_true_random=False))
def test_the_order_of_images_and_the_names_of_patients_change_nothing(seed: int, random: Any) -> None:
    hospital = column(seed, 60)
    order = list(range(len(hospital.label)))
    before = LabeledColumn.of(split(hospital, order, "a"), 0)
    random.shuffle(order)
    after = LabeledColumn.of(split(hospital, order, "b"), 0)
    for old, new in zip(*(recalibrated("Edema", "nih", c, None, 5) for c in (before, after)), strict=True):
        assert old.n == new.n
        np.testing.assert_allclose(old.ece, new.ece, atol=1e-9)


def test_labels_that_are_not_scored_are_not_drawn() -> None:
    hospital = column(3, 50)
    state = hospital.label.copy()
    state[::2] = -1  # uncertain
    scored = split(LabeledColumn(state, hospital.logit, hospital.patient), slice(None), "a")
    kept = LabeledColumn.of(scored, 0)
    assert kept.label.tolist() == hospital.label[1::2].tolist()
    assert kept.num_patients == len(set(hospital.patient[1::2]))


def outcome(n: int, value: list[float], dataset: str = "nih", best: float = 0.01) -> Draws:
    return Draws("Edema", dataset, n, np.array(value), np.array([best]))


def test_the_answer_is_the_smallest_number_with_enough_draws() -> None:
    outcomes = [
        outcome(10, [0.2, np.nan]),
        outcome(20, [0.04, 0.2]),
        outcome(50, [0.02, 0.03]),
        outcome(10, [0.1, 0.1], "vindr"),
        outcome(20, [0.03, 0.03], "vindr"),
    ]
    curves, needs = summarize(outcomes, Goals(share=0.75))
    assert tuple(curves.columns) == CURVES
    assert tuple(needs.columns) == NEEDS
    assert dict(zip(needs["dataset"], needs["needed"], strict=True)) == {"external": 20, "nih": 50, "vindr": 20}
    together = curves[curves["dataset"] == "external"].set_index("n")
    assert together["hospitals"].tolist() == [2, 2, 1]
    assert together.loc[20, "share"] == 0.75
    assert np.isnan(curves.query("dataset == 'nih' and n == 10")["high"].item())  # some labels did not suffice
    _, stricter = summarize(outcomes[:2], Goals(share=0.75))
    assert stricter["note"].tolist() == ["more than 20"]


def test_an_answer_that_no_number_of_labels_can_give_has_its_reason() -> None:
    assert summarize([outcome(10, [0.2], best=0.09)], Goals())[1]["note"].tolist() == ["too few patients to measure"]


def test_half_of_the_patients_are_never_drawn() -> None:
    assert numbers_of_patients(19) == []
    assert numbers_of_patients(100) == [10, 20, 50]
    assert numbers_of_patients(25_000)[-1] == 5000


@pytest.mark.parametrize("wrong", [{"ece": 0.0}, {"share": 80}])
def test_a_goal_is_a_share(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be a number above 0 and below 1"):
        Goals(**wrong)
