"""The page of `bench estimate`: what it shows, from content that is made up."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag

from bench.extensions.estimates.estimate_page import (
    EstimatePage,
    ExpectedFinding,
    ExpectedRun,
    LabelAdvice,
    LocalScore,
    headline,
    render,
)
from bench.extensions.estimates.estimate_summary import safest_of
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from reports.formatting import places
from reports.report_data.headline_rows import MISSING, Estimate

HOSTILE = "<script>alert(1)</script>&"
FIRST = ExpectedRun("first", "aaaa", Estimate(0.8, 0.75, 0.85), 1, 2, True)
SECOND = ExpectedRun("second", "bbbb", Estimate(0.78, 0.73, 0.83), 1, 2, True)
EDEMA = ExpectedFinding("Edema", {"auroc": Estimate(0.81, 0.71, 0.91), "ece": MISSING})
PAGE = EstimatePage(
    "A study", True, 300, ("A", "B", "C"), (FIRST, SECOND), (EDEMA,), {"auroc": "AUROC", "ece": "ECE"},
    ("too uncertain (1 value)",), ("Learned from 3 labeled hospitals: A, B, C.",), ("A note.",),
)  # fmt: skip


def shown(page: EstimatePage) -> Tag:
    return BeautifulSoup(render(page), "html.parser")


def rows(page: EstimatePage, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    title = shown(page).find(id=heading)
    assert title is not None
    table = title.find_next("table")
    assert isinstance(table, Tag)
    return [
        [" ".join(cell.get_text(" ").split()) for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")
    ]


def test_runs_and_findings_have_their_numbers() -> None:
    found = rows(PAGE, "runs-h")
    assert [row[0] for row in found[1:]] == ["first aaaa", "second bbbb"]
    assert found[1][2:] == [".800 .750–.850", "1–2"]
    assert rows(PAGE, "h-findings")[1][2:] == [".810 .710–.910", "–"]


def test_predictions_without_images_are_gray_and_marked() -> None:
    run, edema = replace(FIRST, is_predicted=True), replace(EDEMA, predicted=frozenset({"auroc", "ece"}))
    page = replace(PAGE, runs=(run,), findings=(edema,), safest=("No run is clearly the safest.",))
    assert rows(page, "runs-h")[1][2:] == ["* .800 .750–.850", "–"]
    assert rows(page, "h-findings")[1][2:] == ["* .810 .710–.910", "–"]
    text = " ".join(shown(page).get_text(" ").split())
    assert "Gray numbers with * are not from images of this hospital: they are 95 % prediction intervals" in text
    assert "No run is clearly the safest." in text
    assert headline(page) == "No run can be recommended for this hospital"
    assert "Gray numbers" not in shown(PAGE).get_text()


def test_a_row_without_a_value_has_no_empty_figure() -> None:
    none = replace(EDEMA, values={"auroc": MISSING, "ece": MISSING})
    table = shown(replace(PAGE, findings=(EDEMA, none))).find(id="findings")
    assert isinstance(table, Tag)
    assert [cell.svg is not None for cell in table.find_all("td", class_="fg")] == [True, False]


def test_without_any_value_the_reasons_replace_the_table() -> None:
    none = replace(EDEMA, values={"auroc": MISSING, "ece": MISSING})
    page = replace(PAGE, findings=(none,), runs=(replace(FIRST, auroc=MISSING), replace(SECOND, auroc=MISSING)))
    section = shown(page).find(id="findings")
    assert isinstance(section, Tag)
    assert section.find("table") is None
    assert "too uncertain (1 value)" in section.get_text()
    text = shown(page).get_text()
    assert "No score of first can be estimated." in text
    assert "they are expected" not in text
    assert [row[2:] for row in rows(page, "runs-h")[1:]] == [["–", "–"]] * 2


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ((FIRST, SECOND), "The 2 runs cannot be told apart at this hospital"),
        ((FIRST, SECOND, replace(SECOND, may_be_best=False)), "2 of 3 runs cannot be told apart at this hospital"),
        ((FIRST, replace(SECOND, may_be_best=False)), "first is expected to be the best run at this hospital"),
        ((FIRST,), "first: expected scores at this hospital"),
        ((replace(FIRST, auroc=MISSING), SECOND), "No run can be recommended for this hospital"),
    ],
)
def test_the_headline_says_which_run_to_choose(runs: tuple[ExpectedRun, ...], words: str) -> None:
    assert headline(replace(PAGE, runs=runs)) == words


def test_findings_that_the_means_leave_out_are_named() -> None:
    assert "leave out" not in shown(PAGE).get_text()
    text = shown(replace(PAGE, left_out=("Edema", HOSTILE))).get_text()
    assert f"without an estimate for every run: Edema, {HOSTILE}." in text
    empty = replace(PAGE, runs=(replace(FIRST, auroc=MISSING),), left_out=("Edema",))
    assert "leave out" not in shown(empty).get_text()


def test_phones_show_abbreviations_in_capitals() -> None:
    page = replace(PAGE, quantities={"auroc": "AUROC", "ece": "Sensitivity"})
    cells = shown(page).find_all("td", attrs={"data-l": True})
    assert {str(cell["data-l"]) for cell in cells} == {"expected", "rank", "AUROC", "sensitivity"}


def test_scores_from_local_labels_have_a_table_only_if_there_are_labels() -> None:
    assert shown(PAGE).find(id="h-measured") is None
    score = LocalScore("Edema", "AUROC", Estimate(0.7, 0.6, 0.8), Estimate(0.71, 0.5, 0.9), 89)
    found = rows(replace(PAGE, measured=(score,)), "h-measured")
    assert found[1] == ["Edema", "AUROC", ".700 .600–.800", ".710 .500–.900", "89"]


def test_the_next_step_states_the_labels_that_are_needed() -> None:
    assert "bench labels-needed" in shown(PAGE).get_text()
    needs = LabelAdvice(("Recalibrate", "Threshold"), {"Edema": ("100", "none: the run as it is")}, "Two runs: 250.")
    page = replace(PAGE, needs=needs)
    assert rows(page, "needs-h") == [
        ["Finding", "Recalibrate", "Threshold"],
        ["Edema", "100", "none: the run as it is"],
    ]
    assert "Two runs: 250." in shown(page).get_text()
    assert "bench labels-needed" not in shown(page).get_text()


def test_texts_of_others_are_escaped() -> None:
    needs = LabelAdvice((HOSTILE,), {HOSTILE: (HOSTILE,)}, HOSTILE)
    score = LocalScore(HOSTILE, HOSTILE, Estimate(0.7), Estimate(0.7), 3)
    page = replace(
        PAGE, study=HOSTILE, runs=(replace(FIRST, name=HOSTILE, id=HOSTILE),), findings=(replace(EDEMA, finding=HOSTILE),),
        reasons=(HOSTILE,), basis=(HOSTILE,), notes=(HOSTILE,), measured=(score,), needs=needs,
    )  # fmt: skip
    assert HOSTILE not in render(page)
    assert len(shown(page).find_all("script")) == len(shown(PAGE).find_all("script")) == 1
    assert shown(page).get_text().count(HOSTILE) >= 12


def test_equal_content_gives_equal_bytes() -> None:
    assert render(PAGE) == render(PAGE)


def of(
    lower_ends: dict[str, float], safest: tuple[str, ...], images: int = 0, best: tuple[bool, ...] = ()
) -> SimpleNamespace:
    """Return estimates; `best`: the runs that the images show to be the best, () without an estimate from images."""
    means = {"auroc": SimpleNamespace(findings=("Edema",) if best else (), best=np.array(best))}
    predictions = {(run, "auroc", "macro"): (low + 0.1, low, low + 0.2) for run, low in lower_ends.items()}
    return SimpleNamespace(
        means=means, safest=safest, run_ids=tuple(lower_ends), predictions=predictions, num_images=images
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (of({"a": 0.64, "b": 0.5}, ("a",)), "Safest choice: A; at 97.5 % of such hospitals, its macro AUROC is above .640, and no"),
        (of({"a": 0.64, "b": 0.63}, ("a", "b")), "No run is clearly the safest. A has the highest lower end: at 97.5 %"),
        (of({"a": 0.64}, ("a",)), "There is only one run: at 97.5 % of such hospitals, its macro AUROC is above .640."),
        (of({"a": 0.44}, ("a",)), "So at some of them, it may be no better than chance."),
        (of({"a": 0.64}, (), 80), "No run can be recommended"),
    ],
)  # fmt: skip
def test_the_safest_run_is_named_or_that_none_is(result: ExpectedScores, words: str) -> None:
    text = " ".join(safest_of(result, {"a": "A", "b": "B"}, places))
    assert words in text
    assert ("no better than chance" in text) == (".440" in text)
    assert ("need 50 images" in text) == (result.num_images < 50)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (of({"a": 0.64, "b": 0.63}, ("a", "b"), 80, (True, False)), []),
        (of({"a": 0.64, "b": 0.63}, ("a", "b"), 80, (True, True)), ["No run is clearly the safest."]),
    ],
)
def test_images_that_show_the_best_run_need_no_safest_one(result: ExpectedScores, expected: list[str]) -> None:
    found = safest_of(result, {"a": "A", "b": "B"}, places)
    assert [sentence[:29] for sentence in found] == expected


def test_predictions_and_a_stated_prevalence_are_no_estimates_from_images() -> None:
    predicted = [replace(run, is_predicted=True) for run in PAGE.runs]
    values = {"auroc": Estimate(0.8, 0.7, 0.9), "prevalence": Estimate(0.08, 0.08, 0.08)}
    edema = replace(EDEMA, values=values, predicted=frozenset({"auroc"}))
    titles = {"auroc": "AUROC", "prevalence": "Prevalence"}
    text = shown(replace(PAGE, runs=predicted, findings=(edema,), quantities=titles)).get_text()
    assert "300 images, but no estimate from them" in text
    assert "90 % intervals over hospitals" not in text
    text = shown(PAGE).get_text()
    assert "300 images, estimated without labels" in text
    assert "90 % intervals over hospitals" in text
