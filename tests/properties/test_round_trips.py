"""read(write(x)) == x for the layouts of phantoms, on tables that hypothesis makes up."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harmonize.cohorts.label_mapping import native_labels
from harmonize.datasets import LABELS, adapter, brax, chexpert, mimic, native, nih, vindr

quick = settings(max_examples=12)  # each writes and reads a dataset; tables that are known are in tests/unit/harmonize
Rows = list[dict[str, Any]]

sexes = st.sampled_from(["F", "M", ""])
ages = st.one_of(st.just(np.nan), st.integers(1, 84).map(float))
free_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8).map(
    str.strip
)
free_text = free_text.filter(lambda text: text not in ("nan", "None"))
four = st.sampled_from([1, 0, -1, -2])
numbers = st.integers(1, 99_999)
PADCHEST = sorted(
    {word for finding in ("Edema", "Lung Lesion", "Pneumonia") for word in native_labels("padchest", finding)}
)


def stated(labels: tuple[str, ...], values: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries({native(label): values for label in labels})


def rows_of(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Rows]:
    return st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=6)


def table_of(rows: Rows, **columns: Any) -> pd.DataFrame:
    """Return rows with their `states` spread over columns, and columns that are functions of row and number added."""
    flat = [{key: value for key, value in row.items() if key != "states"} | row.get("states", {}) for row in rows]
    for number, row in enumerate(flat):
        for name, value in columns.items():
            row[name] = value(row, number) if callable(value) else value
    table = pd.DataFrame(flat)
    natives = [name for name in table if str(name).startswith("native:") and name != LABELS]
    return table.astype(dict.fromkeys(natives, "Int8") | {"age": "float64"})


def assert_round_trip(layout: str, table: pd.DataFrame) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        adapter(layout).write(table, root)
        for path in table["path"]:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        found = adapter(layout).read(root)
    assert sorted(found) == sorted(table)
    ours, theirs = (frame.sort_values("image_id", ignore_index=True) for frame in (found, table))
    for column in table:
        pd.testing.assert_series_equal(ours[column].astype(object), theirs[column].astype(object), check_dtype=False)


@quick
@given(rows_of(split=st.sampled_from(["train", "expert_valid", "expert_test"]), patient=numbers, sex=sexes, age=ages,
               view=st.sampled_from(["PA", "AP", "FRONTAL", "LATERAL"]), states=stated(chexpert.LABELS, four)))  # fmt: skip
def test_chexpert_round_trip(rows: Rows) -> None:
    folders = {"train": "train", "expert_valid": "valid", "expert_test": "test"}
    for number, row in enumerate(rows):
        lateral = row["view"] == "LATERAL"
        if row["split"] == "expert_test":  # its file has no column for these
            row |= {"sex": "", "age": np.nan, "view": "LATERAL" if lateral else "FRONTAL"}
        patient, view = f"patient{row.pop('patient'):05}", "lateral" if lateral else "frontal"
        row |= {"patient_id": patient, "study_id": f"{patient}/study{number}", "device": ""}
        row["image_id"] = f"{patient}_study{number}_view1_{view}"
        row["path"] = f"{folders[row['split']]}/{patient}/study{number}/view1_{view}.jpg"
    if all(row["split"] != "train" for row in rows):
        rows.append(rows[0] | {"split": "train", "view": "PA", "image_id": "patient1_study9_view1_frontal",
                               "patient_id": "patient1", "study_id": "patient1/study9",
                               "path": "train/patient1/study9/view1_frontal.jpg"})  # fmt: skip
    assert_round_trip("chexpert", table_of(rows))


@quick
@given(rows_of(patient=st.integers(10_000_000, 10_000_003), split=st.sampled_from(["train", "val", "test", ""]),
               age=ages, view=st.sampled_from(["PA", "AP", "LATERAL", "UNKNOWN"]),
               states=stated(mimic.LABELS, four)), st.dictionaries(st.integers(10_000_000, 10_000_003), sexes))  # fmt: skip
def test_mimic_round_trip(rows: Rows, sex: dict[int, str]) -> None:
    # a table of splits that lacks most images is refused
    assume(2 * sum(row["split"] == "" for row in rows) <= len(rows) or all(row["split"] == "" for row in rows))
    for number, row in enumerate(rows):
        patient, study, image = row.pop("patient"), f"{50_000_000 + number}", f"{number:x}-abc"
        row |= {
            "image_id": image,
            "patient_id": str(patient),
            "study_id": study,
            "sex": sex.get(patient, ""),
            "device": "",
        }
        row["path"] = f"files/p10/p{patient}/s{study}/{image}.jpg"
    assert_round_trip("mimic", table_of(rows))


@quick
@given(rows_of(patient=numbers, sex=sexes, age=ages, view=st.sampled_from(["PA", "AP"]),
               words=st.lists(st.sampled_from([word for word in nih.TOKENS if word != "No Finding"]), unique=True),
               expert=st.lists(st.sampled_from([1, 0, None]), min_size=4, max_size=4)),
       st.booleans(), st.booleans())  # fmt: skip
def test_nih_round_trip(rows: Rows, has_lists: bool, has_expert: bool) -> None:
    labels = [f"expert:{label}" for label in nih.EXPERT_LABELS]
    for number, row in enumerate(rows):
        patient = row.pop("patient")
        row[LABELS] = "|".join(row.pop("words")) or "No Finding"
        row["image_id"] = f"{patient:08}_{number:03}.png"
        row |= {"patient_id": str(patient), "study_id": f"{patient}/{number}", "device": ""}
        row |= {"path": f"images_{number % 12 + 1:03}/images/{row['image_id']}", "split": ""}
        if has_lists:
            row["split"] = "test" if patient % 3 == 0 else "train"
        row |= dict(zip(labels, row.pop("expert"), strict=True))
    table = table_of(rows).astype(dict.fromkeys(labels, "Int8"))
    has_expert &= bool(table[labels].notna().any(axis=None))  # without any label, no file is written
    assert_round_trip("nih", table if has_expert else table.drop(columns=labels))


@quick
@given(rows_of(patient=st.integers(0, 10**37), sex=sexes, age=ages, device=free_text,
               view=st.sampled_from(["PA", "AP", "LATERAL", "UNKNOWN"]), drop=st.sampled_from(["", "pediatric"]),
               label_source=st.sampled_from(["Physician", "RNN_model"]),
               words=st.lists(st.sampled_from([*PADCHEST, "normal", "d'or"]), unique=True)))  # fmt: skip
def test_padchest_round_trip(rows: Rows) -> None:
    for number, row in enumerate(rows):
        row[LABELS] = "|".join(row.pop("words"))
        row |= {"patient_id": str(row.pop("patient")), "study_id": f"{number:038}", "image_id": f"{number}.png"}
        row |= {"path": f"images/{number % 52}/{number}.png", "split": ""}
        if not row[LABELS] and not row["drop"] and number % 2:
            row["drop"] = "no labels"
    assert_round_trip("padchest", table_of(rows))


@quick
@given(rows_of(split=st.sampled_from(["train", "test"]), states=stated(vindr.LABELS, st.sampled_from([0, 1]))))
def test_vindr_round_trip(rows: Rows) -> None:
    for number, row in enumerate(rows):
        image = f"f{number:031x}"
        row |= {"image_id": image, "patient_id": image, "study_id": image, "path": f"{row['split']}/{image}.dicom"}
        row |= {"view": "PA", "sex": "", "age": np.nan, "device": ""}
    assert_round_trip("vindr", table_of(rows))


@quick
@given(rows_of(patient=numbers, sex=sexes, age=st.one_of(ages, st.just(85.0)), device=free_text,
               view=st.sampled_from(["PA", "AP", "LATERAL", "UNKNOWN"]), drop=st.sampled_from(["", "strip"]),
               states=stated(brax.LABELS, four)))  # fmt: skip
def test_brax_round_trip(rows: Rows) -> None:
    for number, row in enumerate(rows):
        patient = f"id_{row.pop('patient')}"
        row |= {"patient_id": patient, "study_id": str(number), "split": ""}
        row["image_id"] = f"{patient}/Study_1.{number}/Series_2.{number}/image-{number}"
        row["path"] = f"images/{row['image_id']}.png"
    assert_round_trip("brax", table_of(rows))


@pytest.mark.parametrize("number", [4, 20])
def test_the_dissenting_reader_of_vindr_never_changes_the_majority(number: int, tmp_path: Path) -> None:
    rows = [{"states": {native(label): (k + j) % 2 for j, label in enumerate(vindr.LABELS)}} for k in range(number)]
    columns = {name: lambda _row, k: f"{k:032x}" for name in ("image_id", "patient_id", "study_id")}
    table = table_of(rows, **columns, split="train", view="PA", sex="", age=np.nan, device="", path="")
    vindr.write(table, tmp_path)
    votes = pd.read_csv(tmp_path / "annotations/image_labels_train.csv")
    assert len(votes) == 3 * number
    assert votes.groupby("image_id")["rad_id"].nunique().eq(3).all()
    if number == 20:
        assert votes.groupby("image_id")["Edema"].nunique().gt(1).any()  # some reader does dissent
    found = vindr.read(tmp_path)
    assert found["native:Edema"].tolist() == table["native:Edema"].tolist()
