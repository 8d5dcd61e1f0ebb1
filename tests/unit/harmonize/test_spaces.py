"""Tests of label spaces other than the shared nine, and of findings that a dataset cannot express."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_tables import TABLES, native_labels_of, on_disk

import harmonize
from harmonize.cohorts import label_mapping
from harmonize.datasets import LABELS, LAYOUTS, adapter, native
from harmonize.labels.findings import ABSENT, PRESENT, labels_yaml, space
from tests.nonempty import nonempty

PUBLISHED_LAYOUTS = [layout for layout in LAYOUTS if layout != "table"]
BEYOND = list(labels_yaml()["beyond"])  # layouts with rules for findings of every label space
SPACES = list(labels_yaml()["spaces"])
ALL_FINDINGS = tuple(dict.fromkeys(finding for name in SPACES for finding in space(name)))


def test_the_shipped_datasets_have_rules_beyond_the_nine_findings() -> None:
    assert set(BEYOND) >= {"chexpert", "mimic", "brax", "nih", "padchest", "vindr", "openi"}


@pytest.mark.parametrize("layout", BEYOND)
def test_every_finding_of_every_space_has_a_rule_a_grade_a_reason_and_a_source(layout: str) -> None:
    rules = label_mapping.entries(layout)
    for finding in ALL_FINDINGS:
        rule = rules[finding]
        assert rule["grade"] in ("exact", "approximate", "unmapped"), finding
        is_mapped = bool(rule.get("native")) or "opposite" in rule
        assert is_mapped == (rule["grade"] != "unmapped"), finding
        assert rule["reason"], finding
        assert rule["source"], finding
        assert label_mapping.grade(layout, finding) == rule["grade"]


@pytest.mark.parametrize("layout", BEYOND)
def test_no_finding_has_two_rules(layout: str) -> None:
    assert not set(labels_yaml()["beyond"][layout]["findings"]) & set(label_mapping.block(layout)["findings"])


@pytest.mark.parametrize("layout", PUBLISHED_LAYOUTS)
@pytest.mark.parametrize("mapping", label_mapping.MAPPINGS)
def test_strict_has_fewer_labels_and_broad_has_more(layout: str, mapping: str) -> None:
    labels = native_labels_of(layout)
    for finding in ALL_FINDINGS:
        words = set(label_mapping.native_labels(layout, finding, mapping))
        default_words = set(label_mapping.native_labels(layout, finding))
        assert words <= labels, finding
        assert words <= default_words if mapping == "strict" else words >= default_words, finding


def test_differences_lists_the_changes_of_strict_and_broad() -> None:
    changes = {(change["finding"], change["mapping"]): change for change in label_mapping.differences("padchest")}
    assert changes["Consolidation", "strict"]["removed"] == ["air bronchogram"]
    assert changes["Consolidation", "broad"]["added"] == ["alveolar pattern"]
    assert all(change["reason"] for change in changes.values())
    assert label_mapping.differences("chexpert", ALL_FINDINGS) == []


@pytest.mark.parametrize("layout", [layout for layout in TABLES if layout != "table"])
@pytest.mark.parametrize("name", SPACES)
def test_a_cohort_can_be_loaded_in_any_space_and_unmapped_findings_are_null(
    layout: str, name: str, tmp_path: Path
) -> None:
    cohort = harmonize.load(on_disk(layout, tmp_path), findings=space(name))
    assert tuple(cohort.table.columns[-len(space(name)) :]) == space(name)
    for finding in space(name):
        unmapped = label_mapping.grade(layout, finding) == "unmapped"
        assert cohort.table[finding].isna().all() == unmapped, finding


def test_a_label_space_changes_only_the_ids_of_cohorts_that_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = on_disk("nih", tmp_path)
    id_of_nine = harmonize.load(spec).id
    id_of_fourteen = harmonize.load(spec, findings=space("chexpert-14")).id
    monkeypatch.setitem(labels_yaml()["beyond"]["nih"]["findings"]["Pleural Other"], "native", ["another"])
    assert harmonize.load(spec).id == id_of_nine
    assert harmonize.load(spec, findings=space("chexpert-14")).id != id_of_fourteen


any_state = st.sampled_from([1, 0, -1, -2, None])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["chexpert", "mimic", "vindr", "brax"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_column_family_is_absent_only_if_a_cell_is_absent(layout: str, data: st.DataObject) -> None:
    labels = adapter(layout).LABELS
    row = data.draw(st.fixed_dictionaries({native(label): any_state for label in labels}))
    table = pd.DataFrame({name: pd.Series([state], dtype="Int8") for name, state in row.items()})
    for mapping in nonempty(label_mapping.MAPPINGS):
        states = label_mapping.apply(table, layout, mapping, ALL_FINDINGS).iloc[0]
        for finding in ALL_FINDINGS:
            rule = label_mapping.entries(layout)[finding]
            if "opposite" in rule:
                healthy = row[native(label_mapping.native_labels(layout, rule["opposite"])[0])]
                assert pd.isna(states[finding]) or states[finding] != ABSENT or healthy == PRESENT
                continue
            cells = [row[native(word)] for word in label_mapping.native_labels(layout, finding, mapping)]
            if not pd.isna(states[finding]) and states[finding] == ABSENT:
                assert ABSENT in cells, finding
                assert 1 not in cells, finding
                assert -1 not in cells, finding
            assert bool(pd.isna(states[finding])) == all(cell is None for cell in cells), finding


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["nih", "padchest", "openi"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_token_family_is_null_for_findings_without_a_label(layout: str, data: st.DataObject) -> None:
    labels = sorted(native_labels_of(layout))
    row = data.draw(st.lists(st.sampled_from(labels), max_size=4, unique=True))
    table = pd.DataFrame({LABELS: ["|".join(row)]})
    for mapping in nonempty(label_mapping.MAPPINGS):
        states = label_mapping.apply(table, layout, mapping, ALL_FINDINGS).iloc[0]
        for finding in ALL_FINDINGS:
            if label_mapping.grade(layout, finding) == "unmapped":
                assert pd.isna(states[finding]), finding
            elif finding not in ("No Finding", "Abnormal"):
                is_present = bool(set(row) & set(label_mapping.native_labels(layout, finding, mapping)))
                if not is_present and set(row) & set(label_mapping.entries(layout)[finding].get("doubtful", ())):
                    assert pd.isna(states[finding]), finding
                else:
                    assert states[finding] == (PRESENT if is_present else ABSENT), finding
        pair = states[["No Finding", "Abnormal"]]
        assert pair.isna().all() or pair.sum() == 1


def test_abnormal_is_derived_and_null_without_statements() -> None:
    rows = [
        {"No Finding": 1},
        {"Edema": 1},
        {"Edema": -1},
        {"Edema": 0},
        {"Support Devices": 1},
        {"No Finding": 1, "Edema": 1},
    ]
    labels = adapter("chexpert").LABELS
    table = pd.DataFrame({native(n): pd.Series([r.get(n, -2) for r in rows], dtype="Int8") for n in labels})
    state = label_mapping.apply(table, "chexpert", findings=("Abnormal",))["Abnormal"]
    assert state.fillna(-9).tolist() == [0, 1, -1, -9, -9, 1]
    nih_states = label_mapping.apply(TABLES["nih"](), "nih", findings=space("nih-14-abnormal"))["Abnormal"]
    assert nih_states.tolist() == [1, 1, 0, 1]
    padchest = label_mapping.apply(TABLES["padchest"](), "padchest", findings=("Abnormal",))["Abnormal"]
    assert padchest.fillna(-9).tolist() == [0, 1, -9, 1, -9, 1, -9]
