"""Triage with a guarantee: thresholds against crepes and a slow twin, tables, bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.extensions.decisions.conformal import (
    LEVELS,
    flag_threshold,
    highest_by_chance,
    release_threshold,
    thresholds,
)
from bench.extensions.decisions.triage import quantities_of, tallies
from bench.scoring.column import Column
from bench.scoring.influence import error_of
from bench.scoring.score_run import RunScores, score_run
from reports.schemas.tables import SCHEMAS
from tests.nonempty import nonempty
from tests.resampled import in_groups, resampled_error
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts

ORACLE = json.loads((Path(__file__).parents[2] / "oracles" / "conformal.json").read_text())
SHARES = ("miss_rate", "false_positive_rate", "released", "flagged", "deferred")


def decide(score: np.ndarray, release: float, flag: float) -> np.ndarray:
    """Return -1 (released), 1 (flagged) or 0 (deferred) for each image: a plain twin of `cuts_of`.

    An image above `flag` is always flagged.
    """
    return np.where(score > flag, 1, np.where(score < release, -1, 0))


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


@pytest.mark.parametrize("case", ORACLE["cases"])
def test_calls_equal_the_prediction_sets_of_crepes(case: dict[str, list[object]]) -> None:
    label, score, test, p, sets = (np.array(case[name]) for name in ("label", "score", "test", "p", "sets"))
    patient = np.arange(len(label))
    for level, found in nonempty(zip(ORACLE["levels"], sets, strict=True)):
        release = release_threshold(score[label == 1], patient[label == 1], level)
        flag = flag_threshold(score[label == 0], patient[label == 0], level)
        # a class is left out of the prediction set where the image is beyond the threshold of the class
        np.testing.assert_array_equal(test > flag, found[:, 0] == 0)
        np.testing.assert_array_equal(test < release, found[:, 1] == 0)
        np.testing.assert_array_equal(np.stack([test > flag, test < release], 1), p <= level)


def slow_release(score: NDArray[np.float64], patient: NDArray[np.int64], level: float, at: float) -> bool:
    """Return whether an image with the score `at` is released: the weighted conformal p-value, as published."""
    people = np.unique(patient)
    as_low = sum(np.mean(score[patient == person] <= at) for person in people)
    return bool((1 + as_low) / (len(people) + 1) <= level + 1e-12)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_a_patient_with_many_images_counts_once(seed: int, level: float) -> None:
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(30), draw.integers(1, 5, 30))
    score = draw.normal(size=len(patient)).round(1)
    threshold = release_threshold(score, patient, level)
    for at in np.append(score, [score.min() - 1, score.max() + 1]):
        assert (at < threshold) == slow_release(score, patient, level, at)
    assert flag_threshold(score, patient, level) == -release_threshold(-score, patient, level)


def test_too_few_patients_and_no_patients_release_and_flag_nothing() -> None:
    score, patient = np.arange(18.0), np.arange(18)
    assert release_threshold(score, patient, 0.05) == -np.inf
    assert flag_threshold(score, patient, 0.05) == np.inf
    assert release_threshold(np.empty(0), np.empty(0, np.int64), 0.05) == -np.inf
    images_of_few = np.repeat(np.arange(18), 5)  # 90 images, but 18 patients
    assert release_threshold(np.arange(90.0), images_of_few, 0.05) == -np.inf
    with pytest.raises(ValueError, match="scores"):
        release_threshold(np.array([np.nan]), np.array([0]), 0.05)


def test_the_guarantee_holds_on_average_over_calibration_and_test_patients() -> None:
    draw = np.random.default_rng(0)
    for num in (19, 30, 50):  # .05 (n + 1) is an integer only for the first
        score = draw.normal(size=(4000, num + 1))
        missed = [row[-1] < release_threshold(row[:-1], np.arange(num), 0.05) for row in score]
        expected = np.floor(0.05 * (num + 1)) / (num + 1)
        assert abs(np.mean(missed) - expected) < 3.5 * np.sqrt(expected / len(missed))


def test_the_table_has_what_the_internal_thresholds_give(scored: RunScores) -> None:
    splits, table = parts(), scored.detail["triage"].set_index(["dataset", "finding", "level"])
    for k, finding in enumerate(FINDINGS):
        val_label, codes = splits[0].labels()[:, k], np.unique(splits[0].patient_id.astype(str), return_inverse=True)[1]
        at = thresholds(val_label, splits[0].logit[:, k].astype(float), codes)
        label, patient = splits[3].labels()[:, k], splits[3].patient_id
        rows = label >= 0
        for (release, flag), level in zip(at, LEVELS, strict=True):
            call, row = decide(splits[3].logit[:, k], release, flag), table.loc[("vindr", finding, level)]
            assert (row["release_threshold"], row["flag_threshold"]) == pytest.approx((release, flag))
            frame = pd.DataFrame({"patient": patient, "label": label, "missed": call == -1, "alarm": call == 1})
            expected = {
                "miss_rate": frame[label == 1].groupby("patient")["missed"].mean().mean(),
                "false_positive_rate": frame[label == 0].groupby("patient")["alarm"].mean().mean(),
                "released": np.mean(call[rows] == -1),
                "flagged": np.mean(call[rows] == 1),
                "deferred": np.mean(call[rows] == 0),
            }
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, abs=1e-12)
                assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1
            assert row["num_positive"] == len(set(patient[label == 1]))
            assert row["num_internal_positive"] == len(set(codes[val_label == 1]))
            assert row["miss_rate_by_chance"] == highest_by_chance(row["num_internal_positive"], level)


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    draw = np.random.default_rng(1)
    patient = in_groups(200, 4, draw).astype(np.int32)
    label = (draw.random(len(patient)) < 0.3).astype(np.int8)
    column = Column.of(
        patient, label, (label + draw.normal(0, 1, 200)[patient] + draw.normal(size=len(patient))).round(1)
    )
    images = np.stack([np.bincount(patient[label == sign], minlength=200) for sign in (1, 0)])
    of_patients = tallies(column, np.array([[-0.5, 1.5], [0.3, 0.8]]), images)
    value, influence = quantities_of(of_patients)
    assert (value > 0).all()
    assert (value < 1).all()
    expected = resampled_error(lambda rows: quantities_of(of_patients[rows])[0], np.arange(200))
    assert error_of(influence) / expected == pytest.approx(np.ones_like(value), abs=0.1)


def test_tables_have_the_columns_of_the_report_and_no_number_is_missing_without_a_reason(scored: RunScores) -> None:
    table = scored.detail["triage"]
    assert tuple(table.columns) == SCHEMAS["triage"]
    assert np.isfinite(table[[f"{share}{end}" for share in SHARES for end in ("", "_low", "_high")]]).all(axis=None)
    assert set(table["dataset"]) == {"chexpert", "nih", "vindr", "external"}


def test_each_finding_has_the_mean_of_the_hospitals_that_score_it_and_there_is_no_mean_over_findings(
    scored: RunScores,
) -> None:
    table = scored.detail["triage"].query("level == .1").set_index(["dataset", "finding"])["miss_rate"]
    assert set(table.index.get_level_values("finding")) == set(FINDINGS)
    first, third = FINDINGS[0], FINDINGS[2]
    assert table["external", first] == pytest.approx((table["nih", first] + table["vindr", first]) / 2)
    assert ("nih", third) not in table.index
    assert table["external", third] == table["vindr", third]


def test_with_too_few_internal_positives_nothing_is_released_and_images_are_still_flagged() -> None:
    splits = parts()
    positives = np.flatnonzero(splits[0].state[:, 0] == 1)  # `labels` would be cached
    splits[0].state[positives[12:], 0] = -1
    table = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail["triage"]
    row = table[(table["dataset"] == "vindr") & (table["finding"] == FINDINGS[0]) & (table["level"] == 0.05)].iloc[0]
    assert row["num_internal_positive"] < 19
    assert row["released"] == row["miss_rate"] == 0
    assert np.isnan(row["release_threshold"])
    assert np.isnan(row["miss_rate_by_chance"])
    assert row["flagged"] > 0
    assert row["deferred"] == pytest.approx(1 - row["flagged"])


@pytest.mark.parametrize("state", [0, 1])
def test_a_finding_without_a_class_has_no_rows(state: int) -> None:
    splits = parts()
    splits[0].state[:, 1] = state  # no calibrator can be fitted, either
    splits[3].state[:, 0] = state
    triage = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail["triage"]
    assert triage[triage["finding"] == FINDINGS[1]].empty
    assert triage[(triage["finding"] == FINDINGS[0]) & (triage["dataset"] == "vindr")].empty


def test_without_a_validation_split_there_is_no_triage() -> None:
    assert score_run("abc", FINDINGS, "chexpert", parts()[1:], QUICK).detail["triage"].empty


def test_a_rising_transformation_of_the_logits_changes_no_call(scored: RunScores) -> None:
    bent = [replace(split, logit=np.arctan(split.logit).astype(np.float32)) for split in parts()]
    again = score_run("abc", FINDINGS, "chexpert", bent, QUICK).detail
    columns = [*SHARES, *(f"{share}_low" for share in SHARES)]
    pd.testing.assert_frame_equal(scored.detail["triage"][columns], again["triage"][columns])
