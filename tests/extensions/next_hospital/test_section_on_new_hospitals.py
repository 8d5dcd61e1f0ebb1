"""The section on the next hospital: its headline and its figure state the numbers of the table, or the reason why there are none."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.next_hospital.sections import next_hospital
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS
from reports.sections.opening import opening
from reports.tables import Tables
from tests.properties.test_one_interval import Element
from tests.synthetic import HOSPITALS, Invented, ranked_ids, tables

pytestmark = pytest.mark.slow
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
    rate = {"metric": "sensitivity", "finding": findings[0], "value": 0.8, "new_low": 0.5, "new_high": 0.9}
    rows += [row | rate for row in rows[:1] if not reason]
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["next_hospital"]))
    scales = [(run, *of) for run in ids for of in ((0.25, 0.64, 0.8), (0.5, 0.62, 0.816), (1.0, 0.6, 0.83))]
    new = {
        "next_hospital_scales": pd.DataFrame(scales, columns=list(SCHEMAS["next_hospital_scales"])),
        "next_hospital": frame,
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
    assert "Expected gap: .100; prediction interval: [−.020, .200]." in text
    assert (
        "of scale .50 for the AUROC; with half and twice this scale, the prediction interval of the macro is [.640, .800] and [.600, .830]"
        in text
    )
    # the logit of .731 plus or minus 1.96 times .2
    assert "so that the middle 95 % of hospitals have [.647, .801]" in text
    assert "chosen as the first of 3 runs at these hospitals" in text


def test_other_metrics_have_a_row_for_each_finding() -> None:
    section, text = text_of(study([0.731, 0.70]))
    table = next(table for table in section.all("table") if "Sensitivity" in table.text)
    rows = {row.all("th")[0].text: [cell.text[:4] for cell in row.all("td")] for row in table.all("tr")[1:]}
    assert rows == {"Macro mean": [".100", "–"], "Edema": ["–", ".800"]}
    assert text.count("P(below internal) takes the measured internal AUROC as exact.") == 2  # also below the AUROCs


def test_a_negative_estimate_of_the_variance_between_hospitals_is_stated() -> None:
    made = study([0.73, 0.7])
    assert "negative" not in text_of(made)[1]
    frame = made["next_hospital"].assign(inconsistency=0.0)
    text = text_of(Tables(made.meta, {**made.frames, "next_hospital": frame}))[1]
    assert "I² .00 (without the prior, the variance between hospitals would be 0: its estimate is negative)" in text


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
    assert "Too few hospitals to say what" in opening(read(study([0.7], "too few hospitals: one"))).html


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
    assert macro["num_hospitals"].to_dict() == dict.fromkeys(["auroc", "gap", "sensitivity", "specificity"], 5)
    assert (macro["new_low"] < macro["low"]).all()
    assert (macro["low"] < macro["value"]).all()
    few = table[table["num_hospitals"] < 3]
    assert len(few)
    assert few["value"].isna().all()
    assert few["reason"].str.startswith("too few hospitals").all()
