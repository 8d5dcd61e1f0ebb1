"""Tests of label sources: other labelers, radiologists, physicians, readers, and hybrid labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, touch, written

import harmonize
from bench.results.read_predictions import _bundled_states as bundled_states
from bench.results.read_predictions import mapped_states
from harmonize import CohortSpec
from harmonize.cohorts import label_mapping
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.specs import with_gold
from harmonize.datasets import FAULT, chexpert, mimic, nih, padchest, vindr
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import label_sources, labels_yaml
from harmonize.labels.states import states


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
    assert set(label_sources("mimic")) | {"default"} == {*mimic._FILES, mimic.GOLD_LABEL_SOURCE}
    assert set(label_sources("padchest")) == set(padchest.METHODS)
    for layout, sources in labels_yaml()["label_sources"].items():
        for name, entry in sources.items():
            assert entry["reference"] in ("report", "radiologist"), (layout, name)
            assert entry["title"]
            assert entry["says"]
            assert entry["source"]


NIH_FILES = "four_findings_expert_labels/test_labels.csv", "four_findings_expert_labels/validation_labels.csv"


def write_nih_expert(root: Path, states: dict[str, list[int | None]]) -> CohortSpec:
    """Write the example of the layout nih with expert states of its four images; two are in the split test, two in train."""
    table = TABLES["nih"]()
    for label in nih.EXPERT_LABELS:
        table[f"expert:{label}"] = pd.Series(states.get(label, [0, None, 0, 0]), dtype="Int8")
    nih.write(table, root)
    touch(table, root)
    return CohortSpec("nih", "nih", root)


def test_the_radiologists_of_nih_are_a_label_source_and_a_gold_subset(tmp_path: Path) -> None:
    spec = write_nih_expert(
        tmp_path,
        {"Pneumothorax": [1, None, 0, 0], "Nodule or mass": [0, None, 1, None], "Airspace opacity": [1, None, 1, 0]},
    )
    assert all((tmp_path / name).is_file() for name in NIH_FILES)
    findings = (
        "Pneumothorax",
        "Lung Lesion",
        "Lung Opacity",
        "Fracture",
        "Cardiomegaly",
        "No Finding",
        "Mass",
        "Abnormal",
    )
    expert = harmonize.load(replace(spec, label_source="expert"), findings=findings).table.set_index("image_id")
    found = {finding: expert[finding].fillna(-9).tolist() for finding in findings}
    assert found == {
        "Pneumothorax": [1, -9, 0, 0],
        "Lung Lesion": [0, -9, 1, -9],
        "Lung Opacity": [1, -9, 1, 0],
        "Fracture": [0, -9, 0, 0],
    } | dict.fromkeys(("Cardiomegaly", "No Finding", "Mass", "Abnormal"), [-9] * 4)
    gold_spec = with_gold({"nih": spec}, ["nih-gold"])["nih-gold"]
    gold = harmonize.load(gold_spec, findings=findings)
    assert gold.table["image_id"].tolist() == expert.index[[0, 2, 3]].tolist()
    assert gold.table["Lung Lesion"].fillna(-9).tolist() == [0, 1, -9]
    assert gold.facts["reference"] == "radiologist"
    assert label_mapping.source_of("nih", gold.facts) == "expert"
    # the report labels of the same images
    report = harmonize.load(replace(gold_spec, label_source="default"))
    assert report.table["image_id"].tolist() == gold.table["image_id"].tolist()
    assert report.table["Lung Lesion"].tolist() == [0, 0, 1]
    assert label_mapping.source_of("nih", report.facts) == "default"


def test_the_expert_labels_of_nih_change_no_finding_of_the_default_source(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path / "plain")
    plain, more = harmonize.load(spec).table, harmonize.load(write_nih_expert(tmp_path / "more", {})).table
    pd.testing.assert_frame_equal(more[list(plain)], plain)


def test_other_mappings_keep_the_expert_labels_of_nih(tmp_path: Path) -> None:
    spec = write_nih_expert(tmp_path, {"Nodule or mass": [1, None, 0, 0]})
    tables = [harmonize.load(replace(spec, label_source="expert"), mapping).table for mapping in label_mapping.MAPPINGS]
    assert [table["Lung Lesion"].fillna(-9).tolist() for table in tables] == [[1, -9, 0, 0]] * 3


def test_a_hybrid_cohort_of_nih_takes_one_finding_from_the_radiologists(tmp_path: Path) -> None:
    spec = write_nih_expert(tmp_path, {"Pneumothorax": [1, None, 0, 1]})
    table = harmonize.load(replace(spec, hybrid=(("Pneumothorax", "expert"),))).table
    assert table["Pneumothorax"].fillna(-9).tolist() == [1, -9, 0, 1]
    assert table["Cardiomegaly"].tolist() == harmonize.load(spec).table["Cardiomegaly"].tolist()


def test_the_label_source_expert_of_nih_without_its_files_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no four_findings_expert_labels/test_labels\.csv"):
        harmonize.load(replace(on_disk("nih", tmp_path), label_source="expert"))


@pytest.mark.parametrize(
    "name", ["four_findings_expert_labels_test_labels.csv", "google2019_nih-chest-xray-labels.csv"]
)
def test_the_expert_labels_of_nih_may_have_the_file_names_of_copies(name: str, tmp_path: Path) -> None:
    spec = write_nih_expert(tmp_path, {})
    expected = nih.read(tmp_path)
    rows = pd.concat([pd.read_csv(tmp_path / file, dtype=str, keep_default_na=False) for file in NIH_FILES])
    shutil.rmtree(tmp_path / "four_findings_expert_labels")
    rows.to_csv(tmp_path / name, index=False)
    pd.testing.assert_frame_equal(nih.read(spec.root), expected)


def changed(root: Path, name: str, **cells: str) -> pd.DataFrame:
    """Return the rows of a file as text, with other cells in the first row."""
    rows = pd.read_csv(root / name, dtype=str, keep_default_na=False)
    for column, text in cells.items():
        rows.loc[0, column] = text
    return rows


def test_an_expert_cell_of_nih_that_is_not_yes_or_no_is_a_bad_row_with_its_place(tmp_path: Path) -> None:
    write_nih_expert(tmp_path, {})
    rows = changed(tmp_path, NIH_FILES[0], Pneumothorax="HEDGE")
    rows.to_csv(tmp_path / NIH_FILES[0], index=False)
    table = nih.read(tmp_path)
    fault = table.set_index("image_id")[FAULT]
    assert fault[fault != ""].to_dict() == {
        rows["Image Index"].iloc[0]: "'HEDGE' in column 'Pneumothorax' is not YES or NO at test_labels.csv:2"
    }


def test_opposite_expert_labels_of_an_image_of_nih_are_a_fault_and_equal_rows_count_once(tmp_path: Path) -> None:
    write_nih_expert(tmp_path, {})
    expected = nih.read(tmp_path)
    rows = pd.read_csv(tmp_path / NIH_FILES[0], dtype=str, keep_default_na=False)
    pd.concat([rows, rows]).to_csv(tmp_path / NIH_FILES[0], index=False)
    pd.testing.assert_frame_equal(nih.read(tmp_path), expected)
    image = rows["Image Index"].iloc[0]
    other = changed(tmp_path, NIH_FILES[0], Fracture="YES")
    pd.concat([rows, other]).to_csv(tmp_path / NIH_FILES[0], index=False)
    fault = nih.read(tmp_path).set_index("image_id")[FAULT]
    assert list(fault[fault != ""].index) == [image]
    assert "test_labels.csv:" in fault[image]
    rows.to_csv(tmp_path / NIH_FILES[0], index=False)
    other.to_csv(tmp_path / NIH_FILES[1], index=False)  # the other set of images, with an image of the first
    fault = nih.read(tmp_path).set_index("image_id")[FAULT]
    assert list(fault[fault != ""].index) == [image]
    assert "validation_labels.csv" in fault[image]


def test_expert_labels_of_nih_with_ids_of_another_form_raise_an_error_and_other_images_are_ignored(
    tmp_path: Path,
) -> None:
    write_nih_expert(tmp_path, {})
    rows = pd.read_csv(tmp_path / NIH_FILES[0], dtype=str, keep_default_na=False)
    (tmp_path / NIH_FILES[1]).unlink()
    stray = rows.iloc[:1].assign(**{"Image Index": "00030000_000.png"})
    expected = nih.read(tmp_path)
    pd.concat([rows, stray]).to_csv(tmp_path / NIH_FILES[0], index=False)
    pd.testing.assert_frame_equal(nih.read(tmp_path), expected)
    short = rows["Image Index"].str.removesuffix(".png")
    rows.assign(**{"Image Index": short}).to_csv(tmp_path / NIH_FILES[0], index=False)
    with pytest.raises(DatasetError, match=r"endings of file names differ") as caught:
        nih.read(tmp_path)
    assert caught.value.where.endswith("test_labels.csv")


def test_a_page_instead_of_the_expert_labels_of_nih_raises_an_error_with_the_missing_column(tmp_path: Path) -> None:
    write_nih_expert(tmp_path, {})
    (tmp_path / NIH_FILES[0]).write_text("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n")
    with pytest.raises(DatasetError, match="no column 'Image Index'") as caught:
        nih.read(tmp_path)
    assert caught.value.where.endswith("test_labels.csv")


def test_the_labels_of_all_findings_of_nih_are_a_label_source_of_their_images(tmp_path: Path) -> None:
    table = TABLES["nih"]()
    for label in nih.ALL_FINDINGS_LABELS:
        present = label in ("Abnormal", "Effusion", "Nodule", "Pleural Thickening")
        table[f"all_findings:{label}"] = pd.Series([None, None, int(present), None], dtype="Int8")
    nih.write(table, tmp_path)
    touch(table, tmp_path)
    written = pd.read_csv(tmp_path / "all_findings_expert_labels/test_labels.csv", dtype=str)
    assert {"Image ID", "Patient ID", *nih.ALL_FINDINGS_LABELS} <= set(written)
    found = nih.read(tmp_path, "all_findings").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, table, check_like=True)
    findings = ("Pleural Effusion", "Lung Lesion", "Pleural Thickening", "Abnormal", "Edema", "No Finding")
    cohort = harmonize.load(CohortSpec("nih", "nih", tmp_path, label_source="all_findings"), findings=findings)
    state = cohort.table.set_index("image_id")[list(findings)].fillna(-9)
    assert state.loc["00000002_000.png"].tolist() == [1, 1, 1, 1, 0, -9]
    assert (state.drop("00000002_000.png") == -9).all(axis=None)
    assert cohort.facts["reference"] == "radiologist"
    with pytest.raises(DatasetError, match=r"no all_findings_expert_labels/test_labels\.csv"):
        harmonize.load(replace(on_disk("nih", tmp_path / "plain"), label_source="all_findings"))


def test_the_report_labels_of_the_gold_subset_of_mimic_are_kept_for_the_gap(tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    for label in mimic.LABELS:
        table[f"expert:{label}"] = pd.Series([1, 1, None, None, int(label == "Edema")], dtype="Int8")
    mimic.write(table, tmp_path)
    touch(table, tmp_path)
    findings = ("Edema", "Pneumonia", "Abnormal", "Hernia")
    spec = with_gold({"mimic": CohortSpec("mimic", "mimic", tmp_path)}, ["mimic-gold"])["mimic-gold"]
    gold = harmonize.load(spec, findings=findings).table.set_index("image_id", drop=False)
    assert gold.index.tolist() == ["aa", "ae"]
    assert states(gold, findings).tolist() == [[1, 1, 1, -3], [1, 0, 1, -3]]
    # the program found Edema in the first report, and nothing in the second
    assert {name: of.tolist() for name, of in mapped_states(gold, "mimic", "default", findings).items()} == {
        "report": [[1, -2, 1, -3], [-2, -2, -3, -3]]
    }
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert not mapped_states(harmonize.load(spec, findings=findings).table, "mimic", "default", findings)


def test_the_report_labels_of_the_gold_subset_of_nih_are_kept_for_the_gap(tmp_path: Path) -> None:
    spec = write_nih_expert(tmp_path, {"Nodule or mass": [1, None, 0, None], "Pneumothorax": [0, None, 1, 0]})
    findings = ("Lung Lesion", "Pneumothorax", "Edema")
    table = harmonize.load(with_gold({"nih": spec}, ["nih-gold"])["nih-gold"], findings=findings).table
    assert states(table, findings).tolist() == [[1, 0, -3], [0, 1, -3], [-3, 0, -3]]
    reports = mapped_states(table, "nih", "default", findings)
    # the last image has a mass by its report, but no expert said anything about it
    assert {name: state.tolist() for name, state in reports.items()} == {
        "report": [[0, 0, -3], [0, 0, -3], [-3, 0, -3]]
    }
    assert not mapped_states(harmonize.load(spec, findings=findings).table, "nih", "default", findings)
    ids = {name: {text: number for number, text in enumerate(table[name])} for name in ("image_id", "patient_id")}
    splits = dict.fromkeys(table["image_id"], "test")
    pseudonyms = pytest.importorskip("bench.extensions.bundles.pseudonyms")
    ordinals = pseudonyms.Ordinals("5f", ids["image_id"], ids["patient_id"])
    bundled = pseudonyms.columns_of(table, splits, ordinals, "nih", "default", findings)
    assert "report:Lung Lesion" in bundled  # a bundle has both labels, so its gap has the same component
    assert {"report": reports["report"].tolist()} == {
        name: state.tolist() for name, state in bundled_states(bundled, findings).items()
    }
