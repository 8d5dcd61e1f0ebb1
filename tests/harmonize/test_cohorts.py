"""Label mapping, the whole way from disk to cohort, and splits."""

import pickle
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, touch

import harmonize
from harmonize import FINDINGS, CohortSpec, DatasetError, labelmap
from harmonize.datasets import BASE, LABELS, LAYOUTS, adapter, mimic, nih, padchest, vindr
from harmonize.errors import ConfigError
from harmonize.findings import labels_yaml, space
from harmonize.splits import assign, position, shared_patients

SIX = [layout for layout in LAYOUTS if layout != "table"]
each_dataset = pytest.mark.parametrize("layout", SIX)
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def on_disk(layout: str, root: Path) -> CohortSpec:
    table = TABLES[layout]()
    adapter(layout).write(table, root)
    touch(table, root)
    return CohortSpec(layout, layout, root, *(("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()))


# the reviewed table


@each_dataset
def test_every_dataset_states_all_nine_findings_and_who_labelled(layout: str) -> None:
    block = labels_yaml()["datasets"][layout]
    assert block["family"] in ("columns", "tokens")
    assert block["reference"] in ("report", "radiologist")
    assert block["licence"]
    assert block["title"]
    assert block["place"]
    for finding in space("shared-9"):
        entry = block["findings"][finding]
        assert entry["grade"] in ("exact", "approximate", "unmapped")
        assert bool(entry["native"]) == (entry["grade"] != "unmapped")
        assert entry["reason"]
        assert entry["source"]


@each_dataset
@pytest.mark.parametrize("mapping", labelmap.MAPPINGS)
def test_every_native_word_of_the_table_exists_in_its_dataset(layout: str, mapping: str) -> None:
    module = adapter(layout)
    if layout == "padchest":
        return  # 194 words; held against the real table in test_real_tables
    known = nih.TOKENS if layout == "nih" else module.LABELS
    for finding in labels_yaml()["datasets"][layout]["findings"]:
        assert set(labelmap.words(layout, finding, mapping)) <= set(known)


@pytest.mark.parametrize("name", labels_yaml()["spaces"])
def test_no_space_repeats_a_finding(name: str) -> None:
    assert len(set(space(name))) == len(space(name))


def test_the_expert_parts_are_labelled_by_radiologists() -> None:
    assert labelmap.reference("chexpert", "expert_valid") == "radiologist"
    assert labelmap.reference("chexpert", "train") == "report"
    assert labelmap.reference("vindr", "train") == "radiologist"
    assert labelmap.reference("table", "test") == "stated"


def test_a_misspelt_mapping_or_layout_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no mapping 'loose'"):
        labelmap.words("nih", "Edema", "loose")
    with pytest.raises(ConfigError, match="no layout 'chexprt'"):
        labelmap.block("chexprt")


# states


def test_the_states_of_the_chexpert_family_pass_unchanged(tmp_path: Path) -> None:
    table = harmonize.load(on_disk("chexpert", tmp_path)).table.set_index("image_id")
    assert table["Edema"].tolist() == [-2, 1, -2, 1, 0]
    assert table["Cardiomegaly"].tolist() == [-2, -1, -2, 0, 0]
    assert table["No Finding"].tolist() == [1, -2, -2, 0, 1]


def test_nih_words_become_present_or_absent() -> None:
    states = labelmap.apply(TABLES["nih"](), "nih")
    assert states["Cardiomegaly"].tolist() == [1, 1, 0, 0]
    assert states["Pleural Effusion"].tolist() == [0, 1, 0, 0]
    assert states["Lung Lesion"].tolist() == [0, 0, 0, 1]
    assert states["No Finding"].tolist() == [0, 0, 1, 0]


def test_padchest_normal_is_exclusive_and_silent_rows_are_null() -> None:
    states = labelmap.apply(TABLES["padchest"](), "padchest")
    no_finding = states["No Finding"]
    assert no_finding.fillna(-9).tolist() == [1, 0, -9, 0, -9, 0, -9]
    assert states["Cardiomegaly"].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_padchest_words_match_whole_words_only() -> None:
    rows = ["pneumonia", "atypical pneumonia", "soft tissue mass", "alveolar pattern", "normal|unchanged"]
    table = pd.DataFrame({LABELS: rows})
    assert labelmap.apply(table, "padchest")["Pneumonia"].tolist() == [1, 1, 0, 0, 0]
    assert labelmap.apply(table, "padchest", "strict")["Pneumonia"].tolist() == [1, 0, 0, 0, 0]
    assert labelmap.apply(table, "padchest")["Lung Lesion"].tolist() == [0] * 5
    assert labelmap.apply(table, "padchest")["Consolidation"].tolist() == [0] * 5
    assert labelmap.apply(table, "padchest", "broad")["Consolidation"].tolist() == [0, 0, 0, 1, 0]
    assert labelmap.apply(table, "padchest")["No Finding"].tolist() == [0, 0, 0, 0, 1]


def test_of_several_native_labels_the_strongest_statement_counts() -> None:
    cells = {"native:Nodule/Mass": [0, 0, -1, None, None], "native:Lung tumor": [1, -1, 0, 0, None]}
    table = pd.DataFrame({name: pd.Series(states, dtype="Int8") for name, states in cells.items()})
    lesion = labelmap.apply(table, "vindr")["Lung Lesion"]
    assert lesion.fillna(-9).tolist() == [1, -1, -1, 0, -9]


@each_dataset
def test_a_finding_that_a_dataset_does_not_know_is_null_never_absent(layout: str) -> None:
    states = labelmap.apply(TABLES[layout](), layout, findings=("Edema", "No such finding"))
    assert states["No such finding"].isna().all()
    assert not states["Edema"].isna().all()


# from disk to cohort


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cohort_holds_frontal_images_and_counts_every_other(layout: str, tmp_path: Path) -> None:
    cohort = harmonize.load(on_disk(layout, tmp_path))
    assert set(cohort.table["view"]) <= {"PA", "AP", "FRONTAL"}
    assert [*BASE] == list(cohort.table)[: len(BASE)]
    assert list(FINDINGS) == list(cohort.table)[-len(FINDINGS) :]
    assert all(cohort.table[finding].dtype == pd.Int8Dtype() for finding in FINDINGS)
    flow = dict(cohort.flow)
    del flow["contradictory"]
    found, kept = flow.pop("found"), flow.pop("kept")
    assert found - sum(flow.values()) == kept == len(cohort.table)
    assert not cohort.phantom
    assert cohort.quarantine.empty


def test_dropped_rows_are_counted_by_reason(tmp_path: Path) -> None:
    flow = harmonize.load(on_disk("padchest", tmp_path)).flow
    assert flow == {
        "found": 7,
        "no_labels": 1,
        "pediatric": 1,
        "not_frontal": 2,
        "absent": 0,
        "kept": 3,
        "contradictory": 0,
    }


def test_an_image_listed_but_absent_goes_to_the_quarantine(tmp_path: Path) -> None:
    spec = on_disk("brax", tmp_path)
    path = TABLES["brax"]()["path"][0]
    other = tmp_path / "images/id_z/other.png"
    other.parent.mkdir(parents=True)
    other.touch()
    (tmp_path / path).unlink()
    with pytest.raises(DatasetError, match="no image is left"):
        harmonize.load(spec)
    spec = on_disk("nih", tmp_path / "nih")
    (tmp_path / "nih/images_012/images/00000013_005.png").unlink()
    cohort = harmonize.load(spec)
    assert cohort.quarantine.to_dict("records") == [
        {"image_id": "00000013_005.png", "path": "", "reason": "listed but absent"}
    ]
    assert cohort.flow["absent"] == 1


def test_a_repeated_image_id_is_refused(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    path = tmp_path / nih.ENTRIES[0]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(DatasetError, match="1 image ids are repeated"):
        harmonize.load(spec)


def test_a_patient_in_two_official_splits_is_refused_without_naming_the_patient(tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    table["split"] = ["train", "train", "val", "test", "test"]
    mimic.write(table, tmp_path)
    touch(table, tmp_path)
    with pytest.raises(DatasetError, match="1 patients are in more than one split") as caught:
        harmonize.load(CohortSpec("mimic", "mimic", tmp_path))
    assert "10000002" not in str(caught.value)
    assert str(tmp_path) in caught.value.where


def test_a_blank_patient_id_is_refused(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[1, "patient_id"] = ""
    padchest.write(table, tmp_path)
    with pytest.raises(DatasetError, match="1 rows have no patient_id"):
        harmonize.load(CohortSpec("padchest", "padchest", tmp_path))


@pytest.mark.parametrize("bad", ["../outside.png", "/etc/passwd", "images/../../x.png", "C:/x.png"])
def test_a_path_that_leaves_the_root_is_refused(bad: str, tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    raw = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False)
    raw.loc[1, "path"] = bad
    raw.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(DatasetError, match="leave the root"):
        harmonize.load(spec)


def test_contradictory_labels_are_kept_and_counted(tmp_path: Path) -> None:
    table = TABLES["vindr"]()
    table.loc[0, "native:Edema"] = 1
    table.loc[3, "native:No finding"] = 1
    table.loc[3, "native:Lung tumor"] = 1
    vindr.write(table, tmp_path)
    touch(table, tmp_path)
    assert harmonize.load(CohortSpec("vindr", "vindr", tmp_path)).flow["contradictory"] == 2


def test_phantoms_are_known_by_their_settings_file(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    (tmp_path / "phantom.json").write_text("{}")
    assert harmonize.load(spec).phantom


def test_the_id_follows_the_table_and_the_mapping(tmp_path: Path) -> None:
    spec = on_disk("padchest", tmp_path)
    cohort = harmonize.load(spec)
    assert len(cohort.id) == 12
    assert cohort.id == harmonize.load(spec).id
    table = TABLES["padchest"]()
    table.loc[0, "device"] = "another"
    padchest.write(table, tmp_path)
    assert harmonize.load(spec).id != cohort.id
    own = on_disk("table", tmp_path / "own")
    before = harmonize.load(own).id
    mapping = tmp_path / "own/mapping.yaml"
    mapping.write_text(mapping.read_text() + "# a remark\n")
    assert harmonize.load(own).id != before


def test_errors_survive_the_way_between_processes() -> None:
    error = DatasetError("what", "where", "fix")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# --data


def test_a_data_folder_gives_the_layouts_it_holds(tmp_path: Path) -> None:
    for name in ("nih", "brax", "unknown"):
        (tmp_path / name).mkdir()
    specs = harmonize.read_data(tmp_path)
    assert list(specs) == ["nih", "brax"]
    assert specs["nih"] == CohortSpec("nih", "nih", tmp_path / "nih")
    with pytest.raises(DatasetError, match="no cohort in this folder"):
        harmonize.read_data(tmp_path / "nih")


def test_a_data_file_names_cohorts_relative_to_itself(tmp_path: Path) -> None:
    on_disk("table", tmp_path / "own")
    (tmp_path / "data.yaml").write_text(
        "my-nih: {layout: nih, root: nih}\n"
        "away: {layout: nih, root: /data/nih}\n"
        "own: {layout: table, root: own, table: table.csv, mapping: mapping.yaml}\n"
    )
    specs = harmonize.read_data(tmp_path / "data.yaml")
    assert specs["my-nih"].root == tmp_path / "nih"
    assert specs["away"].root == Path("/data/nih")
    assert specs["own"].mapping == str(tmp_path / "own/mapping.yaml")  # none beside the file
    assert harmonize.load(specs["own"]).flow["kept"] == 2
    (tmp_path / "mapping.yaml").write_text((tmp_path / "own/mapping.yaml").read_text())
    assert harmonize.read_data(tmp_path / "data.yaml")["own"].mapping == str(tmp_path / "mapping.yaml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: {layout: nhi, root: x}", "no layout 'nhi'", "did you mean 'nih'?"),
        ("a: {layout: nih, rot: x}", "unknown key 'rot'", "did you mean 'root'?"),
        ("a: {layout: nih}", "no root", "root:"),
        ("a: nih", "not a cohort", "layout: nih"),
        ("a/b: {layout: nih, root: x}", "cannot be a cohort's name", "letters"),
        ("a: {layout: table, root: x, table: t.csv}", "needs a table and a mapping", "mapping"),
        ("a: {layout: nih, root: x, table: t.csv}", "belongs to the layout `table`", "layout: table"),
        ("a: {layout: table, root: x, table: t.csv, mapping: m.yaml}", "no mapping file", "beside"),
        ("[]", "no cohorts", "nih"),
        ("a: {layout: nih, root: x}\na: {layout: nih, root: y}", "repeated", "line"),
    ],
)
def test_a_faulty_data_file_is_named_with_its_mend(text: str, message: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        harmonize.read_data(tmp_path / "data.yaml")
    assert message in caught.value.what
    assert hint in caught.value.fix
    assert "data.yaml" in caught.value.where


# splits


def patients(number: int, split: str = "") -> pd.DataFrame:
    return pd.DataFrame({"patient_id": [f"p{k // 2}" for k in range(2 * number)], "split": split})


def test_official_parts_stay_and_missing_ones_are_carved_out_of_train() -> None:
    train, test = patients(3000, "train"), patients(500, "test").assign(patient_id=lambda t: "t" + t["patient_id"])
    table = pd.concat([train, test, patients(5, "expert_valid").assign(patient_id="e")], ignore_index=True)
    split = assign(table, SHARES)
    assert (split[table["split"] == "test"] == "test").all()
    assert (split[table["split"] == "expert_valid"] == "expert_valid").all()
    carved = split[table["split"] == "train"]
    assert set(carved) == {"train", "val"}
    assert 0.09 < (carved == "val").mean() < 0.135  # 0.1 / 0.9
    assert shared_patients(table, split) == 0


def test_without_official_splits_all_parts_are_carved_by_patient() -> None:
    table = patients(5000)
    split = assign(table, SHARES)
    assert split.value_counts(normalize=True).round(1).to_dict() == SHARES
    assert shared_patients(table, split) == 0


def test_a_table_that_only_tests_is_left_alone() -> None:
    assert set(assign(patients(50, "test"), SHARES)) == {"test"}


def test_rows_without_a_split_follow_their_patient() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "split": ["test", "", "train", ""]})
    split = assign(table, {"train": 1.0, "test": 0.5})
    assert split.tolist() == ["test", "test", "train", "train"]


def test_a_position_is_the_same_on_every_machine() -> None:
    assert round(position("patient00001"), 9) == 0.373117629


def test_shared_patients_are_counted() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b", "b", "c"], "split": ["train", "test", "val", "val", ""]})
    with pytest.raises(DatasetError, match="1 patients are in more than one split"):
        shared_patients(table, table["split"], "here.csv")
