"""Tests of the data file (--data) and of splits."""

from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, written

import harmonize
from harmonize import CohortSpec
from harmonize.cohorts.splits import assign, position, refuse_two_splits, resampled, rule
from harmonize.errors import ConfigError, DatasetError

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_a_data_folder_gives_the_cohorts_of_its_layouts(tmp_path: Path) -> None:
    for name in ("nih", "brax", "unknown"):
        (tmp_path / name).mkdir()
    specs = harmonize.read_data(tmp_path)
    assert list(specs) == ["nih", "brax"]
    assert specs["nih"] == CohortSpec("nih", "nih", tmp_path / "nih")
    with pytest.raises(DatasetError, match="no cohort in this folder"):
        harmonize.read_data(tmp_path / "nih")


def test_roots_in_a_data_file_are_relative_to_its_folder(tmp_path: Path) -> None:
    on_disk("table", tmp_path / "own")
    (tmp_path / "data.yaml").write_text(
        "my-nih: {layout: nih, root: nih}\n"
        "external: {layout: nih, root: /data/nih}\n"
        "own: {layout: table, root: own, table: table.csv, mapping: mapping.yaml}\n"
    )
    specs = harmonize.read_data(tmp_path / "data.yaml")
    assert specs["my-nih"].root == tmp_path / "nih"
    assert specs["external"].root == Path("/data/nih")
    assert specs["own"].mapping == str(tmp_path / "own/mapping.yaml")  # the folder of data.yaml has no mapping.yaml yet
    assert harmonize.load(specs["own"]).flow["kept"] == 2
    (tmp_path / "mapping.yaml").write_text((tmp_path / "own/mapping.yaml").read_text())
    assert harmonize.read_data(tmp_path / "data.yaml")["own"].mapping == str(tmp_path / "mapping.yaml")
    (tmp_path / "mapping.yaml").write_text((tmp_path / "own/mapping.yaml").read_text() + "keep: [sex]\n")
    with pytest.raises(ConfigError, match="are two different mapping files"):  # the mapping of which hospital is meant?
        harmonize.read_data(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: {layout: nhi, root: x}", "no layout 'nhi'", "did you mean 'nih'?"),
        ("a: {layout: nih, rot: x}", "unknown key 'rot'", "did you mean 'root'?"),
        ("a: {layout: nih}", "the key root is missing", "root:"),
        ("a: nih", "not a block of keys", "layout: nih"),
        ("a/b: {layout: nih, root: x}", "invalid cohort name", "letters"),
        (f"{'x' * 81}: {{layout: nih, root: x}}", "invalid cohort name", "at most 80 characters"),
        ("a: {layout: table, root: x, table: t.csv}", "needs the keys table and mapping", "mapping"),
        ("a: {layout: nih, root: x, table: t.csv}", "is only valid with the layout `table`", "layout: table"),
        ("a: {layout: table, root: ., table: t.csv, mapping: m.yaml}", "no mapping file", "put the file into"),
        ("[]", "no cohorts", "nih"),
        ("a: {layout: nih, root: x}\na: {layout: nih, root: y}", "repeated", "line"),
    ],
)
def test_an_error_in_a_data_file_states_the_file_and_the_fix(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        harmonize.read_data(tmp_path / "data.yaml")
    assert message in caught.value.what
    assert hint in caught.value.fix
    assert "data.yaml" in caught.value.where


def patients(number: int, split: str = "") -> pd.DataFrame:
    return pd.DataFrame({"patient_id": [f"p{k // 2}" for k in range(2 * number)], "split": split})


def test_official_splits_stay_and_missing_splits_are_taken_from_train() -> None:
    train, test = patients(3000, "train"), patients(500, "test").assign(patient_id=lambda t: "t" + t["patient_id"])
    table = pd.concat([train, test, patients(5, "expert_valid").assign(patient_id="e")], ignore_index=True)
    split = assign(table, SHARES)
    assert (split[table["split"] == "test"] == "test").all()
    assert (split[table["split"] == "expert_valid"] == "expert_valid").all()
    from_train = split[table["split"] == "train"]
    assert set(from_train) == {"train", "val"}
    assert 0.09 < (from_train == "val").mean() < 0.135  # 0.1 / 0.9
    refuse_two_splits(table, split)


def test_without_official_splits_all_patients_are_divided_by_their_shares() -> None:
    table = patients(5000)
    split = assign(table, SHARES)
    assert split.value_counts(normalize=True).round(1).to_dict() == SHARES
    refuse_two_splits(table, split)


def test_a_table_with_only_a_test_split_does_not_change() -> None:
    assert set(assign(patients(50, "test"), SHARES)) == {"test"}


def test_rows_without_a_split_follow_their_patient() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "split": ["test", "", "train", ""]})
    split = assign(table, {"train": 1.0, "test": 0.5})
    assert split.tolist() == ["test", "test", "train", "train"]


def test_the_hash_position_of_a_patient_is_fixed() -> None:
    assert round(position("patient00001"), 9) == 0.373117629


def test_patients_in_two_splits_raise_an_error_with_their_number() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b", "b", "c"], "split": ["train", "test", "val", "val", ""]})
    with pytest.raises(DatasetError, match="1 patients are in more than one split"):
        refuse_two_splits(table, table["split"], "here.csv")


def test_a_split_is_published_as_a_rule_without_patient_ids() -> None:
    text = rule(SHARES)
    assert "train 0.8, val 0.1, test 0.1" in text
    assert "SHA-256" in text


@pytest.mark.parametrize("layout", [name for name in TABLES if name != "table"])
def test_the_folder_of_one_dataset_gives_an_error_that_names_the_layout(layout: str, tmp_path: Path) -> None:
    written(layout, tmp_path / layout)
    with pytest.raises(DatasetError) as caught:
        harmonize.read_data(tmp_path / layout)
    assert caught.value.fix == f"this is the {layout} folder: use its parent folder"
    (tmp_path / layout).rename(tmp_path / "other")
    with pytest.raises(DatasetError) as caught:
        harmonize.read_data(tmp_path / "other")
    assert f"`{layout}: {{layout: {layout}, root: ...}}`" in caught.value.fix


def test_each_seed_divides_train_and_val_anew_and_test_patients_stay() -> None:
    table = pd.DataFrame({"patient_id": [f"p{i // 2}" for i in range(4000)], "split": ""})
    split = assign(table, SHARES)
    drawn = [resampled(table, split, 1 / 9, seed) for seed in (0, 1, 1)]
    assert drawn[1].equals(drawn[2])
    assert not drawn[0].equals(drawn[1])
    for each in drawn:
        refuse_two_splits(table, each)
        assert (each[split == "test"] == "test").all()
        assert (each == "val").sum() == pytest.approx((split == "val").sum(), rel=0.2)
    of_bundle = split[split != "train"]  # a bundle has no training images
    assert resampled(table.loc[of_bundle.index], of_bundle, 1 / 9, 0).equals(of_bundle)
