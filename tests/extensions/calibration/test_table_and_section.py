"""The table of calibration has the numbers of each hospital, and the section of the page prints them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from bench.extensions.calibration.sections import calibration_slopes
from bench.scoring.calibrators import fit_platt
from bench.scoring.score_run import RunScores, score_run
from reports.formatting import places
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.calibration import calibration as calibration_curves
from reports.tables import Tables
from tests.extensions.calibration.test_fits import of_statsmodels
from tests.synthetic import FINDINGS as INVENTED
from tests.synthetic import HOSPITALS, Invented, ranked_ids, tables
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts

NUMBERS = {"slope": 0.61, "intercept": -0.34, "observed_expected": 1.27}


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def test_the_numbers_of_a_hospital_equal_those_of_its_labels_and_logits(scored: RunScores) -> None:
    val, _, _, there = parts()
    table = scored.detail["calibration"].set_index(["dataset", "finding", "calibrator"])
    assert set(table.index.get_level_values("dataset")) == {"chexpert", "nih", "vindr"}
    known, fitted = there.labels()[:, 0] >= 0, val.labels()[:, 0] >= 0
    logit, patient = there.logit[known, 0].astype(float), np.unique(there.patient_id[known], return_inverse=True)[1]
    platt = fit_platt(val.labels()[fitted, 0], val.logit[fitted, 0])
    for calibrator, x in (("none", logit), ("platt", platt.a * logit + platt.b)):
        row = table.loc[("vindr", "Edema", calibrator)]
        for name, numbers in of_statsmodels(x, there.labels()[known, 0] == 1, patient).items():
            assert row[[name, f"{name}_low", f"{name}_high", f"{name}_error"]].to_list() == pytest.approx(
                numbers, abs=1e-6
            )
        assert row["n"] == known.sum()
        assert row["reason"] == ""


def test_probabilities_after_platt_scaling_fit_where_the_scaling_was_fitted() -> None:
    val, test, *others = parts()
    same = replace(test, logit=val.logit, state=val.state, image_id=val.image_id, patient_id=val.patient_id)
    table = score_run("abc", FINDINGS, "chexpert", [val, same, *others], QUICK).detail["calibration"]
    rows = table[(table["dataset"] == "chexpert") & (table["calibrator"] == "platt")]
    assert len(rows) == len(FINDINGS)
    assert rows["slope"].to_numpy() == pytest.approx(1, abs=0.1)  # Platt's targets are not exactly 0 and 1
    assert rows["intercept"].to_numpy() == pytest.approx(0, abs=0.1)
    assert rows["observed_expected"].to_numpy() == pytest.approx(1, abs=0.05)


def test_a_finding_that_a_hospital_does_not_label_has_a_reason(scored: RunScores) -> None:
    table = scored.detail["calibration"]
    rows = table[(table["dataset"] == "nih") & (table["finding"] == "Lung Lesion")]
    assert list(rows["reason"]) == ["too few patients"] * 2
    assert rows[["slope", "intercept", "observed_expected"]].isna().all(axis=None)


def study(runs: int) -> Tables:
    """Return a study whose first ranked runs have these numbers at each hospital."""
    made = tables(Invented(runs=runs))
    rows = []
    for rank, run in enumerate(ranked_ids(made)):
        for hospital in HOSPITALS:
            for finding in INVENTED:
                for calibrator, shift in (("platt", 0.0), ("none", 0.5)):
                    row = {
                        "run_id": run,
                        "dataset": hospital,
                        "finding": finding,
                        "calibrator": calibrator,
                        "reason": "",
                    }
                    for name, value in NUMBERS.items():
                        number = value + shift + rank / 10
                        row |= {name: number, f"{name}_low": number - 0.1, f"{name}_high": number + 0.11}
                    rows.append(row)
    rows[2] |= dict.fromkeys(("slope", "slope_low", "slope_high"), np.nan) | {"reason": "slope: separated"}
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["calibration"]))
    return Tables(made.meta, {**made.frames, "calibration": frame})


@pytest.mark.slow
def test_the_section_states_how_many_numbers_are_clearly_beyond_1_and_prints_each_number_with_its_interval() -> None:
    html = str(calibration_slopes(read(study(2))).html)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert (
        "At external hospitals, 45 of 45 slopes are clearly below 1 (predictions too extreme), 0 clearly above; they range from .61 to .61"
        in text
    )
    assert (
        "Observed to expected (O:E): 0 of 45 ratios are clearly below 1 (probabilities too high), 45 clearly above; they range from 1.27 to 1.27."
        in text
    )
    assert ".61 [.51, .72]" in text
    assert "−.34 [−.44, −.23]" in text
    assert "1.77 [1.67, 1.88]" in text  # uncalibrated O:E
    assert ".71 [.61, .82]" in text  # the other run
    assert "slope: separated" in text
    assert "nan" not in text
    assert text.count(", ") > 3 * 2 * len(HOSPITALS) * (len(INVENTED) - 1)


def test_the_slope_above_a_curve_is_that_of_its_drawn_points() -> None:
    """Shifts of the points of a curve, as findings of different prevalence cause, change its slope."""
    data = read(tables(Invented(runs=2)))
    html = str(calibration_curves(data).html)
    curves = data.tables["reliability"]
    run = data.ranked_runs[0].id
    for hospital in data.hospitals.all:
        rows = curves.query(f"run_id == '{run}' and dataset == '{hospital.key}' and calibrator == 'platt'").dropna(
            subset=["smooth"]
        )
        rows = rows[rows["smooth"].between(0, 1, "neither") & (rows["count"] > 0)]
        x, y = (logit(rows[name].to_numpy()) for name in ("confidence", "smooth"))
        weight = rows["count"].to_numpy()
        x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
        slope = (weight * x * y).sum() / (weight * x**2).sum()
        assert f"Calibration at {hospital.title} after Platt scaling: slope {places(slope, 2)} of the curve" in html


def test_a_hospital_of_children_has_no_column_because_it_has_no_numbers() -> None:
    made = study(1)
    datasets = {**made.meta["datasets"], "brax": {**made.meta["datasets"]["brax"], "ages": "children"}}
    table = made["calibration"].query("dataset != 'brax'")
    html = str(
        calibration_slopes(read(Tables(made.meta | {"datasets": datasets}, {**made.frames, "calibration": table}))).html
    )
    assert "VinDr-CXR" in html
    assert "BRAX" not in html


def test_without_the_table_there_is_no_section() -> None:
    assert calibration_slopes(read(tables(Invented(runs=3)))).html == ""
