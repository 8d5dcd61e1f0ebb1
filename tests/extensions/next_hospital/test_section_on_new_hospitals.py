"""The section on the next hospital: its headline and its figure state the numbers of the table, or the reason why there are none."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.next_hospital.rankings import EXPECTED, LOWER_END
from bench.extensions.next_hospital.sections import next_hospital
from reports.report_data.report_data import read
from reports.schemas.criterion import DEFAULT
from reports.schemas.tables import SCHEMAS
from reports.sections.opening import opening
from reports.sections.ranking_choices import choices, packed_rankings
from reports.tables import Tables
from tests.properties.test_one_interval import Element
from tests.synthetic import HOSPITALS, Invented, ranked_ids, tables

pytestmark = pytest.mark.slow
BELOW = list(SCHEMAS["next_hospital_below"])
EXTERNAL = [name for name in HOSPITALS if name != "chexpert"]
NUMBERS = {
    "value": 0.731,
    "low": 0.68,
    "high": 0.779,
    "new_low": 0.62,
    "new_high": 0.816,
    "sd": 0.2,
    "sd_low": 0.1,
    "sd_high": 0.4,
    "inconsistency": 0.6,
    "num_clamped": 0,
    "below_half": 0.01,
    "below_internal": 0.91,
    "num_left_out": 5,
    "num_inside": 4,
}


def study(values: list[float], reason: str = "", findings: tuple[str, ...] = ("Edema", "Pneumonia")) -> Tables:
    """Return a study in which the ranked runs have these expected AUROCs."""
    made = tables(Invented(runs=len(values)))
    ids = ranked_ids(made)
    common = {"hospitals": " ".join(EXTERNAL), "num_hospitals": 2 if reason else 5, "reason": reason}
    numbers = dict.fromkeys(NUMBERS, np.nan) | {"num_left_out": 0, "num_inside": 0} if reason else NUMBERS
    rows = [
        {"run_id": run, "metric": "auroc", "finding": finding, **common, **numbers}
        | ({} if reason else {"value": value})
        for run, value in zip(ids, values, strict=True)
        for finding in ("macro", *findings)
    ]
    rows += [row | {"metric": "gap", "value": 0.1, "new_low": -0.02, "new_high": 0.2} for row in rows[:1] if not reason]
    slope = {"metric": "calibration_slope", "finding": findings[0], "value": 0.8, "new_low": 0.5, "new_high": 1.1}
    ratio = {"metric": "log_observed_expected", "finding": findings[0], "value": 0.0, "new_low": -0.7, "new_high": 0.7}
    rows += [row | further for row in rows[:1] for further in (slope, ratio) if not reason]
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["next_hospital"]))
    below = pd.DataFrame([(run, k / 100, k / 100) for run in ids for k in range(1, 100)], columns=BELOW)
    ranked = made["ranks"][made["ranks"]["run_id"].isin(ids)]
    first = DEFAULT.rows(ranked)
    place = range(1, len(first) + 1)
    varying = [
        first.assign(**criterion._asdict(), group=place).sort_values("value") for criterion in (EXPECTED, LOWER_END)
    ]
    ranks = pd.concat([ranked, *([] if reason else varying)], ignore_index=True)
    scales = [(run, *of) for run in ids for of in ((0.25, 0.64, 0.8), (0.5, 0.62, 0.816), (1.0, 0.6, 0.83))]
    new = {
        "next_hospital_scales": pd.DataFrame(scales, columns=list(SCHEMAS["next_hospital_scales"])),
        "next_hospital": frame,
        "next_hospital_below": below,
        "ranks": ranks,
    }
    return Tables(made.meta, {**made.frames, **new})


def text_of(made: Tables) -> tuple[Element, str]:
    section = Element.of(str(next_hospital(read(made)).html))
    return section, re.sub(r"\s+", " ", section.text)


def test_the_headline_and_the_figure_state_the_numbers_of_the_table() -> None:
    section, text = text_of(study([0.731, 0.70, 0.69]))
    [title] = [head.text for head in section.all("h4")]
    title = title.replace(" )", ")")  # the interval does not wrap
    assert title == "At another hospital like these 5, expect AUROC .73 (95 % prediction interval [.62, .82])"
    assert len(title.split()) <= 15
    assert "a gap is modeled as a difference of two AUROCs" in text
    forest = section.all("table")[0].all("tr")[1:]
    assert [row.all("th")[0].text for row in forest][-2:] == ["Expected", "One new hospital (95 %)"]
    assert len(forest) == len(EXTERNAL) + 2
    assert "[.620, .816]" in forest[-1].text
    assert ".731" in forest[-2].text
    assert (
        "below .5 with a probability of .01, and below the measured internal AUROC with a probability of .91." in text
    )
    assert "8 of 10 measured AUROCs lie inside" in text
    assert "the runs have the same order as over the measured hospitals" in text
    assert "Expected gap: .100; prediction interval: [−.020, .200]." in text
    assert (
        "of scale .50 for the AUROC; with half and twice this scale, the prediction interval of the macro is [.640, .800] and [.600, .830]"
        in text
    )
    assert (
        "so that the middle 95 % of hospitals have [.647, .801]" in text
    )  # the logit of .731 plus or minus 1.96 times .2
    assert "chosen as the first of 3 runs at these hospitals" in text


def test_other_metrics_have_a_row_for_each_finding_and_o_e_is_a_ratio() -> None:
    section, text = text_of(study([0.731, 0.70]))
    table = next(table for table in section.all("table") if "Calibration slope" in table.text)
    rows = {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in table.all("tr")[1:]}
    assert {name: [cell[:4] for cell in cells] for name, cells in rows.items()} == {
        "Macro mean": [".100", "–", "–"],
        "Edema": ["–", ".800", "1.00"],
    }
    assert "[.497, 2.014]" in rows["Edema"][2]
    assert text.count("P(below internal) takes the measured internal AUROC as exact.") == 2  # also below the AUROCs


def test_a_variance_that_is_set_to_0_is_stated_once_below_each_table() -> None:
    made = study([0.73, 0.7])
    before = text_of(made)[1]
    assert "counted as 0" not in before
    assert "negative" not in before
    frame = made["next_hospital"].copy()
    frame[["inconsistency", "num_clamped"]] = 0.0, 2
    text = text_of(Tables(made.meta, {**made.frames, "next_hospital": frame}))[1]
    note = "without the prior, the variance between hospitals would be 0 (its estimate is negative); own error of 2 hospitals counted as 0"
    assert f"I² .00 ({note})" in text
    below = f"W{note[1:]}: "
    [of_findings, of_metrics] = [part.split(".")[0] for part in text.split(below)[1:]]
    assert of_findings == "Pneumonia, Edema"
    assert "Calibration slope (Edema" in of_metrics


def test_the_first_screen_names_the_recipe_and_what_the_hospitals_share() -> None:
    made = study([0.731, 0.70])
    text = re.sub(r"\s+", " ", Element.of(str(opening(read(made)).html)).text).replace(" )", ")")
    assert (
        "At another hospital like these 5 external ones (frontal images of adults and patients of unknown age in BR, ES, US and VN), expect AUROC "
        ".73 (95 % prediction interval [.62, .82]) from the first run." in text
    )
    for children, ages, words in (
        ("ages", "used", "patients of all ages"),
        ("used", "used", "children"),
        ("ages", "children", "patients of unknown age"),
    ):
        cohorts = made["cohorts"].assign(children=made["cohorts"][children])
        cohorts["ages"] = made["cohorts"][ages]
        html = str(opening(read(Tables(made.meta, {**made.frames, "cohorts": cohorts}))).html)
        assert f"(frontal images of {words} in" in re.sub(r"\s+", " ", html)
    assert "from this run." in Element.of(str(opening(read(study([0.731]))).html)).text
    assert "another hospital" not in opening(read(study([0.7], "too few hospitals: one"))).html


def test_the_page_offers_both_rankings_and_states_where_ties_differ() -> None:
    made = study([0.731, 0.70, 0.69])
    made["ranks"].loc[made["ranks"]["dataset"] == "external", "group"] = 1  # tied at the measured hospitals
    data = read(made)
    offered = {choice.criterion: choice for choice in choices(data)["AUROC"]}
    assert offered[EXPECTED].place == "expected at a new hospital"
    assert offered[LOWER_END].over_hospitals
    order = {run.id: place for place, run in enumerate(data.ranked)}
    assert packed_rankings(data, [offered[EXPECTED], offered[LOWER_END]], order)
    assert len(data.groups[0]) == 3
    assert "measured hospitals; the first tie group has 1 run, not 3." in text_of(made)[1]


def test_a_reader_can_type_a_threshold() -> None:
    section, _ = text_of(study([0.731, 0.70]))
    [field] = section.all("input")
    assert (field.attributes["min"], field.attributes["max"]) == ("0.01", "0.99")
    numbers = json.loads(section.all("script")[0].text)
    assert [len(of_run) for of_run in numbers] == [99, 99]
    assert [option.text for option in section.all("option")] == [run.label for run in read(study([0.731, 0.70])).ranked]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.70, 0.74, 0.69], "is first, not"),
        ([0.74, 0.69, 0.70], "the same run is first, but later runs have another order"),
    ],
)
def test_another_order_of_the_expected_values_is_stated(values: list[float], words: str) -> None:
    assert words in text_of(study(values))[1]


def test_too_few_hospitals_give_the_reason_and_no_number() -> None:
    section, text = text_of(study([0.7, 0.6], "too few hospitals: only two hospitals have a value"))
    assert "Too few hospitals to say what to expect at the next hospital" in text
    assert (
        "Too few hospitals: only two hospitals have a value. A prediction of the mean needs at least three hospitals, two findings"
        in text
    )
    assert not section.all("table")
    assert "nan" not in text


def test_without_the_table_there_is_no_section() -> None:
    assert next_hospital(read(tables(Invented(runs=3)))).html == ""


@pytest.mark.grid
def test_a_finished_grid_has_predictions_for_its_recipe(finished: Path) -> None:
    [folder] = (finished / "runs" / "report").glob("*/tables")
    table = pd.read_parquet(folder / "next_hospital.parquet")
    macro = table[(table["finding"] == "macro")].set_index("metric")
    assert macro["num_hospitals"].to_dict() == dict.fromkeys(
        ["auroc", "gap", "auprc", "sensitivity", "specificity", "net_benefit"], 5
    )
    calibration = {"calibration_slope", "calibration_intercept", "log_observed_expected"}
    assert set(table["metric"]) - set(macro.index) == calibration
    assert (macro["new_low"] < macro["low"]).all()
    assert (macro["low"] < macro["value"]).all()
    few = table[table["num_hospitals"] < 3]
    assert len(few)
    assert few["value"].isna().all()
    assert few["reason"].str.startswith("too few hospitals").all()
