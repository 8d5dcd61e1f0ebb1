"""Tests of the layout `table`: any CSV or Parquet file with a mapping."""

import json
from pathlib import Path

import pandas as pd
import pytest

from harmonize.datasets import FAULT
from harmonize.datasets.table import read, remarks
from harmonize.errors import ConfigError, DatasetError

MAPPING = """
image: "images/{filename}"
patient: patientid
view: {column: view, PA: [PA], AP: [AP, AP Supine]}
sex: {column: sex, M: [M], F: [F]}
age: {column: age}
where: {modality: [X-ray]}
findings:
  Pneumonia:  {column: finding, present: "*", absent: [No Finding]}
  No Finding: {column: finding, present: [No Finding], absent: "*"}
"""
ROWS = pd.DataFrame(
    {
        "filename": ["a.png", "b.png", "c.png", "d.png", "e.png"],
        "patientid": [1, 1, 2, 3, 4],
        "view": ["PA", "AP Supine", "L", "PA", "AP"],
        "sex": ["M", "M", "F", None, "x"],
        "age": [70.0, 71.5, None, 3.0, 4.0],
        "modality": ["X-ray", "X-ray", "X-ray", "CT", "X-ray"],
        "finding": ["COVID-19", "No Finding", "ARDS", "ARDS", None],
    }
)


def write_and_read(
    root: Path, mapping: str = MAPPING, name: str = "metadata.csv", rows: pd.DataFrame = ROWS
) -> pd.DataFrame:
    (root / "map.yaml").write_text(mapping)
    if name.endswith(".csv"):
        rows.to_csv(root / name, index=False)
    else:
        rows.to_parquet(root / name)
    return read(root, name, "map.yaml")


MISSPELLED = ("no finding", "No Findings", "No  finding", "N\u200bo Finding", "'No Finding'", "['No Finding']", "No Finding|ARDS",
              "none", "NULL", "-", "unknown", "#N/A", "<NA>", "normal", "0", "no pneumonia", "ohne Befund", "TODO", "ARDS?", "not done")  # fmt: skip


@pytest.mark.parametrize("word", MISSPELLED)
def test_a_star_refuses_what_means_a_listed_value_or_nothing(word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would count as present") as error:
        write_and_read(tmp_path, rows=ROWS.assign(finding=[word, *ROWS["finding"][1:]]))
    assert repr(word) in error.value.what
    listed = MAPPING.replace("absent: [No Finding]", f"absent: [No Finding], doubtful: [{json.dumps(word)}]")
    listed = listed.replace("present: [No Finding]", f"present: [No Finding], uncertain: [{json.dumps(word)}]")
    table = write_and_read(tmp_path, listed, rows=ROWS.assign(finding=[word, *ROWS["finding"][1:]]))
    assert table["native:Pneumonia"].fillna(-9).tolist() == [-9, 0, 1, 1, -9]
    assert table["native:No Finding"].fillna(-9).tolist() == [-1, 1, 0, 0, -9]


def test_a_star_lists_the_words_it_stands_for(tmp_path: Path) -> None:
    (remark, _) = remarks(write_and_read(tmp_path), tmp_path)
    assert remark[1::2] == ("\"*\" counts as present: 'COVID-19' (1), 'ARDS' (1)", "note")
    exchanged = MAPPING.replace('present: "*", absent: [No Finding]', 'absent: "*", present: [No Finding]')
    found = [remark.found for remark in remarks(write_and_read(tmp_path, exchanged), tmp_path)]
    assert "the mapping lists 'No Finding' under present" in found


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.parquet"])
def test_a_mapping_defines_the_meaning_of_the_columns(name: str, tmp_path: Path) -> None:
    table = write_and_read(tmp_path, name=name)
    assert table["path"].tolist() == ["images/a.png", "images/b.png", "images/c.png", "images/d.png", "images/e.png"]
    assert table["patient_id"].tolist() == ["1", "1", "2", "3", "4"]
    assert table["view"].tolist() == ["PA", "AP", "UNKNOWN", "PA", "AP"]
    assert table["sex"].tolist() == ["M", "M", "F", "", ""]
    assert table["age"].fillna(-1).tolist() == [70.0, 71.5, -1.0, 3.0, 4.0]
    assert table["drop"].tolist() == ["", "", "", "not selected", ""]
    assert table["split"].unique().tolist() == ["test"]
    assert table["native:Pneumonia"].fillna(-9).tolist() == [1, 0, 1, 1, -9]
    assert table["native:No Finding"].fillna(-9).tolist() == [0, 1, 0, 0, -9]


def test_only_image_patient_and_findings_are_required(tmp_path: Path) -> None:
    short = 'image: "{filename}"\npatient: patientid\nfindings: {Edema: {column: age, present: [70, 3], absent: [4.0]}}'
    table = write_and_read(tmp_path, short)
    assert table["view"].unique().tolist() == ["FRONTAL"]
    assert table["native:Edema"].fillna(-9).tolist() == [1, -9, -9, 1, 0]


def test_splits_come_from_a_column_and_rows_with_unknown_splits_are_dropped(tmp_path: Path) -> None:
    split = MAPPING + "split: {column: modality, train: [X-ray]}\n"
    table = write_and_read(tmp_path, split.replace("where: {modality: [X-ray]}", ""))
    assert table["split"].tolist() == ["train", "train", "train", "", "train"]
    assert table["drop"].tolist() == ["", "", "", "no split", ""]


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("patient: patientid", "patient: patientd", "no column 'patientd'", "did you mean 'patientid'?"),
        ("{filename}", "{file}", "no column 'file'", "did you mean 'filename'?"),
        ("patient: patientid", "", "the key patient is missing", "patient:"),
        ("where:", "where_:", "unknown key 'where_'", "did you mean 'where'?"),
        ("Pneumonia: ", "Pneumona: ", "no finding 'Pneumona'", "did you mean 'Pneumonia'?"),
        ("present: [No Finding]", 'present: "*"', 'present and absent are both "*"', "list"),
        ("present: [No Finding]", "presentt: [No Finding]", "unknown key 'presentt'", "did you mean 'present'?"),
        ("present: [No Finding]", "present: [yes]", "True is not text", "quotes"),
        ("M: [M], F: [F]", "M: [F], F: [M]", "M lists 'F', and F lists 'M'", "exchange"),
        ("PA: [PA]", "PAA: [PA]", "unknown name 'PAA'", "did you mean 'PA'?"),
        ("{column: age}", "{column_: age}", "the key column is missing", "column:"),
        ("images/{filename}", "images/a.png", "same image", "braces"),
        ("modality: [", "modalty: [", "no column 'modalty'", "did you mean 'modality'?"),
    ],
)
def test_an_error_in_a_mapping_states_the_key_and_the_fix(
    old: str, new: str, what: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        write_and_read(tmp_path, MAPPING.replace(old, new))
    assert what in caught.value.what
    assert hint in caught.value.fix
    assert "map.yaml" in caught.value.where


def test_a_missing_or_unreadable_table_raises_an_error(tmp_path: Path) -> None:
    write_and_read(tmp_path)
    with pytest.raises(DatasetError, match=r"no other\.csv"):
        read(tmp_path, "other.csv", "map.yaml")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        read(tmp_path, "bad.parquet", "map.yaml")
    with pytest.raises(DatasetError, match="no rows"):
        write_and_read(tmp_path, rows=ROWS.iloc[:0])


def _write_small_table(tmp_path: Path, cells: list[str], patients: list[str], rule: str) -> Path:
    rows = "\n".join(f"{i}.png,{p},{c}" for i, (p, c) in enumerate(zip(patients, cells, strict=True)))
    (tmp_path / "t.csv").write_text(f"file,patient,finding\n{rows}\n")
    findings = f"findings:\n  Pneumonia: {{column: finding, {rule}}}\n"
    (tmp_path / "m.yaml").write_text('image: "{file}"\npatient: patient\n' + findings)
    return tmp_path


def test_a_mapping_without_matching_values_raises_an_error_with_the_most_frequent_values(tmp_path: Path) -> None:
    root = _write_small_table(tmp_path, ["yes", "no", "yes"], ["a", "b", "c"], "present: [1], absent: [0]")
    with pytest.raises(ConfigError, match="lists no value of column 'finding'") as error:
        read(root, "t.csv", "m.yaml")
    assert "'yes', 'no'" in error.value.fix


def test_a_star_does_not_match_texts_that_mean_no_value(tmp_path: Path) -> None:
    root = _write_small_table(tmp_path, ["Pneumonia", "NA", "clear"], ["a", "b", "c"], 'present: "*", absent: [clear]')
    states = read(root, "t.csv", "m.yaml")["native:Pneumonia"]
    assert [None if pd.isna(s) else int(s) for s in states] == [1, None, 0]


def test_a_text_that_means_no_value_is_not_a_patient(tmp_path: Path) -> None:
    root = _write_small_table(tmp_path, ["x", "y", "x"], ["a", "NA", "NA"], "present: [x], absent: [y]")
    fault = read(root, "t.csv", "m.yaml")[FAULT].tolist()
    assert [text[:4] for text in fault] == ["", "'NA'", "'NA'"]


SEVERAL = 'image: "{filename}"\npatient: filename\nseparator: "|"\nfindings:\n  Edema: %s\n'


def test_a_cell_of_several_labels_is_split(tmp_path: Path) -> None:
    cells = ["Edema|Mass", "Mass", "Mass | Edema?", "todo|Mass", "", "No Finding"]
    rows = pd.DataFrame({"filename": [f"{i}.png" for i in range(6)], "labels": cells})
    rule = "{column: labels, present: [Edema], uncertain: ['Edema?'], doubtful: [todo], absent: '*'}"
    table = write_and_read(tmp_path, SEVERAL % rule, rows=rows)
    assert table["native:Edema"].fillna(-9).tolist() == [1, 0, -1, -9, -9, 0]
    listed = write_and_read(tmp_path, SEVERAL % "{column: labels, present: [Edema], absent: [No Finding]}", rows=rows)
    assert listed["native:Edema"].fillna(-9).tolist() == [1, -9, -9, -9, -9, 0]
    assert [r.found for r in remarks(listed, tmp_path)] == [
        "6 cells have other values: 'Mass' (4), 'Edema?' (1), 'todo' (1)"
    ]


def test_a_separator_is_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="separator is 1"):
        write_and_read(tmp_path, MAPPING + "separator: 1\n")


def test_each_split_may_have_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAPPING)
    ROWS.iloc[:2].to_csv(tmp_path / "train.csv", index=False)
    ROWS.iloc[2:].to_csv(tmp_path / "valid.csv", index=False)
    table = read(tmp_path, (("train", "train.csv"), ("val", "valid.csv")), "map.yaml")
    assert table["split"].tolist() == ["train", "train", "val", "val", "val"]
    whole = write_and_read(tmp_path)
    whole = whole.reset_index(drop=True)
    pd.testing.assert_frame_equal(table.drop(columns="split"), whole.drop(columns="split"), check_like=True)
    split = MAPPING + "split: {column: modality, train: [X-ray]}\n"
    (tmp_path / "map.yaml").write_text(split)
    with pytest.raises(ConfigError, match="both the data file and the mapping state the splits"):
        read(tmp_path, (("train", "train.csv"), ("val", "valid.csv")), "map.yaml")
