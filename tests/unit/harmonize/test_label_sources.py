"""Tests of label sources: other labelers, radiologists, physicians, readers, and hybrid labels."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, touch, written

import harmonize
from harmonize import CohortSpec, DatasetError
from harmonize.cohorts import label_mapping
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.datasets import chexpert, mimic, padchest, vindr
from harmonize.errors import ConfigError
from harmonize.labels.findings import label_sources, labels_yaml


def write_other_labels(root: Path, name: str, edema: str, bare: bool = False) -> None:
    """Write another labeler's file: train.csv with another Edema column."""
    raw = pd.read_csv(root / "train.csv", dtype=str, keep_default_na=False).assign(Edema=edema)
    if bare:
        raw = raw.drop(columns=["Sex", "Age", "Frontal/Lateral", "AP/PA"])
    raw.to_csv(root / name, index=False)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name"), [(s, n) for s, n in chexpert.TRAIN.items() if s != "default"])
@pytest.mark.parametrize("bare", [False, True])
def test_another_labeler_of_chexpert_changes_only_the_training_labels(
    source: str, name: str, bare: bool, tmp_path: Path
) -> None:
    spec = on_disk("chexpert", tmp_path)
    write_other_labels(tmp_path, name, "0.0", bare)
    default, other = harmonize.load(spec), harmonize.load(replace(spec, label_source=source))
    train = default.table["split"] == "train"
    assert other.table["Edema"][train].tolist() == [0, 0, 0]
    assert other.table["Edema"][~train].tolist() == default.table["Edema"][~train].tolist() == [1, 0]
    for column in ("image_id", "view", "sex", "age", "Lung Lesion"):
        assert other.table[column].fillna(-9).tolist() == default.table[column].fillna(-9).tolist(), column
    assert other.id != default.id


def test_a_label_source_without_its_file_raises_an_error(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    with pytest.raises(DatasetError, match=r"train_cheXbert\.csv"):
        harmonize.load(replace(spec, label_source="chexbert"))
    spec = on_disk("mimic", tmp_path / "mimic")
    with pytest.raises(DatasetError, match=r"mimic-cxr-\*-negbio\.csv"):
        harmonize.load(replace(spec, label_source="negbio"))


@pytest.mark.parametrize(("layout", "source"), [("nih", "chexbert"), ("table", "expert"), ("vindr", "mean_vote")])
def test_an_unknown_label_source_raises_an_error(layout: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no label source") as caught:
        harmonize.load(replace(on_disk(layout, tmp_path), label_source=source))
    assert "default" in caught.value.fix


def test_mimic_can_be_loaded_with_the_labels_of_negbio(tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    raw = pd.read_csv(tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz", dtype=str, keep_default_na=False)
    raw.assign(Edema="-1.0").to_csv(tmp_path / "mimic-cxr-2.0.0-negbio.csv", index=False)
    assert harmonize.load(spec).table["Edema"].tolist() == [1, -2, -2]
    assert harmonize.load(replace(spec, label_source="negbio")).table["Edema"].tolist() == [-1, -1, -1]
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert harmonize.load(spec).table["Edema"].tolist() == [-1, -1, -1]  # the one that is there
    with pytest.raises(DatasetError, match=r"chexpert\.csv"):
        harmonize.load(replace(spec, label_source="chexpert"))


def test_the_radiologists_of_mimic_2_1_0_are_a_label_source_and_a_gold_subset(tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    for label in mimic.LABELS:
        table[f"expert:{label}"] = pd.Series([None, None, None, None, int(label == "Edema")], dtype="Int8")
    mimic.write(table, tmp_path)
    touch(table, tmp_path)
    spec = CohortSpec("mimic-expert", "mimic", tmp_path, label_source="expert")
    cohort = harmonize.load(spec)
    assert cohort.table["Edema"].fillna(-9).tolist() == [-9, -9, 1]
    assert cohort.table["Pneumonia"].fillna(-9).tolist() == [-9, -9, 0]
    assert cohort.flow["unlabelled"] == 2
    gold = harmonize.load(replace(spec, choice=replace(spec.choice, gold=True)))
    assert gold.table["image_id"].tolist() == ["ae"]
    assert gold.flow["not_gold"] == 2
    assert label_mapping.reference("mimic", "test", "expert") == "radiologist"
    assert label_mapping.facts("mimic", "expert", gold.table["split"])["reference"] == "radiologist"


@pytest.mark.parametrize(("source", "method"), list(padchest.METHODS.items()))
def test_padchest_can_be_loaded_with_the_rows_of_one_label_method(source: str, method: str, tmp_path: Path) -> None:
    spec = on_disk("padchest", tmp_path)
    spec = replace(spec, choice=CohortChoice(views="all"))
    cohort = harmonize.load(replace(spec, label_source=source))
    assert set(cohort.table["label_source"]) == {method}
    default = harmonize.load(spec)
    assert cohort.flow["found"] == default.flow["found"]
    assert cohort.flow[f"not_by_{source}"] > 0


@pytest.mark.slow
def test_vindr_has_three_ways_to_combine_readers(tmp_path: Path) -> None:
    written("vindr", tmp_path)
    path = tmp_path / "annotations/image_labels_train.csv"
    raw = pd.read_csv(path)
    number = raw.groupby("image_id").cumcount()
    raw["Edema"], raw["COPD"], raw["ILD"] = number.lt(1).astype(int), number.lt(2).astype(int), 1
    raw.to_csv(path, index=False)
    labels = [f"native:{label}" for label in ("Edema", "COPD", "ILD")]
    states_of_source = {
        source: vindr.read(tmp_path, source).query("split == 'train'")[labels].iloc[0].tolist()
        for source in ("default", "majority", "any_reader", "all_readers")
    }
    assert states_of_source == {
        "default": [0, 1, 1],
        "majority": [0, 1, 1],
        "any_reader": [1, 1, 1],
        "all_readers": [0, 0, 1],
    }
    test = [vindr.read(tmp_path, source).query("split == 'test'") for source in ("default", "any_reader")]
    pd.testing.assert_frame_equal(*test)


@pytest.mark.slow
def test_hybrid_labels_take_each_finding_from_its_source(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    write_other_labels(tmp_path, "train_cheXbert.csv", "-1.0")
    write_other_labels(tmp_path, "train_visualCheXbert.csv", "1.0")
    (tmp_path / "data.yaml").write_text(
        "internal: {layout: chexpert, root: ., label_source: {default: chexbert, Edema: visualchexbert}}\n"
    )
    mixed = harmonize.read_data(tmp_path / "data.yaml")["internal"]
    assert (mixed.label_source, mixed.hybrid) == ("chexbert", (("Edema", "visualchexbert"),))
    table = harmonize.load(mixed).table
    plain = harmonize.load(replace(spec, label_source="chexbert")).table
    assert table["Edema"].tolist() == [1, 1, 1, 1, 0]
    assert plain["Edema"].tolist() == [-1, -1, -1, 1, 0]
    assert table.drop(columns="Edema").equals(plain.drop(columns="Edema"))


def test_the_adapters_accept_all_listed_label_sources() -> None:
    assert set(label_sources("chexpert")) | {"default"} == set(chexpert.TRAIN)
    assert set(label_sources("mimic")) | {"default"} == set(mimic._FILES)
    assert set(label_sources("padchest")) == set(padchest.METHODS)
    for layout, sources in labels_yaml()["label_sources"].items():
        for name, entry in sources.items():
            assert entry["reference"] in ("report", "radiologist"), (layout, name)
            assert entry["title"]
            assert entry["says"]
            assert entry["source"]
