"""The key `split` of a data file: splits of your own in place of the official ones of a published dataset."""

from dataclasses import replace
from pathlib import Path

import pytest
from native_tables import on_disk

import harmonize
from harmonize.errors import ConfigError, DatasetError


def own(folder: Path, split: str, layout: str = "nih") -> harmonize.CohortSpec:
    spec = on_disk(layout, folder)
    (folder / "data.yaml").write_text(f"mine: {{layout: {layout}, root: {spec.root}, split: {split}}}\n")
    return replace(harmonize.read_data(folder / "data.yaml")["mine"], choice=spec.choice)


def test_lists_of_ids_are_the_splits_and_other_images_are_left_out(tmp_path: Path) -> None:
    table = harmonize.load(on_disk("nih", tmp_path)).table
    first, second = table["patient_id"].unique()[:2]
    (tmp_path / "train.csv").write_text(f"patient_id\n{first}\n")
    image = table.loc[table["patient_id"] == second, "image_id"].iloc[0]
    (tmp_path / "valid.csv").write_text(f"image_id\n{image}\n")
    cohort = harmonize.load(own(tmp_path, "{train: train.csv, val: valid.csv}"))
    assert cohort.flow["in_no_split"] == cohort.flow["found"] - len(cohort.table)
    assert dict(zip(cohort.table["patient_id"], cohort.table["split"], strict=True)) == {first: "train", second: "val"}
    (tmp_path / "train.csv").write_text(f"patient_id\n{first}\nnobody\n")
    remarks = harmonize.load(own(tmp_path, "{train: train.csv, val: valid.csv}")).remarks
    assert any("1 of 3 ids of `split` (33 %) are not in the table" in remark.found for remark in remarks)


def test_an_image_in_two_lists_and_a_patient_in_two_splits_are_refused(tmp_path: Path) -> None:
    table = harmonize.load(on_disk("nih", tmp_path)).table
    patient = table["patient_id"].value_counts().index[0]  # with two images
    images = table.loc[table["patient_id"] == patient, "image_id"].tolist()
    for name, image in zip(("a.csv", "b.csv"), images, strict=False):
        (tmp_path / name).write_text(f"image_id\n{image}\n")
    with pytest.raises(DatasetError, match="1 patients are in more than one split"):
        harmonize.load(own(tmp_path, "{train: a.csv, test: b.csv}"))
    with pytest.raises(ConfigError, match="1 images are in two lists"):
        harmonize.load(own(tmp_path, "{train: a.csv, test: a.csv}"))


def test_shares_divide_the_patients_again_but_not_the_sets_of_experts(tmp_path: Path) -> None:
    official = harmonize.load(on_disk("chexpert", tmp_path)).table.set_index("image_id")["split"]
    cohort = harmonize.load(own(tmp_path, "{test: 1.0}", "chexpert"))
    split = cohort.table.set_index("image_id")["split"]
    expert = official.str.startswith("expert")
    assert expert.any()
    assert (split[expert.index[expert]] == official[expert]).all()
    assert set(split[expert.index[~expert]]) == {"test"}


@pytest.mark.parametrize(
    ("split", "what"),
    [
        ("{train: 0.5, val: valid.csv}", "split is {'train': 0.5, 'val': 'valid.csv'}"),
        ("{train: 0.5, test: 0.4}", "the shares of split sum to 0.9"),
        ("{validation: 1.0}", "unknown key 'validation'"),
        ("[a.csv]", "split is ['a.csv']"),
        ("{train: missing.csv}", "no file"),
    ],
)
def test_a_wrong_split_is_refused_with_its_place(split: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, split)
    assert what in caught.value.what
    assert "mine.split" in caught.value.where
