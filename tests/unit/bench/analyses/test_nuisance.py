"""Nuisance variables: detected where the simulation has them, and absent elsewhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association as scipy_association
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from bench.analyses.shortcuts.nuisance import (
    COLUMNS,
    Association,
    _pooled_and_stratified,
    cramers_v,
    levels,
    phantom_marker,
    shares,
    stratified,
)
from bench.scoring.influence import error_of
from bench.scoring.metrics import auroc
from bench.scoring.sample import Sample
from harmonize.cohorts.pooled import Place
from tests.resampled import in_groups, resampled_error


def table(num: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a cohort where 70 % of AP and 30 % of PA images have the first finding; sex is independent of all findings."""
    rng = np.random.default_rng(seed)
    view, sex = rng.choice(["AP", "PA"], num), rng.choice(["F", "M", ""], num)
    label = np.stack([rng.random(num) < np.where(view == "AP", 0.7, 0.3), rng.random(num) < 0.4], axis=1).astype(
        np.int8
    )
    frame = pd.DataFrame({"view": view, "sex": sex, "device": "", "age": np.nan})
    return frame, label


def numbers(rows: list) -> "pd.Series[float]":
    return pd.DataFrame(rows, columns=list(COLUMNS)).set_index(["nuisance", "finding", "metric"])["value"]


def test_a_nuisance_associated_with_a_finding_is_detected_and_an_independent_nuisance_is_not() -> None:
    frame, label = table(1200, 0)
    patient = np.arange(1200).astype(str)
    value = numbers(Association(("A", "B"), levels(frame), label).rows(patient))
    assert value["view", "A", "cramers_v"] == pytest.approx(0.4, abs=0.06)
    assert value["view", "A", "auroc_nuisance"] == pytest.approx(0.7, abs=0.04)
    assert value["view", "B", "auroc_nuisance"] == pytest.approx(0.5, abs=0.05)
    assert value["sex", "A", "auroc_nuisance"] == pytest.approx(0.5, abs=0.05)
    assert value["any", "A", "auroc_nuisance"] == pytest.approx(value["view", "A", "auroc_nuisance"], abs=0.03)


def test_an_association_that_is_reversed_externally_is_below_one_half() -> None:
    frame, label = table(1000, 1)
    reversed_label = label.copy()
    reversed_label[:, 0] = 1 - reversed_label[:, 0]
    internal = Association(("A", "B"), levels(frame), label)
    value = numbers(internal.external(levels(frame), reversed_label, np.arange(1000).astype(str)))
    assert value["view", "A", "auroc_nuisance"] == pytest.approx(0.3, abs=0.05)
    assert value["view", "A", "cramers_v"] == pytest.approx(0.4, abs=0.06)


def test_new_external_levels_and_missing_external_nuisances_are_accepted() -> None:
    frame, label = table(400, 2)
    internal = Association(("A", "B"), levels(frame), label)
    constant = frame.assign(view="AP", sex="")
    assert levels(constant) == {}
    assert internal.external(levels(constant), label, np.arange(400).astype(str)) == []
    rows = internal.external({"view": (("AP", "OBLIQUE"), np.arange(400) % 2)}, label, np.arange(400).astype(str))
    assert {row[0] for row in rows} == {"view", "any"}


def test_an_auroc_due_to_a_nuisance_disappears_within_its_levels() -> None:
    frame, label = table(2000, 3)
    rng = np.random.default_rng(3)
    by_view = (frame["view"] == "AP").to_numpy(float)[:, None] * 4 + rng.normal(size=(2000, 2))
    value = numbers(stratified(("A", "B"), label, by_view, np.arange(2000).astype(str), levels(frame)))
    assert value["view", "A", "pooled_auroc"] == pytest.approx(roc_auc_score(label[:, 0], by_view[:, 0]))
    assert value["view", "A", "stratified_auroc"] == pytest.approx(0.5, abs=0.05)
    assert value["view", "A", "pooled_less_stratified"] > 0.12
    assert value["view", "B", "pooled_less_stratified"] == pytest.approx(0, abs=0.04)
    assert value["sex", "A", "pooled_less_stratified"] == pytest.approx(0, abs=0.02)
    independent_logit = label * 2.0 + rng.normal(size=(2000, 2))
    within = numbers(stratified(("A", "B"), label, independent_logit, np.arange(2000).astype(str), levels(frame)))
    assert within["view", "A", "pooled_less_stratified"] == pytest.approx(0, abs=0.02)


def test_the_share_of_a_level_that_all_images_of_a_patient_have_holds_the_truth() -> None:
    """Wilson's interval for independent images held it in half of these samples."""
    draw, held = np.random.default_rng(6), 0
    for _ in range(200):
        patient = np.repeat(np.arange(40), draw.integers(1, 9, 40))
        code = (draw.random(40) < 0.3).astype(np.int64)[patient]
        _, row = shares({"sex": (("F", "M"), code)}, patient.astype(str))
        held += row[5] <= 0.3 <= row[6]
    assert held >= 0.93 * 200
    alone = shares({"sex": (("F", "M"), np.repeat([0, 1], [6, 4]))}, np.arange(10).astype(str))[1]
    assert alone[5:7] == pytest.approx(proportion_confint(4, 10, method="wilson"))


def test_the_difference_of_two_perfect_aurocs_has_an_interval() -> None:
    frame, label = table(60, 3)
    rows = stratified(("A", "B"), label, label * 9.0, np.arange(60).astype(str), {"view": levels(frame)["view"]})
    differences = [row for row in rows if row[3] == "pooled_less_stratified"]
    assert {row[4] for row in differences} == {0.0}
    assert all(row[5] < -0.03 and row[6] > 0.03 for row in differences)


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    """Patients have 1 to 4 images of one view, and scores have ties."""
    draw = np.random.default_rng(8)
    patient = in_groups(150, 4, draw)
    code = (draw.random(150) < 0.5).astype(np.int64)[patient]
    label = (draw.random(len(patient)) < 0.2 + 0.3 * code).astype(np.int8)
    logit = (label + code + draw.normal(0, 1.5, 150)[patient] + draw.normal(size=len(patient))).round(0)
    found = _pooled_and_stratified(label, logit, code, 2, Sample.of(patient.astype(str).astype(object)))
    assert found is not None

    def areas(rows: np.ndarray) -> list[float]:
        drawn = [rows, *(rows[code[rows] == level] for level in (0, 1))]
        value = [auroc(label[chosen] == 1, logit[chosen]) for chosen in drawn]
        pairs = [float(label[chosen].sum() * (label[chosen] == 0).sum()) for chosen in drawn[1:]]
        return [value[0], float(np.average(value[1:], weights=pairs))]

    assert found[0] == pytest.approx(areas(np.arange(len(patient))))
    assert error_of(found[2]) / resampled_error(areas, patient) == pytest.approx(np.ones(2), abs=0.1)


def test_a_perfect_association_and_a_constant_score_have_intervals() -> None:
    code = np.repeat([0, 1], 20)
    nuisances = {"view": (("AP", "PA"), code)}
    rows = Association(("A",), nuisances, code[:, None].astype(np.int8)).rows(np.arange(40).astype(str))
    assert {row[3] for row in rows} == {"cramers_v", "auroc_nuisance"}
    assert all(0 <= row[5] < row[6] <= 1 for row in rows if row[3] == "auroc_nuisance")
    label = np.tile([0, 1], 20).astype(np.int8)[:, None]
    rows = stratified(("A",), label, np.zeros((40, 1)), np.arange(40).astype(str), nuisances)
    assert all(row[5] < row[6] for row in rows)


def test_the_stratified_auroc_equals_that_of_pairs_within_a_level() -> None:
    frame, label = table(200, 4)
    logit = np.random.default_rng(4).normal(size=(200, 2))
    value = numbers(stratified(("A", "B"), label, logit, np.arange(200).astype(str), {"view": levels(frame)["view"]}))
    view, z = frame["view"].to_numpy(), logit[:, 0]
    wins = [
        float(z[i] > z[j])
        for i in np.flatnonzero(label[:, 0] == 1)
        for j in np.flatnonzero(label[:, 0] == 0)
        if view[i] == view[j]
    ]
    assert value["view", "A", "stratified_auroc"] == pytest.approx(np.mean(wins))


def test_cramers_v_equals_that_of_scipy_minus_its_bias() -> None:
    count = np.array([[30, 70], [60, 40], [50, 50]])
    assert cramers_v(count * 1000) == pytest.approx(scipy_association(count * 1000, method="cramer"), abs=1e-3)
    assert cramers_v(count) < scipy_association(count, method="cramer")
    assert cramers_v(np.array([[10, 10], [10, 10]])) == 0
    assert np.isnan(cramers_v(np.array([[10, 0], [10, 0]])))
    assert np.isnan(cramers_v(np.zeros((2, 2))))


def test_a_cohort_of_three_patients_has_shares_but_no_association() -> None:
    frame, label = table(3, 5)
    internal = Association(("A", "B"), levels(frame), label)
    assert internal.rows(np.arange(3).astype(str)) == []
    assert stratified(("A", "B"), label, np.zeros((3, 2)), np.arange(3).astype(str), levels(frame)) == []


def test_only_phantoms_have_a_marker(tmp_path: Path) -> None:
    assert phantom_marker((Place("nih", tmp_path / "nih"),), pd.Series(["a"])) is None
