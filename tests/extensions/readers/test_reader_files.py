"""Tables of single readers: each published form is written and read again, and bad input is refused with file, row and fix."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.readers.reader_files import (
    ALL,
    FOUR,
    IMAGE,
    ONE,
    READER,
    STUDY,
    Panel,
    matched,
    own_panel,
    panels,
)
from harmonize.datasets import chexpert, nih, vindr
from harmonize.errors import DatasetError
from tests.extensions.readers.panel_files import write


def drawn(
    name: str, key: str, layout: str, source: str, labels: tuple[str, ...], readers: list[str], states: list[int]
) -> Panel:
    """Return a panel of synthetic readers who answered about three images or studies each."""
    draw = np.random.default_rng(len(labels))
    ids = [f"patient6474{i}/study1" if key == STUDY else f"0000000{i}_000.png" for i in (1, 2, 3)]
    table = pd.DataFrame([(i, reader) for reader in readers for i in ids], columns=[key, READER])
    columns = {label: pd.Series(draw.choice(states, len(table)), dtype="Int8") for label in labels}
    return Panel(name, key, layout, source, Path("readers.csv"), pd.concat([table, pd.DataFrame(columns)], axis=1))


PANELS = {
    "chexpert": drawn(ONE, STUDY, "chexpert", "default", chexpert.LABELS, ["bc4", "bc6", "bc1_gt", "bc2_gt"], [0, 1]),
    "vindr": drawn(ONE, IMAGE, "vindr", "default", vindr.LABELS, ["R1", "R9", "R17"], [0, 1]),
    "nih, four findings": drawn(
        FOUR, IMAGE, "nih", "expert", nih.EXPERT_LABELS, ["4295349121", "4323195249"], [0, 1, -1]
    ),
    "nih, all findings": drawn(
        ALL, IMAGE, "nih", "all_findings", nih.ALL_FINDINGS_LABELS, ["4343882785", "4343883593"], [0, 1]
    ),
    "own": drawn(ONE, IMAGE, "", "", ("Edema", "Pneumothorax"), ["Ann", "Bo"], [0, 1, -1]),
}


def in_order(panel: Panel) -> pd.DataFrame:
    table = panel.table.sort_values([READER, panel.key], ignore_index=True)
    return table[sorted(table)]


@pytest.mark.parametrize("name", PANELS)
def test_a_written_panel_is_read_again(name: str, tmp_path: Path) -> None:
    panel = PANELS[name]
    write(panel, tmp_path)
    [found] = panels(panel.layout, tmp_path) if panel.layout else [own_panel(tmp_path / "readers.csv")]
    assert found[:1] == panel[:1]
    assert (found.key, found.source) == (panel.key, panel.source)
    pd.testing.assert_frame_equal(in_order(found), in_order(panel), check_dtype=False)


def test_the_files_have_the_columns_of_the_publications(tmp_path: Path) -> None:
    for panel in PANELS.values():
        write(panel, tmp_path)
    header: Callable[[str], list[str]] = lambda name: (tmp_path / name).read_text().splitlines()[0].split(",")  # noqa: E731
    assert header("radiologists/groundtruth/bc1_gt.csv")[0] == "Study"
    assert header("annotations/image_labels_train.csv")[:2] == ["image_id", "rad_id"]
    assert {"Image ID", "Reader ID", "Nodule/mass"} <= set(header("four_findings_expert_labels/individual_readers.csv"))
    assert {"Abnormal", "Pleural Thickening"} <= set(header("all_findings_expert_labels/test_individual_readers.csv"))
    text = (tmp_path / "four_findings_expert_labels/individual_readers.csv").read_text()
    assert {"YES", "NO", "HEDGE"} <= set(text.replace("\n", ",").split(","))
    assert (tmp_path / "radiologists/benchmark_radiologists/bc4.csv").read_text().count(
        "CheXpert-v1.0/test/patient6474"
    ) == 3


def test_answers_become_states_of_findings_and_what_was_not_asked_is_null(tmp_path: Path) -> None:
    findings = ("Pneumothorax", "Lung Lesion", "Edema")
    four = PANELS["nih, four findings"]
    states = four.states(findings)
    assert states["Lung Lesion"].tolist() == four.table["Nodule or mass"].tolist()
    assert states["Edema"].isna().all()
    vin = PANELS["vindr"]
    either = vin.table[["Nodule/Mass", "Lung tumor"]].max(axis=1)
    assert vin.states(findings)["Lung Lesion"].tolist() == either.tolist()
    write(PANELS["nih, all findings"], tmp_path)
    raw = pd.read_csv(tmp_path / "all_findings_expert_labels/test_individual_readers.csv", dtype=str)
    raw["Abnormal"] = raw["Abnormal"].map({"YES": "1", "NO": "0"})  # as in the published file
    raw.to_csv(tmp_path / "all_findings_expert_labels/test_individual_readers.csv", index=False)
    [found] = panels("nih", tmp_path)
    pd.testing.assert_frame_equal(in_order(found), in_order(PANELS["nih, all findings"]), check_dtype=False)
    assert panels("brax", tmp_path) == panels("chexpert", tmp_path) == []


def own(folder: Path, *rows: str, head: str = "image_id,reader,Edema") -> Path:
    path = folder / "readers.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_opposite_answers_of_a_reader_are_refused_with_their_rows_and_equal_ones_count_once(tmp_path: Path) -> None:
    assert len(own_panel(own(tmp_path, "a,Ann,1", "a,Ann,1", "a,Bo,0")).table) == 2
    with pytest.raises(DatasetError, match="reader Ann gave two different answers about a") as caught:
        own_panel(own(tmp_path, "a,Ann,1", "b,Ann,1", "a,Ann,0"))
    assert caught.value.where.endswith("readers.csv, rows 2 and 4")
    assert caught.value.fix == "keep one of the rows"


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["a,Ann,yes"], "image_id,reader,Edema", r"'yes' in column 'Edema' is not a label state at readers.csv:2"),
        (["a,,1"], "image_id,reader,Edema", "no image_id or no reader"),
        (["a,Ann,1"], "image_id,reader,Edma", "the column 'Edma' is no finding"),
        (["a,1"], "image_id,Edema", "no column 'reader'"),
        (["<html>"], "<!DOCTYPE html>", "the column '<!DOCTYPE html>' is no finding"),
    ],
)
def test_a_table_of_your_own_with_an_error_is_refused_with_its_place(
    rows: list[str], head: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        own_panel(own(tmp_path, *rows, head=head))
    assert "readers.csv" in caught.value.where
    assert caught.value.fix


def test_a_reader_of_google_with_another_word_is_refused_with_its_place(tmp_path: Path) -> None:
    write(PANELS["nih, four findings"], tmp_path)
    path = tmp_path / "four_findings_expert_labels/individual_readers.csv"
    path.write_text(path.read_text().replace("HEDGE", "MAYBE"))
    with pytest.raises(
        DatasetError, match=r"'MAYBE' in column .* is not YES, NO or HEDGE at individual_readers.csv:\d"
    ):
        panels("nih", tmp_path)


def test_two_different_answers_in_the_published_file_of_google_count_as_none(tmp_path: Path) -> None:
    write(PANELS["nih, four findings"], tmp_path)
    path = tmp_path / "four_findings_expert_labels/individual_readers.csv"
    rows = pd.read_csv(path, dtype=str)
    again = rows.iloc[:1].assign(Fracture="NO" if rows["Fracture"][0] == "YES" else "YES")
    pd.concat([rows, again]).to_csv(path, index=False)
    [found] = panels("nih", tmp_path)
    expected = in_order(PANELS["nih, four findings"])
    is_first = (expected[IMAGE] == rows["Image ID"][0]) & (expected[READER] == rows["Reader ID"][0])
    expected.loc[is_first, "Fracture"] = pd.NA
    pd.testing.assert_frame_equal(in_order(found), expected, check_dtype=False)


def test_unknown_ids_are_counted_and_ids_in_another_form_are_refused(tmp_path: Path) -> None:
    cohort = pd.DataFrame({IMAGE: ["00000001_000.png", "00000002_000.png"]})
    path = own(tmp_path, "00000001_000.png,Ann,1", "00000009_000.png,Ann,1")
    rows, num_other = matched(own_panel(path), cohort, "nih")
    assert (rows[IMAGE].tolist(), num_other) == (["00000001_000.png"], 1)
    other_form = own_panel(own(tmp_path, "00000001_000.png,Ann,1", "00000002_000.PNG,Ann,1"))
    with pytest.raises(DatasetError, match=r"written in another way than in nih: .*differ") as caught:
        matched(other_form, cohort, "nih")
    assert caught.value.where.endswith("readers.csv, row 3")
    with pytest.raises(DatasetError, match="no answer of a reader is of an image of nih"):
        matched(own_panel(own(tmp_path, "x,Ann,1")), cohort, "nih")


def test_studies_of_other_patients_are_no_other_spelling_of_a_study() -> None:
    cohort = pd.DataFrame({STUDY: ["patient64741/study1"], "patient_id": "patient64741"})
    rows, num_other = matched(PANELS["chexpert"], cohort, "chexpert")
    assert (set(rows[STUDY]), len(rows), num_other) == ({"patient64741/study1"}, 4, 8)


def test_a_study_id_that_two_patients_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("study_id,reader,Edema\nstudy1,Ann,1\nstudy2,Ann,0\n")
    cohort = pd.DataFrame({STUDY: ["study1", "study2", "study2"], "patient_id": ["a", "b", "b"]})
    assert len(matched(own_panel(tmp_path / "own.csv"), cohort, "mine")[0]) == 2
    with pytest.raises(DatasetError, match="patients of mine have studies with the same study_id"):
        matched(own_panel(tmp_path / "own.csv"), cohort.assign(patient_id=["a", "b", "c"]), "mine")


def test_a_study_of_chexpert_in_another_form_is_refused(tmp_path: Path) -> None:
    write(PANELS["chexpert"], tmp_path)
    path = tmp_path / "radiologists/benchmark_radiologists/bc4.csv"
    path.write_text(path.read_text().replace("patient64741/study1", "64741"))
    with pytest.raises(DatasetError, match=r"is not of the form CheXpert-v1.0/test/patient64741/study1 at bc4.csv:2"):
        panels("chexpert", tmp_path)
