"""Tests of `exclude:` in the data file: the listed images are removed and counted, and wrong lists are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from native_tables import on_disk

import harmonize
from harmonize.cohorts.specs import read_data, with_gold
from harmonize.errors import ConfigError, CxrError, DatasetError

LAYOUT = "nih"


def exclude(spec: harmonize.CohortSpec, text: str, name: str = "list.csv") -> harmonize.CohortSpec:
    path = spec.root.parent / name
    path.write_text(text)
    return replace(spec, exclude=(*spec.exclude, path))


def test_listed_images_are_removed_and_counted(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    whole = harmonize.load(spec)
    first, *rest = whole.table["image_id"]
    cohort = harmonize.load(exclude(spec, f"image_id\n{first}\n"))
    assert cohort.table["image_id"].tolist() == rest
    assert cohort.flow["listed_in_exclude"] == 1
    assert cohort.flow["kept"] == whole.flow["kept"] - 1
    assert cohort.id != whole.id
    assert "listed_in_exclude" not in whole.flow


def test_a_listed_patient_is_removed_with_all_images(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    whole = harmonize.load(spec).table
    patient = whole["patient_id"].value_counts().index[0]
    kept = harmonize.load(exclude(spec, f"patient_id\n{patient}\n")).table
    assert kept["image_id"].tolist() == whole.loc[whole["patient_id"] != patient, "image_id"].tolist()


def test_with_both_columns_the_image_id_is_used(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    whole = harmonize.load(spec).table
    rows = whole.loc[[1], ["patient_id", "image_id"]].to_csv(index=False)
    assert set(whole["image_id"]) - set(harmonize.load(exclude(spec, rows)).table["image_id"]) == {whole["image_id"][1]}


def test_ids_that_the_cohort_does_not_have_are_counted(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    first = harmonize.load(spec).table["image_id"][0]
    cohort = harmonize.load(exclude(spec, f"image_id\n{first}\nnobody\n\nstranger\n"))
    assert (cohort.flow["listed_in_exclude"], len(cohort.remarks)) == (1, 1)
    from harmonize.checks.release import check_rows

    assert "2 of 3 ids of `exclude` (67 %) are not in the table" in check_rows(cohort)[-1].found


def test_several_lists_apply_together(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    first, second, *rest = harmonize.load(spec).table["image_id"]
    spec = exclude(exclude(spec, f"image_id\n{first}\n"), f"image_id\n{first}\n{second}\n", "more.csv")
    cohort = harmonize.load(spec)
    assert cohort.table["image_id"].tolist() == rest
    assert cohort.flow["listed_in_exclude"] == 2


@pytest.mark.parametrize(("content", "what"), [(b"", "the file is empty"), (b"id\n1\n", "the list of `exclude`")])
def test_a_file_without_a_list_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(CxrError, match=what) as error:
        harmonize.load(replace(spec, exclude=(path,)))
    assert error.value.where == str(path)


def test_the_line_of_a_list_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    path = tmp_path / "list.csv"
    path.write_bytes(b"image_id\n\xff\xfe\n")
    with pytest.raises(DatasetError, match="not UTF-8") as error:
        harmonize.load(replace(spec, exclude=(path,)))
    assert error.value.where == f"{path}:2"


def test_a_list_of_all_images_leaves_no_cohort(tmp_path: Path) -> None:
    spec = on_disk(LAYOUT, tmp_path / "nih")
    rows = harmonize.load(spec).table[["image_id"]].to_csv(index=False)
    with pytest.raises(DatasetError, match=r"no images .* listed_in_exclude"):
        harmonize.load(exclude(spec, rows))


def test_paths_of_lists_are_relative_to_the_data_file(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("image_id\n")
    (tmp_path / "two.csv").write_text("image_id\n")
    data = tmp_path / "data.yaml"
    data.write_text(
        "a: {layout: nih, root: nih, exclude: one.csv, population: bethesda}\n"
        f"b: {{layout: nih, root: nih, exclude: [one.csv, '{tmp_path / 'two.csv'}']}}\n"
    )
    specs = with_gold(read_data(data), ["a-gold"])
    assert specs["a"].exclude == specs["a-gold"].exclude == (tmp_path / "one.csv",)
    assert specs["b"].exclude == (tmp_path / "one.csv", tmp_path / "two.csv")
    assert (specs["a"].population, specs["b"].population) == ("bethesda", "")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("exclude: none.csv", "no file .*none.csv"),
        ("exclude: 3", "exclude is 3, not a file"),
        ("exclude: [one.csv, 3]", "not a file"),
        ("population: [a]", "population is"),
        ("population: 'St. Mary'", "invalid population"),
    ],
)
def test_wrong_values_in_the_data_file_are_refused(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "one.csv").write_text("image_id\n")
    (tmp_path / "data.yaml").write_text(f"a: {{layout: nih, root: nih, {keys}}}\n")
    with pytest.raises(ConfigError, match=message):
        read_data(tmp_path / "data.yaml")
