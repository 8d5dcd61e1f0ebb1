"""Tables and lists that other programs changed: each is read rightly, or the message names the cause. Nothing is lost in silence."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from native_tables import on_disk, written

import harmonize
from harmonize import CohortSpec
from harmonize.checks.release import Check, inspect
from harmonize.cohorts.specs import read_data
from harmonize.datasets.csvrows import read_lines
from harmonize.errors import ConfigError, DatasetError

Edit = Callable[[pd.DataFrame], pd.DataFrame]
MIMIC = "mimic-cxr-2.0.0"
NIH = "Data_Entry_2017_v2020.csv"
PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"


def edit(path: Path, change: Edit, **options: str) -> None:
    """Change a table, as text, in its place."""
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False, **options)  # type: ignore[call-overload]


def in_column(name: str, change: Callable[[str], str]) -> Edit:
    return lambda table: table.assign(**{name: table[name].map(change)})


def found(spec: CohortSpec, level: str) -> str:
    """Return what the checks of a level found, with their fixes."""
    checks: list[Check] = inspect(spec)[1]
    return "\n".join(f"{c.what}: {c.found} -> {c.fix}" for c in checks if c.level == level)


def as_text(encoding: str) -> Callable[[Path], None]:
    """Return a function that writes a file again in another encoding, with the line ends of Windows."""
    return lambda path: path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))


# layout, file, change of the file, parts of the message
REFUSED: list[tuple[str, str, Callable[[Path], None], list[str]]] = [
    ("nih", "test_list.txt", as_text("utf-16"), ["UTF-16", "test_list.txt", "save it as UTF-8"]),
    (
        "nih",
        NIH,
        lambda path: edit(path, lambda t: t.rename(columns=str), sep=";"),
        ["separated by ';'", NIH, "decimal points"],
    ),
    (
        "brax",
        "master_spreadsheet_update.csv",
        lambda path: edit(path, lambda t: t, sep="\t"),
        ["separated by tabs", "commas"],
    ),
    (
        "padchest",
        PADCHEST,
        lambda path: edit(path, in_column("PatientID", lambda cell: f"{float(cell):.5E}")),
        ["'PatientID'", "'8.88889E+35'", "spreadsheet", PADCHEST],
    ),
    (
        "table",
        "table.csv",
        lambda path: edit(path, in_column("patient_id", lambda _: "1,08E+37")),
        ["'patient_id'", "'1,08E+37'", "spreadsheet"],
    ),
    (
        "mimic",
        f"{MIMIC}-metadata.csv.gz",
        lambda path: edit(path, in_column("study_id", lambda cell: f"{float(cell):.1E}")),
        ["'study_id'", "'5.0E+07'", "spreadsheet", "metadata"],
    ),
    (
        "mimic",
        f"{MIMIC}-chexpert.csv.gz",
        lambda path: edit(path, in_column("study_id", lambda cell: f"s{cell}")),
        ["labels match 0 of 5 images", "'s50000001'", "'50000001'"],
    ),
    (
        "mimic",
        f"{MIMIC}-split.csv.gz",
        lambda path: edit(path, in_column("dicom_id", lambda cell: f"{cell}.jpg")),
        ["splits match 0 of 5 images", "endings", "'aa.jpg'", "'aa'"],
    ),
]


@pytest.mark.parametrize(("layout", "name", "change", "parts"), REFUSED)
def test_the_refusal_names_the_cause(
    layout: str, name: str, change: Callable[[Path], None], parts: list[str], tmp_path: Path
) -> None:
    spec = on_disk(layout, tmp_path)
    change(tmp_path / name)
    message = found(spec, "fault")
    assert [part for part in parts if part not in message] == [], message
    with pytest.raises(DatasetError):
        harmonize.load(spec)


def test_a_list_may_have_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.png\r\n\r\n  b c.png \n")
    assert read_lines(path) == ["a.png", "b c.png"]


def test_entries_of_a_list_that_match_no_image_are_named_with_their_share(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    with (tmp_path / "test_list.txt").open("a") as file:
        file.write("00099999_000.png\n")
    warning = found(spec, "warning")
    assert "test_list.txt: 1 of 2 entries (50 %) match no image of the table, e.g. '00099999_000.png'" in warning
    assert harmonize.load(spec).remarks[0].what == "test_list.txt"
    (tmp_path / "train_val_list.txt").write_text("")
    assert any("images are in neither list" in remark.found for remark in harmonize.load(spec).remarks)


def test_a_list_in_another_form_is_refused(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    (tmp_path / "test_list.txt").write_text("00000002_000\n")
    message = found(spec, "fault")
    assert "no entry of test_list.txt is an image of the table" in message
    assert "'00000002_000'" in message
    assert "'00000002_000.png'" in message
    assert "endings" in message


@pytest.mark.parametrize("rows", ["all", "half"])
@pytest.mark.parametrize("name", ["chexpert", "metadata", "split"])
def test_ids_that_became_numbers_with_a_point_keep_their_labels(name: str, rows: str, tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    before = harmonize.load(spec)

    def damage(table: pd.DataFrame) -> pd.DataFrame:
        chosen = table.index % 2 == 0 if rows == "half" else table.index >= 0
        ids = [column for column in ("study_id", "subject_id") if column in table]
        return table.assign(**{column: table[column].mask(chosen, table[column] + ".0") for column in ids})

    edit(tmp_path / f"{MIMIC}-{name}.csv.gz", damage)
    after = harmonize.load(spec)
    assert after.id == before.id
    assert "unlabelled" not in after.flow


def test_labels_of_half_of_the_images_are_a_fault_with_the_share(tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    edit(tmp_path / f"{MIMIC}-chexpert.csv.gz", lambda table: table.iloc[:1])
    assert "labels match 2 of 5 images" in found(spec, "fault")


def test_another_label_source_without_any_image_is_refused(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    train = pd.read_csv(tmp_path / "train.csv", dtype=str, keep_default_na=False)
    train["Path"] = train["Path"].str.replace("patient", "patient9")
    train.to_csv(tmp_path / "train_cheXbert.csv", index=False)
    for name in ("valid.csv", "test_labels.csv"):
        (tmp_path / name).unlink()
    own = harmonize.load(CohortSpec("c", "chexpert", tmp_path))
    assert len(own.table) == 3
    with pytest.raises(DatasetError, match="labels of the source chexbert match 0 of 3 images"):
        harmonize.load(CohortSpec("c", "chexpert", tmp_path, hybrid=(("Edema", "chexbert"),)))
    with pytest.raises(DatasetError, match="labels of the source chexbert match 0 of 3 images"):
        harmonize.load(CohortSpec("c", "chexpert", tmp_path, training=(("chexbert", ()),)))
    assert spec.layout == "chexpert"


@pytest.mark.parametrize(
    ("layout", "name", "column", "old", "known"),
    [
        ("nih", NIH, "View Position", "PA", ""),
        ("mimic", f"{MIMIC}-metadata.csv.gz", "ViewPosition", "PA", "AP AXIAL"),
        ("padchest", PADCHEST, "Projection", "PA", "COSTAL"),
        ("brax", "master_spreadsheet_update.csv", "ViewPosition", "L", "LT-DECUB"),
        ("chexpert", "train.csv", "Frontal/Lateral", "Lateral", "Lateral"),
    ],
)
def test_a_view_word_that_is_not_known_is_named_with_its_count(
    layout: str, name: str, column: str, old: str, known: str, tmp_path: Path
) -> None:
    spec = on_disk(layout, tmp_path)
    edit(tmp_path / name, in_column(column, lambda cell: known if cell == old else cell))
    assert [remark for remark in harmonize.load(spec).remarks if remark.what == "view"] == []
    on_disk(layout, tmp_path)
    edit(tmp_path / name, in_column(column, lambda cell: "postero" if cell == old else cell))
    [remark] = [remark for remark in harmonize.load(spec).remarks if remark.what == "view"]
    number = remark.found.partition(" ")[0]
    assert f"have a word that is not known: 'postero' ({number})" in remark.found
    assert f"view: {remark.found}" in found(spec, "warning")


def test_view_and_sex_words_that_the_mapping_does_not_list_are_named(tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    edit(tmp_path / "table.csv", in_column("view", lambda cell: "frontal supine" if cell == "AP" else cell))
    edit(tmp_path / "table.csv", in_column("sex", lambda cell: "weiblich" if cell == "F" else cell))
    texts = {remark.what: remark.found for remark in harmonize.load(spec).remarks}
    assert texts == {
        "view": "1 of 3 images have a word that is not known: 'frontal supine' (1)",
        "sex": "1 of 3 images have a word that is not known: 'weiblich' (1)",
    }


def test_split_words_that_the_mapping_does_not_list_are_named(tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    assert harmonize.load(spec).remarks == ()
    edit(tmp_path / "table.csv", in_column("split", lambda cell: "Train" if cell == "train" else cell))
    cohort = harmonize.load(spec)
    texts = {remark.what: remark.found for remark in cohort.remarks}
    assert texts == {"split": "1 of 1 images have a word that is not known: 'Train' (1)"}
    assert (cohort.flow["no_split"], len(cohort.table)) == (1, 1)
    assert not [column for column in cohort.table if "unknown" in column]


def test_a_cohort_that_loses_all_images_by_their_views_names_the_words(tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    edit(tmp_path / "table.csv", in_column("view", lambda _: "vorne"))
    assert "'vorne' (3)" in found(spec, "fault")


def test_two_images_of_one_study_with_different_labels_are_named(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    assert harmonize.load(spec).remarks == ()
    second = "patient00001/study2/view2_lateral"

    def relabel(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(Edema=table["Edema"].mask(table["Path"].str.contains(second), "0.0"))

    edit(tmp_path / "train.csv", relabel)
    warning = found(spec, "warning")
    assert "1 of 5 studies have images with different labels, e.g. patient00001/study2" in warning


@pytest.mark.parametrize(("layout", "ending"), [("chexpert", ".png"), ("table", ".jpg"), ("mimic", ".png")])
def test_files_with_another_ending_are_named(layout: str, ending: str, tmp_path: Path) -> None:
    spec = on_disk(layout, tmp_path)
    table = written(layout, tmp_path)
    for path in table["path"]:
        if (tmp_path / path).is_file():
            (tmp_path / path).rename((tmp_path / path).with_suffix(ending))
    first = Path(str(table["path"].iloc[0]))
    message = found(spec, "fault")
    assert f"the table lists {first.as_posix()}, but the folder has {first.stem}{ending}" in message


@pytest.mark.parametrize("layout", ["table", "mimic", "chexpert"])
def test_images_are_found_with_names_in_another_case_and_unicode_form(layout: str, tmp_path: Path) -> None:
    spec = on_disk(layout, tmp_path)
    expected = harmonize.load(spec).table["image_id"].tolist()
    for path in sorted(tmp_path.rglob("*.[jp][pn]g"), reverse=True):
        path.rename(path.with_name(path.name.upper()))
    for folder in sorted((path for path in tmp_path.rglob("*") if path.is_dir()), reverse=True):
        folder.rename(folder.with_name(folder.name.upper()))
    cohort = harmonize.load(spec)
    assert cohort.table["image_id"].tolist() == expected
    assert all((tmp_path / path).is_file() for path in cohort.table["path"])


def test_a_file_of_another_row_is_not_used_for_a_missing_file(tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    edit(tmp_path / "table.csv", lambda raw: pd.concat([raw, raw.iloc[[0]].assign(path="images/A.png")]))
    cohort = harmonize.load(spec)
    assert cohort.flow["absent"] == 1
    assert "images/A.png" not in set(cohort.table["path"])


@pytest.mark.parametrize("start", ["/home/jane/study/", "D:\\study\\", ".\\"])
def test_paths_of_another_machine_are_found(start: str, tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    expected = harmonize.load(spec).table["path"].tolist()
    separator = "\\" if "\\" in start else "/"
    edit(tmp_path / "table.csv", lambda raw: raw.assign(path=start + raw["path"].str.replace("/", separator)))
    cohort = harmonize.load(spec)
    assert [path.removeprefix("./") for path in cohort.table["path"]] == expected


@pytest.mark.parametrize("ending", [".PNG", ".jpg", ".JPG"])
def test_nih_images_are_found_with_another_ending(ending: str, tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    for path in list(tmp_path.rglob("*.png")):
        path.rename(path.with_suffix(ending))
    cohort = harmonize.load(spec)
    assert cohort.flow["absent"] == 0
    assert cohort.table["path"].str.endswith(ending).all()


def test_a_part_of_the_files_with_another_ending_is_named(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    path = tmp_path / "train/patient00002/study1/view1_frontal.jpg"
    path.rename(path.with_suffix(".jpeg"))
    assert "but the folder has view1_frontal.jpeg" in found(spec, "fault")


def test_a_broken_link_is_no_file_with_another_ending(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    path = tmp_path / "train/patient00002/study1/view1_frontal.jpg"
    path.unlink()
    path.symlink_to("nowhere.jpg")
    assert "1 are missing, e.g. " in found(spec, "fault")
    assert "but the folder has" not in found(spec, "fault")


def test_a_quoted_number_of_the_mapping_is_compared_as_a_number(tmp_path: Path) -> None:
    spec = on_disk("table", tmp_path)
    before = harmonize.load(spec).table["Pneumonia"].tolist()
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(mapping.read_text().replace("- 1\n", "- '1.0'\n").replace("- 0\n", "- '0.0'\n"))
    assert "'1.0'" in mapping.read_text()
    assert harmonize.load(spec).table["Pneumonia"].tolist()[:2] == before[:2] == [1, 0]


def test_a_wrong_root_is_named_and_not_the_mapping_file(tmp_path: Path) -> None:
    written("table", tmp_path / "own")
    data = tmp_path / "data.yaml"
    data.write_text("own: {layout: table, root: oen, table: table.csv, mapping: mapping.yaml}\n")
    with pytest.raises(ConfigError) as error:
        read_data(data)
    assert error.value.what == f"no folder {str(tmp_path / 'oen')!r}"
    assert error.value.where.endswith("own.root")
    assert error.value.fix.startswith("did you mean 'own'? correct `root:`")


def test_an_exclude_list_in_another_form_is_explained(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    (tmp_path / "out.csv").write_bytes("\ufeffimage_id\r\n00000001_000\r\n".encode())
    excluding = CohortSpec("nih", "nih", tmp_path, exclude=(tmp_path / "out.csv",))
    [remark] = harmonize.load(excluding).remarks
    assert remark.found.startswith("1 of 1 ids of `exclude` (100 %) are not in the table and are ignored")
    assert "'00000001_000'" in remark.found
    assert "'00000001_000.png'" in remark.found
    assert spec.exclude == ()


def test_an_unknown_word_in_the_column_of_views_is_no_frontal_image(tmp_path: Path) -> None:
    spec = on_disk("chexpert", tmp_path)
    edit(tmp_path / "train.csv", in_column("Frontal/Lateral", lambda cell: cell.lower()))
    cohort = harmonize.load(spec)
    assert cohort.flow["not_frontal"] == 4
    assert "'frontal' (3), 'lateral' (1)" in cohort.remarks[0].found


def test_patients_of_another_table_without_any_match_are_refused(tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    edit(tmp_path / "patients.csv.gz", in_column("subject_id", lambda cell: f"p{cell}"))
    assert "the sexes and ages match 0 of 5 images: for example '10000001' and 'p10000001'" in found(spec, "fault")
