"""Tests of the label mapping table, and of the mapping from native labels to findings."""

from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, native_labels_of, on_disk

import harmonize
from harmonize.cohorts import label_mapping
from harmonize.datasets import LABELS, LAYOUTS
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml, space
from tests.nonempty import nonempty

PUBLISHED_LAYOUTS = [layout for layout in LAYOUTS if layout != "table"]
for_every_dataset = pytest.mark.parametrize("layout", PUBLISHED_LAYOUTS)


@for_every_dataset
def test_every_dataset_has_rules_for_all_nine_findings_and_a_label_reference(layout: str) -> None:
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


@for_every_dataset
@pytest.mark.parametrize("mapping", label_mapping.MAPPINGS)
def test_every_native_label_of_the_mapping_exists_in_its_dataset(layout: str, mapping: str) -> None:
    for finding in nonempty(labels_yaml()["datasets"][layout]["findings"]):
        assert set(label_mapping.native_labels(layout, finding, mapping)) <= native_labels_of(layout)


@pytest.mark.parametrize("name", labels_yaml()["spaces"])
def test_no_label_space_repeats_a_finding(name: str) -> None:
    assert len(set(space(name))) == len(space(name))


def test_the_labels_of_expert_splits_are_from_radiologists() -> None:
    assert label_mapping.reference("chexpert", "expert_valid") == "radiologist"
    assert label_mapping.reference("chexpert", "train") == "report"
    assert label_mapping.reference("vindr", "train") == "radiologist"
    assert label_mapping.reference("table", "test") == "stated"


def test_an_unknown_mapping_or_layout_raises_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no label mapping 'loose'"):
        label_mapping.native_labels("nih", "Edema", "loose")
    with pytest.raises(ConfigError, match="no layout 'chexprt'"):
        label_mapping.block("chexprt")


def test_the_states_of_the_chexpert_family_do_not_change(tmp_path: Path) -> None:
    table = harmonize.load(on_disk("chexpert", tmp_path)).table.set_index("image_id")
    assert table["Edema"].tolist() == [-2, 1, -2, 1, 0]
    assert table["Cardiomegaly"].tolist() == [-2, -1, -2, 0, 0]
    assert table["No Finding"].tolist() == [1, -2, -2, 0, 1]


def test_nih_labels_become_present_or_absent() -> None:
    states = label_mapping.apply(TABLES["nih"](), "nih")
    assert states["Cardiomegaly"].tolist() == [1, 1, 0, 0]
    assert states["Pleural Effusion"].tolist() == [0, 1, 0, 0]
    assert states["Lung Lesion"].tolist() == [0, 0, 0, 1]
    assert states["No Finding"].tolist() == [0, 0, 1, 0]


def test_padchest_normal_is_exclusive_and_rows_without_findings_are_null() -> None:
    states = label_mapping.apply(TABLES["padchest"](), "padchest")
    no_finding = states["No Finding"]
    assert no_finding.fillna(-9).tolist() == [1, 0, -9, 0, -9, 0, -9]
    assert states["Cardiomegaly"].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_padchest_labels_match_complete_labels_only() -> None:
    rows = ["pneumonia", "atypical pneumonia", "soft tissue mass", "alveolar pattern", "normal|unchanged"]
    table = pd.DataFrame({LABELS: rows})
    assert label_mapping.apply(table, "padchest")["Pneumonia"].tolist() == [1, 1, 0, 0, 0]
    assert label_mapping.apply(table, "padchest", "strict")["Pneumonia"].tolist() == [1, 0, 0, 0, 0]
    assert label_mapping.apply(table, "padchest")["Lung Lesion"].tolist() == [0] * 5
    assert label_mapping.apply(table, "padchest")["Consolidation"].fillna(-9).tolist() == [0, 0, 0, -9, 0]
    assert label_mapping.apply(table, "padchest", "broad")["Consolidation"].tolist() == [0, 0, 0, 1, 0]
    assert label_mapping.apply(table, "padchest")["No Finding"].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("layout", "finding", "row", "states"),  # states of the mappings default and broad
    [
        ("padchest", "Consolidation", "infiltrates", (None, None)),
        ("padchest", "Consolidation", "alveolar pattern", (None, 1)),
        ("padchest", "Consolidation", "infiltrates|consolidation", (1, 1)),
        ("padchest", "Pleural Effusion", "costophrenic angle blunting", (None, None)),
        ("padchest", "Lung Lesion", "pseudonodule", (None, 1)),
        ("openi", "Consolidation", "airspace disease", (None, 1)),
        ("openi", "Cardiomegaly", "cardiomegaly, borderline", (None, None)),
        ("openi", "Lung Lesion", "mass, breast", (0, 0)),
    ],
)
def test_a_doubtful_label_is_neither_present_nor_absent(
    layout: str, finding: str, row: str, states: tuple[int | None, int | None]
) -> None:
    table = pd.DataFrame({LABELS: [row]})
    found = [label_mapping.apply(table, layout, mapping)[finding].iloc[0] for mapping in ("default", "broad")]
    assert [None if pd.isna(state) else state for state in found] == list(states)


def test_the_strongest_state_of_several_native_labels_is_used() -> None:
    cells = {"native:Nodule/Mass": [0, 0, -1, None, None], "native:Lung tumor": [1, -1, 0, 0, None]}
    table = pd.DataFrame({name: pd.Series(states, dtype="Int8") for name, states in cells.items()})
    lesion = label_mapping.apply(table, "vindr")["Lung Lesion"]
    assert lesion.fillna(-9).tolist() == [1, -1, -1, 0, -9]


@pytest.mark.parametrize("layout", [layout for layout in TABLES if layout != "table"])
def test_a_finding_that_a_dataset_does_not_map_is_null(layout: str) -> None:
    states = label_mapping.apply(
        TABLES[layout](), layout, findings=("Edema", "Pneumothorax", "No Finding", "No such finding")
    )
    assert states["No such finding"].isna().all()
    assert not states[["Edema", "Pneumothorax", "No Finding"]].isna().all(axis=None)
    assert states["Edema"].isna().all() == (label_mapping.grade(layout, "Edema") == "unmapped")
