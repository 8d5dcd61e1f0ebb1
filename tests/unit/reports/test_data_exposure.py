"""Data exposure: training data, leakage checks and licenses."""

import html
from dataclasses import replace

import pytest

from reports.page import render
from reports.report_data.report_data import ReportData, read
from reports.sections.cohorts import cohorts
from reports.sections.data_exposure import data_exposure
from reports.sections.method import method
from reports.sections.opening import opening
from reports.sections.run_detail import RunDetails
from reports.summaries.data_exposure import ExposureText, exposure, grouped_exposures, leakage_checks, title
from reports.tables import Tables
from tests.synthetic import Invented, tables

FRESH = ExposureText("A", "X only", "random weights", "none", "", "nothing to compare", "research")
PHOTOS = replace(FRESH, start="imagenet", corpus="ImageNet-1k, photographs", licence="mit")
UNKNOWN = replace(FRESH, start="imagenet", corpus="unknown")
FOREIGN = replace(FRESH, start="an ONNX file", elsewhere=True)


def changed(made: Tables, **columns: object) -> Tables:
    return Tables(made.meta, made.frames | {"runs": made["runs"].assign(**columns)})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "No run"),
        ([(FRESH, 1)], "1 run starts from random weights and learns from X only"),
        ([(FRESH, 2), (PHOTOS, 1)], "1 of 3 runs was pretrained before training on X (on ImageNet-1k)"),
        ([(PHOTOS, 4)], "4 of 4 runs were pretrained before training on X (on ImageNet-1k)"),
        ([(UNKNOWN, 1)], "1 of 1 run was pretrained before training on X; the pretraining data are unknown"),
        ([(FOREIGN, 1)], "1 model was trained elsewhere; its owner declared the training data"),
        (
            [(FRESH, 1), (FOREIGN, 2)],
            "1 run starts from random weights and learns from X only; 2 models were trained elsewhere",
        ),
        (
            [(PHOTOS, 3), (UNKNOWN, 1)],
            "4 of 4 runs were pretrained before training on X (on ImageNet-1k); for 1 run the pretraining data are unknown",
        ),
    ],
)
def test_the_sentence_counts_pretrained_runs(found, said):
    assert title("X", found) == said


def test_a_run_states_its_corpus_and_the_license_of_its_weights():
    board = read(tables(Invented(runs=3)))
    found = {r.facts["weights_licence"]: exposure(board, r) for r in board.runs}
    assert found["apache-2.0"].corpus == "ImageNet-1k, photographs"
    assert found["apache-2.0"].use == "research, not for clinical use"
    assert found["cc-by-nc-4.0"].use == "non-commercial research, not for clinical use"
    assert found["cc-by-nc-4.0"].trained_on == "CheXpert only"


@pytest.mark.parametrize("nothing", ["", None])
def test_unrecorded_facts_of_the_weights_are_unknown(nothing):
    made = changed(tables(Invented(runs=2)), corpus=nothing, weights_licence=nothing, train_on=nothing)
    board = read(made)
    own = exposure(board, board.runs[0])
    assert (own.corpus, own.licence, own.corpus_overlap) == ("unknown", "not stated", "unknown")
    assert own.trained_on == "CheXpert only"


@pytest.mark.parametrize(
    ("remark", "start"),
    [("given vectors: no heat maps", "vectors of their owner"), ("", "weights that the network loads")],
)
def test_given_vectors_are_not_random_weights(remark: str, start: str) -> None:
    made = changed(
        tables(Invented(runs=2)), weights="none", corpus="unknown", weights_licence="on request", remark=remark
    )
    board = read(made)
    own = exposure(board, board.runs[0])
    assert (own.start, own.corpus, own.licence, own.corpus_overlap) == (start, "unknown", "on request", "unknown")
    assert "random weights" not in title("X", grouped_exposures(board))


def test_random_weights_have_no_corpus_and_equal_runs_share_a_row():
    board = read(changed(tables(Invented(runs=3)), weights="none", corpus="", weights_licence="", name="One"))
    ((own, count),) = grouped_exposures(board)
    assert (own.start, own.corpus, own.licence, count) == ("random weights", "none", "", 3)
    assert all("pretraining" not in what for what, _ in leakage_checks(board))


@pytest.mark.slow
def test_each_leakage_check_has_its_result():
    made = tables(Invented(runs=2))
    found = dict(leakage_checks(read(made)))
    assert found["CheXpert patients in two splits"].startswith("none")
    both = "Same patient at CheXpert and at an external hospital"
    assert found[both] == "unknown: each hospital uses its own patient ids"
    compared = {"patients": ["nih"], "images": True}
    checks = dict(leakage_checks(read(Tables({**made.meta, "compared": compared}, made.frames))))
    assert checks[both].startswith("none at NIH")
    assert checks[both].endswith("; unknown at the other hospitals, which use other ids")
    assert any("Identical image" in what and result.startswith("none") for what, result in checks.items())
    bad = dict(leakage_checks(read(Tables({**made.meta, "duplicates": 3}, made.frames))))
    assert any(result.startswith("3 images") for result in bad.values())
    unseen = {"patients": [], "images": False}
    checks = dict(leakage_checks(read(Tables({**made.meta, "compared": unseen}, made.frames))))
    assert checks["Identical image at CheXpert and at an external hospital"] == "not compared"
    bundles = {"r0": [{"file": "a.zip", "signed_by": ""}]}
    checks = dict(leakage_checks(read(Tables({**made.meta, "bundles": bundles}, made.frames))))
    assert checks["Identical image at CheXpert and at an external hospital"] == "unknown: bundles have no images"
    alone = dict(leakage_checks(read(tables(Invented(runs=2, hospitals=("chexpert",))))))
    assert not any("external" in what for what in alone)


def with_overlaps(*overlaps: dict[str, object], left_out: tuple[dict[str, object], ...] = ()) -> ReportData:
    made = tables(Invented(runs=2))
    compared = {"patients": [], "images": True, "external": list(overlaps), "left_out": list(left_out)}
    return read(Tables({**made.meta, "compared": compared}, made.frames))


def overlap(images: list[int] | None, patients: int | None, other: str = "nih") -> dict[str, object]:
    return {"cohorts": ["mimic", other], "num_images": [300, 400], "images": images, "patients": patients}


@pytest.mark.slow
def test_what_two_external_hospitals_share_is_stated_with_counts():
    image, patient = "Same image at two external hospitals", "Same patient at two external hospitals"
    board = with_overlaps(overlap([12, 13], 4))
    checks = dict(leakage_checks(board))
    assert checks[image] == "13 at MIMIC-CXR and NIH-14: means count them twice"
    assert checks[patient] == "4 at MIMIC-CXR and NIH-14: means count them twice"
    assert (
        "MIMIC-CXR and NIH-14 share images (12 of 300 at MIMIC-CXR, 13 of 400 at NIH-14) and 4 patients; means over hospitals "
        "count them twice." in cohorts(board).html
    )
    assert "and patient ids of MIMIC-CXR with NIH-14; the section Cohorts states what is shared." in method(board).html
    none = dict(leakage_checks(with_overlaps(overlap([0, 0], None))))
    assert (none[image], none[patient]) == ("none", "unknown: each hospital uses its own patient ids")
    half = dict(leakage_checks(with_overlaps(overlap([0, 0], 0), overlap([0, 0], None, "brax"))))
    assert half[patient] == "none; unknown at the other hospitals, which use other ids"
    tables_alone = dict(leakage_checks(with_overlaps(overlap(None, 0))))
    assert (tables_alone[image], tables_alone[patient]) == ("not compared", "none")


def test_a_cohort_that_is_left_out_is_named_with_the_reason():
    row = {
        "cohorts": ["nih", "again"],
        "title": "again<b>",
        "num_images": [400, 390],
        "images": [380, 385],
        "patients": 370,
    }
    page = opening(with_overlaps(left_out=(row,))).html
    assert "again&lt;b&gt; is left out, because 385 of its 390 scored images are also in NIH-14." in page


@pytest.mark.slow
def test_cohorts_have_their_licenses_and_phantoms_need_none():
    made = tables(Invented(runs=2))
    made.frames["cohorts"]["layout"] = "shenzhen"
    html = data_exposure(read(made)).html
    assert "research only" in html
    assert "doi:10.1109/TMI.2013.2284099" in html
    synthetic = data_exposure(read(tables(Invented(runs=2, phantom=True)))).html
    assert "research only" not in synthetic
    assert "synthetic images, no license needed" in synthetic


@pytest.mark.slow
def test_the_details_of_a_run_have_its_exposure_and_hostile_licenses_are_escaped():
    made = changed(tables(Invented(runs=2)), weights_licence="<script>x</script>", corpus="<b>")
    board = read(made)
    body = str(RunDetails.of(board, board.runs).body(board.runs[0], drawn=True))
    assert "License of the starting weights" in body
    assert "<script>x" not in render(made)
    assert html.escape("<script>x</script>") in body
