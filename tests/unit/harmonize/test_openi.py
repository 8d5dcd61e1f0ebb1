"""Tests of the adapter of Open-i on files with the form of the release, and on damaged files."""

from pathlib import Path

import pandas as pd
import pytest
from native_tables import written

import harmonize
from harmonize import CohortSpec
from harmonize.datasets import LABELS, openi
from harmonize.errors import DatasetError

# the elements of a published report that the adapter reads, with other words
REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR7"/>
   <MedlineCitation Owner="Indiana University"><Article><Abstract>
     <AbstractText Label="IMPRESSION">No pneumothorax.</AbstractText>
   </Abstract></Article></MedlineCitation>
   <MeSH>
      <major>Opacity/lung/base/left</major>
      <major>Catheters, Indwelling/right</major>
      <major>Opacity/lung/upper lobe/right/mild</major>
      <major>Subcutaneous  Emphysema</major>
      <automatic>pneumothorax</automatic>
   </MeSH>
   <parentImage id="CXR7_IM-0001-1001"><figureId>F1</figureId><panel type="single"/></parentImage>
   <parentImage id="CXR7_IM-0001-2001"><figureId>F2</figureId><panel type="single"/></parentImage>
</eCitation>
"""


def write_report(root: Path, text: str = REPORT, views: str = "CXR7_IM-0001-1001,PA\nCXR7_IM-0001-2001,LL\n") -> None:
    (root / openi.REPORTS).mkdir()
    (root / openi.REPORTS / "7.xml").write_text(text)
    (root / openi.HEADERS).write_text("imageid,View Position\n" + views)


def test_the_first_part_of_each_annotated_heading_is_a_label_of_all_images_of_the_report(tmp_path: Path) -> None:
    write_report(tmp_path)
    table = openi.read(tmp_path)
    assert table[LABELS].tolist() == ["opacity|catheters, indwelling|subcutaneous emphysema"] * 2
    assert table["view"].tolist() == ["PA", "LATERAL"]
    assert table["patient_id"].tolist() == ["CXR7"] * 2
    assert table["drop"].tolist() == ["", ""]


BOTH = REPORT.replace("</figureId>", "</figureId><caption>Chest, PA and lateral</caption>")


@pytest.mark.parametrize(
    ("headers", "corrected", "views"),
    [
        ("PA,LL", None, ["PA", "LATERAL"]),
        ("PA,PA", None, ["UNKNOWN", "UNKNOWN"]),  # one of them is lateral
        (",PA", None, ["UNKNOWN", "UNKNOWN"]),
        ("PA,AP", "CXR7_IM-0001-1001,L", ["LATERAL", "AP"]),
        (",", "CXR7_IM-0001-1001,PA", ["FRONTAL", "LATERAL"]),
    ],
)
def test_the_view_of_a_header_alone_is_not_believed(
    headers: str, corrected: str | None, views: list[str], tmp_path: Path
) -> None:
    first, second = headers.split(",")
    write_report(tmp_path, BOTH, f"CXR7_IM-0001-1001,{first}\nCXR7_IM-0001-2001,{second}\n")
    if corrected:
        (tmp_path / openi.CORRECTED).write_text(f"imageid,tsne-view\n{corrected}\n")
    assert openi.read(tmp_path)["view"].tolist() == views


def test_headings_become_findings(tmp_path: Path) -> None:
    written("openi", tmp_path)
    findings = ("No Finding", "Cardiomegaly", "Edema", "Lung Opacity", "Pleural Thickening", "Abnormal")
    table = harmonize.load(CohortSpec("openi", "openi", tmp_path), findings=findings).table.set_index("image_id")
    assert list(table.index) == ["CXR1_1_IM-0001-3001", "CXR2_IM-0652-1001"]
    found = {finding: table[finding].fillna(-9).tolist() for finding in findings}
    assert found == {
        "No Finding": [1, 0],
        "Cardiomegaly": [0, 1],
        "Edema": [0, 1],
        "Lung Opacity": [0, 0],
        "Pleural Thickening": [-9, -9],
        "Abnormal": [0, 1],
    }


@pytest.mark.parametrize("mesh", ["", "<major>No Indexing</major>", "<major/>", "<automatic>normal</automatic>"])
def test_images_of_a_report_without_annotated_headings_are_left_out_and_counted(mesh: str, tmp_path: Path) -> None:
    before, _, rest = REPORT.partition("<MeSH>")
    write_report(tmp_path, f"{before}<MeSH>{mesh}{rest[rest.index('</MeSH>') :]}")
    table = openi.read(tmp_path)
    assert table["drop"].tolist() == ["no labels"] * 2
    assert table[LABELS].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (REPORT[: len(REPORT) // 2], "not a readable report"),
        ("<!DOCTYPE html>\n<html><body><p>Sign in<br></body></html>", "not a readable report"),
        (REPORT.replace('<uId id="CXR7"/>', ""), "no id"),
    ],
)
def test_a_file_that_is_no_report_raises_an_error_with_its_name(text: str, what: str, tmp_path: Path) -> None:
    write_report(tmp_path, text)
    with pytest.raises(DatasetError, match=what) as caught:
        openi.read(tmp_path)
    assert caught.value.where.endswith("7.xml")


def test_a_folder_without_reports_and_a_table_of_other_images_raise_errors(tmp_path: Path) -> None:
    written("openi", tmp_path)
    headers = pd.read_csv(tmp_path / openi.HEADERS, dtype=str, keep_default_na=False)
    headers.assign(imageid=headers["imageid"] + ".dcm").to_csv(tmp_path / openi.HEADERS, index=False)
    with pytest.raises(DatasetError, match="the endings of file names differ"):
        openi.read(tmp_path)
    for path in (tmp_path / openi.REPORTS).iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no reports") as caught:
        openi.read(tmp_path)
    assert "NLMCXR_reports.tgz" in caught.value.fix


def test_an_unknown_view_is_not_frontal_and_is_reported(tmp_path: Path) -> None:
    write_report(tmp_path, views="CXR7_IM-0001-1001,PA\nCXR7_IM-0001-2001,OBLIQUE\n")
    table = openi.read(tmp_path)
    assert table["view"].tolist() == ["PA", "UNKNOWN"]
    assert table["unknown_view"].tolist() == ["", "OBLIQUE"]


def test_a_row_of_the_headers_that_cannot_be_used_removes_only_its_image(tmp_path: Path) -> None:
    write_report(tmp_path, views="CXR7_IM-0001-1001,PA\nCXR7_IM-0001-2001,LL,one cell too many\n")
    fault = openi.read(tmp_path).set_index("image_id")["row_fault"]
    assert list(fault[fault != ""].index) == ["CXR7_IM-0001-2001"]
    assert "nlmcxr_dicom_metadata.csv:3" in fault.iloc[1]
