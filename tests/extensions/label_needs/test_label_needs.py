"""How many labeled patients are needed: known truth, drawn from hospitals whose shift is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.extensions.label_needs.draws import (
    CURVES,
    DRAWN,
    NEEDS,
    LabeledColumn,
    numbers_of_patients,
    recalibrated,
    summarize,
)
from bench.scoring.calibration_metrics import ece, errors
from bench.scoring.calibrators import fit_platt
from bench.scoring.scored_split import ScoredSplit

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
def shifted() -> pd.DataFrame:
    """A hospital of 4,400 patients where the network is overconfident and the finding more frequent than internally."""
    return recalibrated("Edema", "nih", column(1, 4400, 0.5, 1.5), column(0, 2000), DRAWS)


@pytest.mark.slow
def test_recalibration_needs_patients_and_the_error_falls_with_their_number(shifted: pd.DataFrame) -> None:
    error = shifted.groupby("n")["ece"].median().to_dict()
    assert list(error) == [0, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert error[0] > 0.2  # the internal calibrator is wrong by up to 1.5 on the logit scale
    assert error[10] > error[50] > error[200] > error[1000]
    assert error[2000] < 0.025
    assert error[2000] == pytest.approx(
        shifted["best"].median(), abs=0.006
    )  # no better than perfect calibration can look


@pytest.mark.slow
def test_a_stricter_goal_needs_more_patients() -> None:
    hospital, internal = column(1, 4400, 0.5, 1.5), column(0, 2000)

    drawn = recalibrated("Edema", "nih", hospital, internal, DRAWS)

    def needed(goal: float, share: float = 0.8) -> float:
        _, needs = summarize(drawn, goal, share)
        answer = needs["needed"].item()
        return float("inf") if np.isnan(answer) else float(answer)

    by_error = [needed(goal) for goal in (0.5, 0.1, 0.05, 0.025, 0.001)]
    assert by_error == sorted(by_error)
    assert by_error[0] == 0
    assert 10 < by_error[1] < by_error[3] < by_error[4] == float("inf")
    by_share = [needed(0.05, share) for share in (0.3, 0.8, 0.99)]
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
    old, new = (recalibrated("Edema", "nih", column, None, 5) for column in (before, after))
    pd.testing.assert_frame_equal(old, new, atol=1e-9)


def test_labels_that_are_not_scored_are_not_drawn() -> None:
    hospital = column(3, 50)
    state = hospital.label.copy()
    state[::2] = -1  # uncertain
    scored = split(LabeledColumn(state, hospital.logit, hospital.patient), slice(None), "a")
    kept = LabeledColumn.of(scored, 0)
    assert kept.label.tolist() == hospital.label[1::2].tolist()
    assert kept.num_patients == len(set(hospital.patient[1::2]))


def drawn(*outcomes: tuple[int, list[float], str], best: float = 0.01) -> pd.DataFrame:
    """Return the draws of n labeled patients with these ECEs at a hospital."""
    rows = [("Edema", dataset, n, value, best) for n, values, dataset in outcomes for value in values]
    return pd.DataFrame(rows, columns=list(DRAWN))


def test_the_answer_is_the_smallest_number_with_enough_draws() -> None:
    of_nih = [(10, [0.2, np.nan], "nih"), (20, [0.04, 0.2], "nih")]
    of_vindr = [(10, [0.1, 0.1], "vindr"), (20, [0.03, 0.03], "vindr")]
    curves, needs = summarize(drawn(*of_nih, (50, [0.02, 0.03], "nih"), *of_vindr), 0.05, 0.75)
    assert tuple(curves.columns) == CURVES
    assert tuple(needs.columns) == NEEDS
    assert dict(zip(needs["dataset"], needs["needed"], strict=True)) == {"external": 20, "nih": 50, "vindr": 20}
    together = curves[curves["dataset"] == "external"].set_index("n")
    assert together["hospitals"].tolist() == [2, 2, 1]
    assert together.loc[20, "share"] == 0.75
    assert np.isnan(curves.query("dataset == 'nih' and n == 10")["high"].item())  # some labels did not suffice
    _, stricter = summarize(drawn(*of_nih), 0.05, 0.75)
    assert stricter["note"].tolist() == ["more than 20"]


def test_an_answer_that_no_number_of_labels_can_give_has_its_reason() -> None:
    few = drawn((10, [0.2], "nih"), best=0.09)
    assert summarize(few, 0.05)[1]["note"].tolist() == ["too few patients to measure"]


def test_half_of_the_patients_are_never_drawn() -> None:
    assert numbers_of_patients(19) == []
    assert numbers_of_patients(100) == [10, 20, 50]
    assert numbers_of_patients(25_000)[-1] == 5000
