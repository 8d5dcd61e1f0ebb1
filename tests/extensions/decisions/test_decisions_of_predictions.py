"""`api.net_benefit` and `api.triage`: equal to the tables of a run, intervals over patients, bad tables."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from bench import api
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit
from harmonize.errors import ConfigError
from reports.schemas.tables import SCHEMAS
from tests.extensions.decisions.plain_net_benefit import net_benefit
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts


def table(split: ScoredSplit, k: int = 0) -> pd.DataFrame:
    columns = {"label": split.labels()[:, k], "score": split.logit[:, k], "patient_id": split.patient_id}
    out = pd.DataFrame(columns).query("label >= 0")
    return out.assign(probability=expit(out["score"].astype(float)))


@pytest.mark.slow
def test_triage_of_predictions_equals_the_table_of_the_run() -> None:
    splits = parts()
    found = api.triage(table(splits[0]), table(splits[3]))
    rows = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail["triage"]
    rows = rows[(rows["dataset"] == "vindr") & (rows["finding"] == FINDINGS[0])]
    assert tuple(found.columns) == (*SCHEMAS["triage"][3:], "note")
    for name in (name for name in found if name != "note"):
        # without a threshold, the table has no value, and the function says which images are released: none
        np.testing.assert_allclose(found[name].replace([np.inf, -np.inf], np.nan), rows[name], err_msg=name)


def test_net_benefit_of_predictions_equals_its_definition_in_any_order_of_thresholds() -> None:
    predictions = table(parts()[3])
    found = api.net_benefit(predictions, [0.5, 0.05, 0.2])
    assert found["threshold"].tolist() == [0.5, 0.05, 0.2]
    label, prob = predictions["label"].to_numpy(np.int8), predictions["probability"].to_numpy()
    expected = np.array([net_benefit(label, prob, t) for t in (0.5, 0.05, 0.2)])
    np.testing.assert_allclose(found["net_benefit"], expected, atol=1e-12)
    np.testing.assert_allclose(found["standardized"], expected / label.mean(), atol=1e-12)
    of_all = [net_benefit(label, np.ones(len(label)), t) for t in (0.5, 0.05, 0.2)]
    np.testing.assert_allclose(found["treat_all"], of_all, atol=1e-12)
    for name in ("net_benefit", "standardized", "over_all"):
        assert (found[f"{name}_low"] <= found[name]).all()
        assert (found[name] <= found[f"{name}_high"]).all()
    assert len(api.net_benefit(predictions)) == 18


def test_paired_differences_are_exact_and_narrower_than_those_of_other_patients() -> None:
    first = table(parts()[3])
    noise = np.random.default_rng(0).normal(0, 0.3, len(first))
    second = first.assign(probability=expit(first["score"].astype(float) + noise))
    found = api.net_benefit(first, [0.3], minus=second).iloc[0]
    alone = api.net_benefit(second, [0.3]).iloc[0]
    assert found["difference"] == pytest.approx(found["net_benefit"] - alone["net_benefit"], abs=1e-12)
    width = found["difference_high"] - found["difference_low"]
    assert 0 < width < found["net_benefit_high"] - found["net_benefit_low"]
    assert (found["p"] < 0.05) == (found["difference_low"] > 0 or found["difference_high"] < 0)
    same = api.net_benefit(first, [0.3], minus=first).iloc[0]
    assert same["difference"] == same["difference_low"] == same["difference_high"] == 0


def test_two_networks_that_call_no_image_have_a_difference_of_0_with_an_interval() -> None:
    first = of_patients(12, 200)
    first["probability"] /= 10
    found = api.net_benefit(first, [0.5], minus=first.assign(probability=first["probability"] / 2)).iloc[0]
    assert found["difference"] == 0
    assert found["difference_low"] < 0 < found["difference_high"]
    assert found["p"] == 1


def test_a_hospital_without_positive_images_has_no_miss_rate_and_no_standardized_net_benefit() -> None:
    splits = parts()
    negative = table(splits[3]).query("label == 0")
    found = api.triage(table(splits[0]), negative)
    assert found[["miss_rate", "miss_rate_low", "miss_rate_high"]].isna().all(axis=None)
    assert found["false_positive_rate"].notna().all()
    assert found["note"].str.startswith("no image of the hospital has the finding, so there is no miss rate").all()
    of_benefit = api.net_benefit(negative, [0.2])
    assert of_benefit[["standardized", "standardized_low"]].isna().all(axis=None)
    assert of_benefit["net_benefit"].notna().all()
    assert of_benefit["note"].str.startswith("no image has the finding, so there is no standardized net benefit").all()


def of_patients(num_positive: int, num_negative: int) -> pd.DataFrame:
    """Return a table with one image for each patient."""
    label = np.repeat([1, 0], [num_positive, num_negative])
    score = np.random.default_rng(0).normal(2.0 * label)
    return pd.DataFrame({"label": label, "score": score, "probability": expit(score), "patient_id": range(len(label))})


@pytest.mark.parametrize(
    ("num_positive", "num_negative", "words"),
    [
        (30, 30, ""),
        (1, 60, "only 1 patient has the finding, so intervals are missing or not reliable"),
        (60, 4, "only 4 patients have an image without the finding, so intervals are missing or not reliable"),
        (
            1,
            0,
            "no image is without the finding, so these images do not show false alarms; only 1 patient has the finding",
        ),
    ],
)
def test_a_net_benefit_of_few_patients_says_so(num_positive: int, num_negative: int, words: str) -> None:
    found = api.net_benefit(of_patients(num_positive, num_negative), [0.2])
    assert found["note"].item() == words or found["note"].item().startswith(words + ",")


def test_a_net_benefit_of_one_patient_has_no_interval() -> None:
    found = api.net_benefit(of_patients(1, 0), [0.2])
    assert found.filter(regex="_(low|high)$").isna().all(axis=None)
    assert found["note"].item().endswith("one patient has no interval")
    one = of_patients(1, 0)
    minus = api.net_benefit(one, [0.2], minus=one.assign(probability=0.1))
    assert minus[["difference_low", "difference_high", "p"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("internal", "hospital", "level", "words"),
    [
        ((30, 30), (30, 30), 0.1, ""),
        ((5, 30), (30, 30), 0.1, "nothing is released: 5 internal patients have the finding, and 9 are needed"),
        ((30, 1), (30, 30), 0.05, "nothing is flagged: 1 internal patient has an image without the finding, and 19 are needed"),
        ((30, 30), (0, 30), 0.1, "no image of the hospital has the finding, so there is no miss rate"),
        ((30, 30), (30, 0), 0.1, "no image of the hospital is without the finding, so there is no false positive rate"),
        ((30, 30), (2, 30), 0.1, "only 2 patients of the hospital have the finding, so intervals are missing or not reliable"),
    ],
)  # fmt: skip
def test_a_triage_says_why_a_threshold_or_rate_is_missing(
    internal: tuple[int, int], hospital: tuple[int, int], level: float, words: str
) -> None:
    found = api.triage(of_patients(*internal), of_patients(*hospital), [level])
    assert found["note"].item() == words
    assert words or np.isfinite(found.drop(columns="note").astype(float)).all(axis=None)


@pytest.mark.parametrize("numbers", ["high", ["high"], [[0.1]], {"a": 0.1}, [None], object()])
def test_thresholds_and_levels_that_are_no_numbers_are_refused(numbers: object) -> None:
    predictions = table(parts()[3])
    with pytest.raises(ConfigError, match=r"thresholds|above 0 and below 1"):
        api.net_benefit(predictions, numbers)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"levels|above 0 and below 1"):
        api.triage(predictions, predictions, numbers)  # type: ignore[arg-type]


def test_one_number_is_one_threshold_or_level_and_no_level_is_refused() -> None:
    predictions = of_patients(30, 30)
    assert api.net_benefit(predictions, 0.2)["threshold"].tolist() == [0.2]  # type: ignore[arg-type]
    assert api.triage(predictions, predictions, 0.1)["level"].tolist() == [0.1]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there are no levels"):
        api.triage(predictions, predictions, [])


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no table"):
        api.net_benefit("hospital.csv", [0.2])  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_threshold_or_level_outside_0_to_1_is_refused(threshold: float) -> None:
    predictions = table(parts()[3])
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        api.net_benefit(predictions, [0.2, threshold])
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        api.triage(predictions, predictions, [threshold])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "neither 0 nor 1"),
        ({"patient_id": None}, "patient_id is missing"),
        ({"probability": 1.2}, "outside 0 to 1"),
        ({"probability": "high"}, "not finite"),
    ],
)
def test_a_bad_cell_is_refused(change: dict[str, object], message: str) -> None:
    predictions = table(parts()[3]).astype(object)
    predictions.loc[predictions.index[3], list(change)] = list(change.values())
    with pytest.raises(ConfigError, match=message):
        api.net_benefit(predictions, [0.2])


def test_missing_columns_rows_classes_and_other_images_are_refused() -> None:
    predictions = table(parts()[3])
    with pytest.raises(ConfigError, match="no column 'patient_id'"):
        api.net_benefit(predictions.drop(columns="patient_id"), [0.2])
    with pytest.raises(ConfigError, match="no rows"):
        api.triage(predictions, predictions.iloc[:0])
    with pytest.raises(ConfigError, match="a class is absent"):
        api.triage(predictions.query("label == 0"), predictions)
    with pytest.raises(ConfigError, match="do not have the same images"):
        api.net_benefit(predictions, [0.2], minus=predictions.iloc[::-1])
