"""The report data: one number per cell, selected in the same way for all sections."""

import numpy as np
import pandas as pd
import pytest

from reports.formatting import integer, interval, places, signed, two_figures
from reports.report_data.hospitals_and_runs import Hospital
from reports.report_data.report_data import read
from reports.sections.findings import findings
from reports.sections.run_detail import RunDetails
from reports.tables import Tables
from tests.nonempty import nonempty
from tests.synthetic import FINDINGS, Invented, tables


def test_headline_rows_have_default_mapping_all_patients_and_headline_split():
    made = tables(Invented(runs=1))
    scores = made["scores"]
    noise = []
    for column, other in (
        ("mapping", "strict"),
        ("subgroup", "sex=F"),
        ("split", "val"),
        ("operating_point", "f1_max"),
    ):
        part = scores[scores["dataset"] != "external"].copy()
        part[column] = other
        part["value"] = 0.111
        noise.append(part)
    frames = dict(made.frames)
    frames["scores"] = pd.concat([*noise, scores], ignore_index=True)
    board, plain = read(Tables(made.meta, frames)), read(made)
    assert board.cells == pytest.approx(plain.cells, nan_ok=True) or _same(board.cells, plain.cells)


def test_a_run_that_stores_its_last_epoch_stands_beside_runs_that_select_one():
    made = tables(Invented(runs=2))
    scores = made["scores"].copy()
    scores["selection"] = scores["selection"].astype(object)
    scores.loc[scores["run_id"] == scores["run_id"].iloc[0], "selection"] = "last"
    board = read(Tables(made.meta, {**made.frames, "scores": scores}))
    assert len(board.ranked) == 2
    assert _same(board.cells, read(made).cells)


@pytest.mark.slow
def test_findings_whose_labels_match_only_approximately_are_marked_where_they_are_shown():
    made = tables(Invented(runs=3))
    plain = read(made)
    nih = next(h for h in plain.hospitals.external if any(key == h.key for key, _ in plain.labeled)).key
    datasets = made.meta["datasets"]
    datasets = {**datasets, nih: {**datasets[nih], "approximate": made.meta["findings"]}}
    board = read(Tables({**made.meta, "datasets": datasets}, made.frames))
    html = str(findings(board).html)
    assert f"approximate labels: {board.hospitals[nih].short}" in html
    assert ", approximate labels" in html
    assert "approximate labels" not in str(findings(plain).html)
    details = [str(RunDetails.of(data, data.runs).body(data.runs[0], drawn=True)) for data in (board, plain)]
    assert [f"approximate labels: {board.hospitals[nih].short}" in detail for detail in details] == [True, False]


def _same(a, b):
    assert a.keys() == b.keys()
    return all(np.allclose([a[k].value], [b[k].value], equal_nan=True) for k in a)


@pytest.mark.slow
def test_runs_are_ordered_by_mean_external_auroc_and_unscored_runs_are_separate():
    board = read(tables(Invented(runs=24, failed=2)))
    values = [r.external.value for r in board.ranked]
    assert values == sorted(values, reverse=True)
    assert [r.state for r in board.unranked] == ["failed", "failed"]
    assert [r for group in board.groups for r in group] == list(board.ranked)


def test_a_finding_without_labels_is_not_labeled_although_it_has_a_row_of_scores():
    made = tables(Invented(runs=2))
    scores = made["scores"]
    edema = scores[(scores["dataset"] == "vindr") & (scores["finding"] == "Pneumonia") & (scores["metric"] == "auroc")]
    unknown = edema.assign(finding="Edema", value=float("nan"))
    data = read(Tables(made.meta, made.frames | {"scores": pd.concat([scores, unknown])}))
    assert data.why_missing("vindr", "Edema") == "not labeled"
    assert data.why_missing("vindr", "Pneumonia") == "< 10 patients"


@pytest.mark.slow
def test_hospitals_are_ordered_by_their_mean_gap():
    mean_gaps = [h.mean_gap.value for h in read(tables(Invented())).hospitals.external]
    assert mean_gaps == sorted(mean_gaps)


def test_internal_and_external_auroc_are_compared_on_shared_findings():
    made = tables(Invented(runs=3, internal_labels=FINDINGS[:4], external_labels=FINDINGS[2:]))
    board = read(made)
    for run in board.ranked:
        assert run.internal_common.value - run.external_common.value == pytest.approx(run.gap.value)
        assert run.internal.value != pytest.approx(run.internal_common.value)
        assert not run.internal_common.has_interval
        assert np.mean([e.value for e in run.hospitals.values()]) == pytest.approx(run.external_common.value)
    assert len(board.members_of_first.findings) == 2


def test_an_auroc_of_the_gap_has_the_interval_of_the_macro_if_the_findings_are_equal():
    run = read(tables(Invented(runs=1, hospitals=("chexpert", "mimic")))).ranked[0]
    assert run.internal_common == run.internal
    assert run.internal_common.has_interval


def test_hospitals_and_shared_findings_are_counted_without_scored_runs():
    failed = read(tables(Invented(runs=0, failed=2)))
    assert (failed.hospitals.num_external, failed.has_common, failed.scored) == (5, True, ())
    apart = read(tables(Invented(runs=2, internal_labels=FINDINGS[:2], external_labels=FINDINGS[2:])))
    assert (apart.hospitals.num_external, apart.has_common, len(apart.scored), apart.ranked) == (5, False, 2, ())


@pytest.mark.slow
def test_the_worst_hospital_is_the_one_with_the_lowest_auroc():
    for run in nonempty(read(tables(Invented())).ranked):
        assert run.worst_auroc.value == min(e.value for e in run.hospitals.values())


@pytest.mark.slow
def test_tables_are_equal_after_saving_and_loading(tmp_path):
    made = tables(Invented(runs=3))
    made.save(tmp_path)
    again = Tables.load(tmp_path)
    assert again.meta == made.meta
    for name, frame in made.frames.items():
        pd.testing.assert_frame_equal(again[name], frame, check_dtype=False)


def test_a_missing_number_is_a_dash_in_every_format():
    for shown in (places, signed, two_figures, integer):
        assert shown(float("nan")) == "–"
        assert shown(None) == "–"
    assert interval(float("nan"), 1.0) == ""


def test_numbers_have_no_leading_zero_and_a_true_minus():
    assert places(-0.0604) == "−.060"
    assert places(0.9996) == "1.000"
    assert signed(-0.0001) == ".000"
    assert integer(129526) == "129\u202f526"


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("Boston, US", "Boston, US"),
        ("Beth Israel Deaconess Medical Center, Boston, USA", "Boston, USA"),
        ("Hospital 108 and Hanoi Medical University Hospital, Vietnam", "Vietnam"),
        ("Krankenhaus der Barmherzigen Brueder", "Krankenhaus der B…"),
        ("", ""),
    ],
)
def test_a_figure_shows_the_end_of_a_long_place_name(place, shown):
    assert Hospital("key", "Title", "Title", place).where == shown


def test_a_recipe_that_could_not_be_ranked_has_its_name_not_its_id():
    made = tables(Invented(runs=3))
    runs = made["runs"]
    recipe = runs.iloc[:1].assign(run_id="0123456789ab-seeds", kind="recipe", name="DenseNet-121", what="SAM")
    frames = {**made.frames, "runs": pd.concat([runs, recipe], ignore_index=True), "ranks": made["ranks"].iloc[:0]}
    board = read(Tables(made.meta, frames))
    assert not board.ranked
    assert board.labels["0123456789ab-seeds"] == "DenseNet-121 (SAM)"
    assert set(board.labels) == {*runs["run_id"], "0123456789ab-seeds"}
