"""A dataset held against its release: what is missing, odd or more than published is named with what was expected."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from native_tables import TABLES, on_disk

import harmonize.checks.release
from harmonize.checks.release import Check, check_table, inspect, release_facts
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import LAYOUTS


def checks(spec: CohortSpec) -> list[Check]:
    return inspect(spec)[1]


def of_level(spec: CohortSpec, level: str) -> dict[str, str]:
    return {c.what: f"{c.expected} / {c.found}" for c in checks(spec) if c.level == level}


def change(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(path.read_text()))


@pytest.mark.parametrize("layout", TABLES)
def test_a_small_correct_dataset_is_a_subset_without_faults(layout: str, tmp_path: Path) -> None:
    cohort, results = inspect(on_disk(layout, tmp_path))
    assert cohort is not None
    # these examples have images without a reading, or without a file that states their patients
    doubts = {"shenzhen": "readings", "montgomery": "readings", "rsna": "patients"}
    assert [c.what for c in results if c.level == "warning"] == ([doubts[layout]] if layout in doubts else [])
    assert "fault" not in {c.level for c in results}
    if layout in {"chexpert", "nih", "padchest", "vindr"}:
        assert any(c.level == "note" and c.found.startswith("a subset: ") for c in results)
    assert any(c.what == "leakage" and c.found.startswith("0 shared patients") for c in results)


def test_a_phantom_is_reported_and_its_counts_are_not_checked(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    (tmp_path / "phantom.json").write_text(json.dumps({}))
    results = checks(spec)
    assert "synthetic" in next(c.found for c in results if c.what == "phantom")
    assert not any("subset" in c.found for c in results)
    assert {c.level for c in results} == {"note", "ok"}


def test_a_missing_required_column_is_a_fault(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    change(tmp_path / "Data_Entry_2017_v2020.csv", lambda text: text.replace("View Position", "Position"))
    assert "'View Position'" in of_level(spec, "fault")["refused"]
    assert "'View Position'" in of_level(spec, "warning")["Data_Entry_2017_v2020.csv: columns"]


def test_a_missing_optional_column_is_a_warning(tmp_path: Path) -> None:
    spec = on_disk("padchest", tmp_path)
    path = next(tmp_path.glob("PADCHEST_*.csv"))
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="ReportID").to_csv(path, index=False)
    assert list(of_level(spec, "warning").values()) == ["36 columns / missing: 'ReportID'"]
    assert of_level(spec, "fault") == {}


def test_the_other_spelling_of_a_column_gives_no_warning(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    assert "Patient Sex" in (tmp_path / "Data_Entry_2017_v2020.csv").read_text()
    change(tmp_path / "Data_Entry_2017_v2020.csv", lambda text: text.replace("Patient Sex", "Patient Gender"))
    assert of_level(spec, "warning") == {}


def test_an_invalid_label_state_is_a_fault(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    change(tmp_path / "train.csv", lambda text: text.replace(",-1.0,", ",2.0,", 1))
    assert "'2.0'" in of_level(spec, "fault")["bad rows"]


def test_an_unpublished_age_and_view_are_warnings(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    change(tmp_path / "Data_Entry_2017_v2020.csv", lambda text: text.replace(",58,M,PA,", ",414,M,LL,"))
    warnings = of_level(spec, "warning")
    assert warnings["ages"].endswith(" are outside 0 to 120 years, e.g. 414")
    assert warnings["Data_Entry_2017_v2020.csv: View Position"] == "'PA', 'AP' / 'LL' (1)"
    assert of_level(spec, "fault") == {}


def test_uncertain_labels_in_a_file_of_radiologists_are_a_fault(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    change(tmp_path / "valid.csv", lambda text: text.replace("1.0", "-1.0"))
    assert of_level(spec, "fault")["valid.csv: label Edema"].startswith("1 or 0 / 1 rows")


def test_a_patient_in_two_splits_is_a_fault_without_a_patient_id(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    change(tmp_path / "test_list.txt", lambda text: text + "00000001_001.png\n")
    change(tmp_path / "train_val_list.txt", lambda text: text.replace("00000001_001.png\n", ""))
    faults = of_level(spec, "fault")
    assert faults == {"leakage": "0 shared patients / 1 patients are in more than one split"}
    assert inspect(spec)[0] is None


def test_a_patient_with_two_sexes_is_a_warning_with_a_count(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    change(tmp_path / "Data_Entry_2017_v2020.csv", lambda text: text.replace(",58,M,", ",58,F,"))
    assert of_level(spec, "warning") == {"sex": "one sex per patient / 1 of 3 patients have both F and M"}


def test_an_absent_image_is_a_fault_unless_the_release_itself_has_damaged_images(tmp_path: Path) -> None:
    for layout, level in (("nih", "fault"), ("padchest", "warning")):
        spec = on_disk(layout, tmp_path / layout)
        min((tmp_path / layout).rglob("*.png")).unlink()
        assert "absent images" in of_level(spec, level), layout


def test_each_count_that_differs_from_a_complete_release_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = on_disk("nih", tmp_path)
    facts: dict[str, Any] = {"files": ["Data_Entry_2017_v2020.csv"], "need": "required", "columns": ["Image Index"]}
    facts |= {"rows": 4, "patients": 3, "values": {"View Position": {"PA": 3, "AP": 1}}, "tokens": {"Cardiomegaly": 2}}
    facts["columns"] = ["Image Index", "View Position"]
    table = harmonize.checks.release.adapter("nih").read(tmp_path)
    tolerance = {"subset": 0.9, "relative": 0.01, "rows": 0}
    monkeypatch.setattr(harmonize.checks.release, "release_facts", lambda: {"tolerance": tolerance})
    results, is_subset = check_table(spec, facts, table, False, False)
    assert not is_subset
    assert [c.level for c in results] == ["ok"]
    changed_facts = facts | {
        "patients": 30,
        "values": {"View Position": {"PA": 30, "AP": 1}},
        "tokens": {"Cardiomegaly": 20},
    }
    results, _ = check_table(spec, changed_facts, table, False, False)
    assert {c.what.partition(": ")[2]: (c.level, c.expected, c.found) for c in results} == {
        "View Position PA": ("warning", "30 within 1%", "3"),
        "patients": ("warning", "30 within 1%", "3"),
        "label Cardiomegaly": ("warning", "20 within 1%", "2"),
    }


def test_every_published_fact_has_a_mark_and_a_source() -> None:
    assert set(release_facts()["datasets"]) <= set(LAYOUTS)
    assert set(release_facts()["datasets"]) >= {"chexpert", "mimic", "nih", "padchest", "vindr", "brax"}
    for tables in release_facts()["datasets"].values():
        for facts in tables:
            assert facts["mark"] in {"F", "C"}
            assert facts["source"]
