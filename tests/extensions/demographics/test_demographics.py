"""Race, ethnicity and insurance by patient: files, groups with the usual minimum counts, and no trace in a bundle."""

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.registry import Registry
from bench.extensions.bundles.export import export
from bench.extensions.demographics import cohorts
from bench.extensions.demographics.files import (
    ADMISSIONS,
    ETHNICITY,
    INSURANCE,
    RACE,
    WORKBOOK,
    attributes_of,
    read_chexpert,
    read_mimic,
    read_workbook,
)
from bench.extensions.demographics.stored import people, write_people
from bench.planning.manifest import read_manifest
from bench.results.read_predictions import load_scored_splits, load_scores
from bench.results.score_runs import score_all
from bench.results.write_report import write_report
from bench.store.store import Store
from harmonize.cohorts.pooled import Place
from harmonize.errors import DatasetError, SetupError, StoreError
from tests.manifests import invented_manifest

openpyxl = pytest.importorskip("openpyxl", reason="needs the extra `excel`")

CHEXPERT = pd.DataFrame(
    {"race": ["White", "Black", "Asian", "Other", ""], "ethnicity": ["Other", "Hispanic", "", "Other", ""]},
    index=pd.Index([f"patient0000{k}" for k in range(1, 6)], name="patient_id"),
)
MIMIC = pd.DataFrame(
    {"race": ["Hispanic", "White", "", "Black"], "insurance": ["Medicare", "", "Medicaid", "Private"]},
    index=pd.Index([f"1000000{k}" for k in range(4)], name="patient_id"),
)


def write_chexpert(table: pd.DataFrame, root: Path) -> None:
    """Write CheXpert's workbook from a table by patient id with race and ethnicity."""
    words = {"Hispanic": "Hispanic/Latino", "Other": "Non-Hispanic/Non-Latino", "": "Unknown"}
    rows = pd.DataFrame({"PATIENT": table.index, "PRIMARY_RACE": table[RACE].replace("", "Unknown").to_numpy()})
    rows["ETHNICITY"] = table[ETHNICITY].map(words).to_numpy()
    rows.assign(GENDER="Female", AGE_AT_CXR=50).to_excel(root / f"{WORKBOOK}.xlsx", engine="openpyxl", index=False)


def write_mimic(table: pd.DataFrame, root: Path) -> None:
    """Write MIMIC-IV's admissions from a table by patient id with race and insurance: one admission for each patient."""
    rows = pd.DataFrame({"subject_id": table.index, "hadm_id": range(1, len(table) + 1)})
    rows[INSURANCE] = table[INSURANCE].to_numpy()
    rows[RACE] = table[RACE].str.upper().replace("", "UNKNOWN").to_numpy()
    rows.to_csv(root / f"{ADMISSIONS}.gz", index=False)


def test_written_files_are_read_again(tmp_path: Path) -> None:
    write_chexpert(CHEXPERT, tmp_path)
    write_mimic(MIMIC, tmp_path)
    chexpert, mimic = read_chexpert(tmp_path), read_mimic(tmp_path)
    assert chexpert is not None
    assert mimic is not None
    assert chexpert[0].to_dict("index") == CHEXPERT.to_dict("index")
    assert mimic[0].to_dict("index") == MIMIC.to_dict("index")
    assert (chexpert[1].name, mimic[1].name) == ("CHEXPERT DEMO.xlsx", "admissions.csv.gz")


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ids = pd.Series(["patient00001"])
    assert [attributes_of(layout, tmp_path / "a", ids) for layout in ("chexpert", "mimic", "nih")] == [None] * 3


def test_cells_of_a_workbook_are_text_and_rows_have_their_numbers_in_the_sheet(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["PATIENT", " ETHNICITY", 2021], [], ["patient00001", None], ["NA", 7]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    table = read_workbook(tmp_path / "a.xlsx")
    assert table.loc[[3, 4]].to_dict("list") == {
        "PATIENT": ["patient00001", "NA"],
        "ETHNICITY": ["", "7"],
        "2021": ["", ""],
    }


def test_a_workbook_without_openpyxl_is_refused_with_both_fixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_chexpert(CHEXPERT, tmp_path)
    read_workbook(tmp_path / "CHEXPERT DEMO.xlsx").to_csv(tmp_path / "as.csv", index=False)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(SetupError, match="openpyxl is not installed") as refused:
        read_chexpert(tmp_path)
    assert "pip install 'unseen-cxr[excel]'" in refused.value.fix
    (tmp_path / "as.csv").rename(tmp_path / "CHEXPERT DEMO.csv")
    found = read_chexpert(tmp_path)
    assert found is not None
    assert found[0].to_dict("index") == CHEXPERT.to_dict("index")


def test_a_patient_with_several_admissions_has_the_most_frequent_known_value(tmp_path: Path) -> None:
    (tmp_path / "hosp").mkdir()
    lines = ["subject_id,insurance,race"]
    lines += ["1,Medicare,WHITE", "1,Medicare,UNKNOWN", "1,Other,UNABLE TO OBTAIN", "2,Private,ASIAN - CHINESE"]
    lines += ["2,Medicaid,ASIAN", "3,,PATIENT DECLINED TO ANSWER"]
    (tmp_path / "hosp" / "admissions.csv").write_text("\n".join(lines) + "\n")
    found = read_mimic(tmp_path)
    assert found is not None
    assert found[0].to_dict("index") == {
        "1": {"race": "White", "insurance": "Medicare"},
        "2": {"race": "Asian", "insurance": ""},
        "3": {"race": "", "insurance": ""},
    }


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def garbled(path: Path) -> None:
    """Damage the compressed sheet; its place in the zip is 30 bytes and its name after its header."""
    with zipfile.ZipFile(path) as book:
        sheet = book.getinfo("xl/worksheets/sheet1.xml")
    content = bytearray(path.read_bytes())
    content[sheet.header_offset + 30 + len(sheet.filename)] |= 6  # a type of block that does not exist
    path.write_bytes(content)


def repeated(path: Path) -> None:
    rows = read_workbook(path)
    pd.concat([rows, rows.iloc[:1].assign(PRIMARY_RACE="Asian")]).to_excel(path, index=False)


def misspelled(path: Path) -> None:
    read_workbook(path).rename(columns={"PRIMARY_RACE": "PRIMARY RACE"}).to_excel(path, index=False)


def of_others(path: Path) -> None:
    rows = read_workbook(path)
    rows.assign(PATIENT=rows["PATIENT"].str.upper()).to_excel(path, index=False)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (cut, "not a readable workbook"),
        (garbled, "not a readable workbook"),
        (repeated, "row 7: patient00001 has race 'Asian', and 'White' in an earlier row"),
        (misspelled, "no column 'PRIMARY_RACE'"),
        (of_others, "match 0 of 5"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_row(
    tmp_path: Path, damage: Callable[[Path], None], what: str
) -> None:
    write_chexpert(CHEXPERT, tmp_path)
    damage(tmp_path / "CHEXPERT DEMO.xlsx")
    with pytest.raises(DatasetError, match="CHEXPERT DEMO") as refused:
        attributes_of("chexpert", tmp_path, pd.Series(CHEXPERT.index))
    assert what in str(refused.value)
    assert refused.value.fix


def test_a_plan_states_the_attributes_and_writes_them_beside_the_cohorts(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("chexpert", "mimic", "nih")}
    for root in roots.values():
        root.mkdir()
    write_chexpert(CHEXPERT, roots["chexpert"])
    write_mimic(MIMIC, roots["mimic"])
    ids = {"chexpert": CHEXPERT.index[:3], "mimic": MIMIC.index, "nih": ["1"]}
    planned = SimpleNamespace(
        store=Store.open(tmp_path / "runs"),
        refs=[SimpleNamespace(name=name, places=(Place(name, root),)) for name, root in roots.items()],
        cohorts={name: SimpleNamespace(table=pd.DataFrame({"patient_id": list(of)})) for name, of in ids.items()},
    )
    assert cohorts.remarks(planned) == [  # type: ignore[arg-type]
        "chexpert: race of 3, ethnicity of 2 of 3 patients (CHEXPERT DEMO.xlsx)",
        "mimic: race of 3, insurance of 3 of 4 patients (admissions.csv.gz)",
    ]
    facts = cohorts.facts(planned)["people"]  # type: ignore[arg-type]
    assert list(facts) == ["chexpert", "mimic"]
    assert people(planned.store, facts["chexpert"])["race"].tolist() == ["White", "Black", "Asian"]
    assert not list(cohorts.problems(planned.store))
    path = planned.store.root / "people" / f"{facts['mimic']}.parquet"
    pd.read_parquet(path).assign(race="White").to_parquet(path)
    with pytest.raises(StoreError, match="changed"):
        people(planned.store, facts["mimic"])
    assert [name for name, _, _ in cohorts.problems(planned.store)] == [f"people/{path.name}"]


def test_children_are_a_group_only_beside_adults(tmp_path: Path) -> None:
    manifest = invented_manifest(Store.open(tmp_path))
    cohort = manifest.planned_cohorts[0]

    def child(*ages: float) -> list[str] | None:
        table = pd.DataFrame({"age": ages, "patient_id": [str(k) for k in range(len(ages))]})
        found = cohorts.attributes(manifest, cohort, table).get("child")
        return None if found is None else list(found)

    assert child(3.0, 17.9, 18.0, np.nan) == ["below 18", "below 18", "from 18", ""]
    assert child(3.0, 17.0) is None
    assert child(20.0, np.nan) is None


@pytest.mark.grid
def test_groups_have_the_scores_of_their_images_and_get_into_no_bundle(store_copy: Path, tmp_path: Path) -> None:
    opened = Store.open(store_copy / "runs")
    first = read_manifest(opened, "tiny")
    score_all(first, lambda *_: None, processes=1)
    internal = first.cohorts[0]
    patients = sorted(set(first.table(internal)["patient_id"].astype(str)))
    race = np.array(["Rare" if k % 40 == 0 else "White" if k % 2 else "Black" for k in range(len(patients))], object)
    table = pd.DataFrame({"race": race, "ethnicity": "", "insurance": ""}, index=patients)
    manifest = replace(first, extras={"people": {internal.name: write_people(opened, table)}})
    manifest.write()
    scored = score_all(manifest, lambda *_: None, processes=1)
    assert scored
    run = manifest.ranked[0]
    rows = load_scores(manifest, [run.id], "subgroups")
    rows = rows[(rows["dataset"] == internal.name) & (rows["metric"] == "auroc")]
    assert "ethnicity" not in set(rows["subgroup"])
    test = next(s for s in load_scored_splits(manifest, run, run.config, {}) if s.name == f"{internal.name}/test")
    of_image = table["race"].reindex(test.patient_id.astype(str)).to_numpy()
    compared = 0
    for k, finding in enumerate(run.config.findings):
        for group in ("White", "Black"):
            row = rows[(rows["subgroup"] == f"race={group}") & (rows["finding"] == finding)]
            if len(row) and np.isfinite(row["value"].item()):
                label = test.labels()[:, k]
                members = (of_image == group) & (label >= 0)
                expected = roc_auc_score(label[members], test.logit[members, k])
                assert row["value"].item() == pytest.approx(expected, abs=1e-9)
                compared += 1
    assert compared
    rare = rows[rows["subgroup"] == "race=Rare"]
    assert rare["value"].isna().all()
    before = load_scores(first, [run.id], "scores")
    pd.testing.assert_frame_equal(load_scores(manifest, [run.id], "scores"), before)
    page = write_report(manifest, None, lambda *_: None).page.read_text()
    assert "by race" in page
    bundle = tmp_path / "ours.zip"
    export(manifest, [run.id], bundle, Registry.read(), lambda *_: None)
    with zipfile.ZipFile(bundle) as archive:
        assert not [name for name in archive.namelist() if "people" in name]
        assert not any(b"race=" in archive.read(name) or b"Rare" in archive.read(name) for name in archive.namelist())
