"""Tests of the selection of images by view, study, age, gold subset and limit, and of the counts of removed images."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, touch

import harmonize
from harmonize import CohortSpec
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.cohort_choice import REMARKS, CohortChoice
from harmonize.cohorts.cohort_filters import patients_within_limit
from harmonize.datasets import brax, chexpert, nih, padchest
from harmonize.errors import ConfigError, DatasetError


def load_with(spec: CohortSpec, **choice: object) -> Cohort:
    return harmonize.load(replace(spec, choice=CohortChoice(**choice)))  # type: ignore[arg-type]


def num_removed(cohort: Cohort) -> int:
    return sum(n for name, n in cohort.flow.items() if name not in {"found", "kept", *REMARKS})


CHOICES = [
    {"views": "all"},
    {"views": "pa"},
    {"per_study": "one"},
    {"min_age": 50.0},
    {"max_age": 60.0},
    {"limit": 1},
    {"views": "all", "per_study": "one", "min_age": 1.0, "limit": 2},
]


@pytest.mark.parametrize("layout", TABLES)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_all_removed_images_are_counted(layout: str, choice: dict[str, object], tmp_path: Path) -> None:
    spec = on_disk(layout, tmp_path)
    with contextlib.suppress(DatasetError):  # a small table may have no images after the filters
        cohort = load_with(spec, **choice)
        assert cohort.flow["found"] - num_removed(cohort) == cohort.flow["kept"] == len(cohort.table)


@pytest.mark.slow
def test_views_selects_the_images_of_a_view(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    names = ("frontal", "all", "pa", "ap", "lateral")
    views = {views: sorted(set(load_with(spec, views=views).table["view"])) for views in names}
    one = {"pa": ["PA"], "ap": ["AP"], "lateral": ["LATERAL"]}
    assert views == {"frontal": ["AP", "FRONTAL", "PA"], "all": ["AP", "FRONTAL", "LATERAL", "PA"], **one}
    assert load_with(spec, views="pa").flow["not_pa"] == 4
    assert "not_frontal" not in load_with(spec, views="lateral").flow
    assert load_with(spec, views="all").flow.get("not_frontal", 0) == 0


def test_a_view_that_no_image_has_is_refused_with_the_views_of_the_dataset(tmp_path: Path) -> None:
    table = TABLES["nih"]().assign(view="PA")
    nih.write(table, tmp_path)
    touch(table, tmp_path)
    with pytest.raises(DatasetError) as caught:
        load_with(CohortSpec("nih", "nih", tmp_path), views="lateral")
    assert caught.value.what == "no image has the view LATERAL"
    assert "PA" in caught.value.fix


def test_portable_images_are_those_of_mimics_procedure(tmp_path: Path) -> None:
    cohort = load_with(on_disk("mimic", tmp_path / "mimic"), views="portable")
    assert set(cohort.table["view"]) == {"AP"}
    assert cohort.flow["not_portable"] == 1
    with pytest.raises(ConfigError, match="nih does not state which images are portable") as caught:
        load_with(on_disk("nih", tmp_path / "nih"), views="portable")
    assert caught.value.fix == "remove `views: portable`; only mimic can have it"


def test_one_image_per_study_prefers_pa(tmp_path: Path) -> None:
    table = TABLES["brax"]()
    table["study_id"], table["view"], table["drop"] = ["1", "1", "1", "2"], ["LATERAL", "AP", "PA", "AP"], ""
    table["patient_id"] = "id_a"
    for name in ("path", "image_id"):
        table[name] = table[name].str.replace(r"id_[a-z]/", "id_a/", regex=True)
    brax.write(table, tmp_path)
    touch(table, tmp_path)
    spec = CohortSpec("brax", "brax", tmp_path)
    cohort = load_with(spec, views="all", per_study="one")
    assert cohort.table["image_id"].tolist() == table["image_id"].iloc[[2, 3]].tolist()
    assert cohort.flow["same_study"] == 2
    (tmp_path / table["path"][2]).unlink()  # without this file, the AP image is used
    assert load_with(spec, views="all", per_study="one").table["view"].tolist() == ["AP", "AP"]


def test_an_age_range_also_removes_and_counts_unknown_ages(tmp_path: Path) -> None:
    cohort = load_with(on_disk("nih", tmp_path), min_age=18.0, max_age=80.0)
    assert cohort.table["age"].tolist() == [57.0, 58.0]
    assert (cohort.flow["age_unknown"], cohort.flow["outside_ages"]) == (0, 2)
    table = TABLES["brax"]().assign(age=[float("nan"), 40.0, 35.0, 20.0])
    brax.write(table, tmp_path / "b")
    touch(table, tmp_path / "b")
    flow = load_with(CohortSpec("brax", "brax", tmp_path / "b"), views="all", max_age=36.0).flow
    assert (flow["age_unknown"], flow["outside_ages"], flow["kept"]) == (1, 1, 1)


def test_the_gold_subset_of_padchest_has_only_pa_images_of_physicians(tmp_path: Path) -> None:
    table = TABLES["padchest"]().assign(drop="", view="PA").iloc[:4].reset_index(drop=True)
    table.loc[2, "view"] = "AP"
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    cohort = load_with(CohortSpec("padchest", "padchest", tmp_path), gold=True)
    assert cohort.table["image_id"].tolist() == table["image_id"].iloc[[0]].tolist()
    assert cohort.flow["not_gold"] == 3


def test_the_gold_subsets_of_chexpert_and_vindr_are_their_expert_splits(tmp_path: Path) -> None:
    assert set(load_with(on_disk("chexpert", tmp_path / "c"), gold=True).table["split"]) == {
        "expert_valid",
        "expert_test",
    }
    assert set(load_with(on_disk("vindr", tmp_path / "v"), gold=True).table["split"]) == {"test"}


@pytest.mark.parametrize("layout", ["brax", "table"])
def test_gold_raises_an_error_for_a_layout_without_a_gold_subset(layout: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no gold subset"):
        load_with(on_disk(layout, tmp_path), gold=True)


@pytest.mark.parametrize("layout", ["mimic", "nih"])
def test_gold_raises_an_error_without_the_files_of_the_radiologists(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="was labeled by radiologists"):
        load_with(on_disk(layout, tmp_path), gold=True)


def test_a_limit_keeps_all_images_of_its_patients_in_any_row_order_and_a_larger_limit_adds_patients() -> None:
    patients = pd.Series([f"p{k // 3}" for k in range(300)])
    few, more = (set(patients[patients_within_limit(patients, n)]) for n in (10, 40))
    assert len(few) == 10
    assert len(more) == 40
    assert few < more
    shuffled = patients.sample(frac=1, random_state=0)
    assert set(shuffled[patients_within_limit(shuffled, 10)]) == few
    assert patients_within_limit(patients, 10).sum() == 30


def test_a_choice_without_images_raises_an_error_with_the_counts(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="4 outside_ages"):
        load_with(on_disk("nih", tmp_path), min_age=119.0)


def test_a_cohort_can_be_loaded_without_images(tmp_path: Path) -> None:
    chexpert.write(TABLES["chexpert"](), tmp_path)
    spec = CohortSpec("chexpert", "chexpert", tmp_path)
    with pytest.raises(DatasetError, match="the cohort has no images"):
        harmonize.load(spec)
    assert harmonize.load(spec, images=False).flow["kept"] == 5


def test_a_data_file_may_name_one_root_twice_with_other_choices(tmp_path: Path) -> None:
    on_disk("chexpert", tmp_path / "chexpert")
    (tmp_path / "data.yaml").write_text(
        "all: {layout: chexpert, root: chexpert}\n"
        "experts: {layout: chexpert, root: chexpert, gold: true, views: all, min_age: 18}\n"
    )
    specs = harmonize.read_data(tmp_path / "data.yaml")
    assert specs["all"].choice == CohortChoice()
    assert specs["experts"].choice == CohortChoice(views="all", gold=True, min_age=18.0)
    assert len(harmonize.load(specs["experts"]).table) == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("views: oblique", "views must be one of frontal, pa, ap, lateral, portable, all", "real-data.md"),
        ("min_age: young", "min_age is 'young', not of type float", ""),
        ("gold: 1", "gold is 1, not of type bool", ""),
        ("min_age: 60, max_age: 20", "min_age and max_age must be years", ""),
        ("limit: -1", "limit must be a number of patients", ""),
        ("label_source: negbio", "no label source 'negbio'", "chexbert"),
        ("label_source: {Edma: chexbert}", "no finding 'Edma'", "did you mean 'Edema'?"),
        ("label_source: [chexbert]", "is not a label source", "{default: chexbert"),
        ("view: all", "unknown key 'view'", "did you mean 'views'?"),
    ],
)
def test_an_invalid_choice_raises_an_error_with_the_fix(text: str, message: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"internal: {{layout: chexpert, root: ., {text}}}\n")
    with pytest.raises(ConfigError) as caught:
        harmonize.read_data(tmp_path / "data.yaml")
    assert message in caught.value.what
    assert hint in caught.value.fix
    assert "internal" in caught.value.where


def test_contradictory_sex_is_counted_and_listed_but_no_error(tmp_path: Path) -> None:
    table = TABLES["nih"]()
    table["sex"] = ["M", "F", "", "F"]  # images 0 and 1 are of one patient
    nih.write(table, tmp_path)
    touch(table, tmp_path)
    cohort = harmonize.load(CohortSpec("nih", "nih", tmp_path))
    assert cohort.flow["contradictory_sex"] == 2
    assert cohort.doubts["image_id"].tolist() == table["image_id"].tolist()[:2]
    assert set(cohort.doubts["reason"]) == {"contradictory sex"}
    assert cohort.table["sex"].tolist() == ["M", "F", "", "F"]
    assert "contradictory_sex" not in harmonize.load(on_disk("brax", tmp_path / "b")).flow


def test_an_unpublished_padchest_label_is_counted_and_listed(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[0, "native:labels"] = "normal|pnuemonia"
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    cohort = harmonize.load(CohortSpec("padchest", "padchest", tmp_path))
    assert cohort.flow["unknown_label"] == 1
    assert cohort.doubts["reason"].tolist() == ["unknown label 'pnuemonia'"]
    assert cohort.doubts["image_id"].tolist() == [table["image_id"][0]]
