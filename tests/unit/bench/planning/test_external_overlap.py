"""Images and patients that two external cohorts share are counted, and a cohort under two names is left out once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.planning.external_overlap import find_repeated
from bench.planning.image_caches import DecodedImages, prepare
from bench.planning.manifest import planned_manifest
from bench.planning.plan import Plan
from bench.planning.planned_grid import ComparedCohorts, Overlap
from bench.study.plan_remarks import cohort_remarks
from harmonize.errors import ConfigError
from harmonize.phantom import PhantomSettings, twin
from tests.unit.bench.planning.test_overlap import (
    encoded_again,
    nih_entry,
    planned,
    png,
    table_entry,
    write,
    write_nih,
)
from tests.unit.bench.planning.test_plan import GRID, MAPPING, silent

SETTINGS = PhantomSettings(seed=5, size=128)
INTERNAL, FAR, NEW, COPIES = 40, 20, 10, 6
TWO = GRID.replace("[far]", "[far, near]")
THREE = GRID.replace("[far]", "[far, near, third]")


def remarks_on_images(*given: Any) -> list[str]:
    """Return the remarks on cohorts, without those on the words that "*" of a table takes."""
    return [line for line in cohort_remarks(*given) if '"*" counts as' not in line]


@pytest.fixture(scope="module")
def radiographs() -> dict[str, list[np.ndarray]]:
    numbers = {"chexpert": INTERNAL, "nih": FAR, "mimic": NEW}
    return {
        site: [(twin(SETTINGS, site, i).image * 255).round().astype(np.uint8) for i in range(number)]
        for site, number in numbers.items()
    }


def images_of(folder: Path, grid: str, **near: object) -> DecodedImages:
    cohorts = {name: table_entry(name) for name in ("internal", "far", "near", "third") if (folder / name).is_dir()}
    cohorts["near"] |= near
    return prepare(planned(folder, grid, **cohorts), 1, silent)


def write_tables(folder: Path, radiographs: dict[str, list[np.ndarray]], near: list[bytes]) -> None:
    write(folder / "internal", [png(image) for image in radiographs["chexpert"]], "")
    write(folder / "far", [png(image) for image in radiographs["nih"]], "b")
    write(folder / "near", near, "c")
    (folder / "mapping.yaml").write_text(MAPPING)


@pytest.mark.slow
def test_external_cohorts_that_share_images_are_both_scored_and_the_images_are_counted_and_listed(
    tmp_path: Path, radiographs: dict[str, list[np.ndarray]]
) -> None:
    exact, *others = radiographs["nih"][:COPIES]
    copies = [png(exact), *(encoded_again(image, i) for i, image in enumerate(others))]
    write_tables(tmp_path, radiographs, [*(png(image) for image in radiographs["mimic"]), *copies])
    images, found = images_of(tmp_path, TWO).compared()
    assert list(images.plan.cohorts) == ["internal", "far", "near"]
    path = tmp_path / "runs" / "cohorts" / "shared-far+near.csv"
    lines = remarks_on_images(images.plan, found)
    assert lines == [
        (
            f"far and near share images ({COPIES} of {FAR} at far, {COPIES} of {NEW + COPIES} at near); means over hospitals count"
            f" them twice. To remove them from near, name {path} as its `exclude:`."
        )
    ]
    listed = pd.read_csv(path, dtype=str)
    assert listed["image_id"].tolist() == [f"{NEW + i}.png" for i in range(COPIES)]
    assert listed["copy_of"].tolist() == [f"{i}.png" for i in range(COPIES)]
    assert listed["kind"].tolist() == ["exact", *["near"] * (COPIES - 1)]
    overlap = Overlap(("far", "near"), ("table", "table"), (FAR, NEW + COPIES), (COPIES, COPIES))
    assert planned_manifest(images.plan, images.caches, 0).compared == ComparedCohorts((), True, (overlap,), ())
    assert remarks_on_images(images.plan, images_of(tmp_path, TWO).compared()[1]) == lines, (
        "the stored comparison gives the same lines"
    )
    path.unlink()
    assert remarks_on_images(images.plan, images_of(tmp_path, TWO).compared()[1]) == lines
    assert path.is_file(), "a lost list is written again"
    assert images_of(tmp_path, TWO, exclude=str(path)).compared()[1].lists == {}


@pytest.mark.slow
def test_a_cohort_that_was_encoded_again_is_the_same_cohort_and_is_left_out(
    tmp_path: Path, radiographs: dict[str, list[np.ndarray]]
) -> None:
    again = [encoded_again(image, i) for i, image in enumerate(radiographs["nih"][:-1])]
    write_tables(tmp_path, radiographs, [*again, png(radiographs["mimic"][0])])
    write(tmp_path / "third", [png(image) for image in radiographs["mimic"][1:]], "d")
    images, found = images_of(tmp_path, THREE).compared()
    assert list(images.plan.cohorts) == ["internal", "far", "third"]
    assert [ref.name for ref in images.plan.refs] == ["internal", "far", "third"]
    assert {name for name, _ in images.caches} == {"internal", "far", "third"}
    [left_out] = images.plan.left_out
    assert left_out.cohorts == ("far", "near")
    assert left_out.images is not None
    assert min(left_out.images) >= 18
    assert remarks_on_images(images.plan, found) == [
        (
            f"near is left out, because {left_out.images[1]} of its 20 scored images are also in far. "
            "Each mean counts this hospital once. To score near, name it without far in another grid."
        )
    ]
    assert [overlap.cohorts for overlap in images.plan.overlaps] == [("far", "third")]
    assert [run.id for run in images.plan.runs] == [run.id for run in images_of(tmp_path, THREE).plan.runs]
    manifest = planned_manifest(images.plan, images.caches, 0)
    assert [cohort.name for cohort in manifest.cohorts] == ["internal", "far", "third"]
    assert manifest.compared is not None
    assert manifest.compared.left_out == (left_out,)


@pytest.mark.slow
def test_a_cohort_that_another_one_contains_is_left_out_whatever_their_order(
    tmp_path: Path, radiographs: dict[str, list[np.ndarray]]
) -> None:
    write_tables(tmp_path, radiographs, [png(image) for image in radiographs["nih"][:COPIES]])
    for grid in (TWO, TWO.replace("far, near", "near, far")):
        images, found = images_of(tmp_path, grid).compared()
        assert found.lists == {}
        assert list(images.plan.cohorts) == ["internal", "far"]
        [left_out] = images.plan.left_out
        assert (left_out.cohorts, left_out.num_images) == (("far", "near"), (FAR, COPIES))
        assert left_out.images == (COPIES, COPIES)


@pytest.mark.slow
def test_images_that_one_cohort_does_not_score_are_not_counted(
    tmp_path: Path, radiographs: dict[str, list[np.ndarray]]
) -> None:
    tested = [*radiographs["nih"][:COPIES], *radiographs["mimic"]]
    write_tables(tmp_path, radiographs, [png(image) for image in [*radiographs["nih"][COPIES:], *tested]])
    table = pd.read_csv(tmp_path / "near" / "table.csv")
    trained = FAR - COPIES
    table["split"] = ["train"] * trained + ["test"] * len(tested)
    table.to_csv(tmp_path / "near" / "table.csv", index=False)
    (tmp_path / "splits.yaml").write_text(MAPPING + "split: {column: split, train: [train], test: [test]}\n")
    images = images_of(tmp_path, TWO, mapping="splits.yaml")
    refs = tuple(replace(ref, headline_split="test") if ref.name == "near" else ref for ref in images.plan.refs)
    compared, found = replace(images, plan=replace(images.plan, refs=refs)).compared()
    [line] = remarks_on_images(compared.plan, found)
    assert f"({COPIES} of {FAR} at far, {COPIES} of {len(tested)} at near)" in line
    assert compared.plan.left_out == ()


def overlap(one: str, other: str, sizes: tuple[int, int], shared: tuple[int, int]) -> Overlap:
    return Overlap((one, other), ("nih", "nih"), sizes, shared)


def test_gold_subsets_stay_because_a_grid_asks_for_their_labels() -> None:
    found = [overlap("mimic", "mimic-gold", (90, 9), (9, 9))]
    assert find_repeated(found, ["mimic-gold"]) == ()
    assert [o.cohorts for o in find_repeated(found, [])] == [("mimic", "mimic-gold")]


def test_of_nested_cohorts_the_largest_stays() -> None:
    found = [
        overlap("small", "middle", (9, 30), (9, 9)),
        overlap("small", "large", (9, 90), (9, 9)),
        overlap("middle", "large", (30, 90), (30, 30)),
    ]
    assert [o.cohorts for o in find_repeated(found, [])] == [("large", "small"), ("large", "middle")]


def plan_of_nih(folder: Path, grid: str, **entries: dict[str, object]) -> Plan:
    return planned(folder, grid, internal=nih_entry("internal"), **entries)


@pytest.mark.slow
def test_one_table_under_two_names_is_scored_once(tmp_path: Path) -> None:
    for name, patient in (("internal", 1), ("far", 100), ("near", 100), ("third", 200)):
        write_nih(tmp_path / name, patient)
    entries = {name: nih_entry(name) for name in ("far", "near", "third")}
    plan = plan_of_nih(tmp_path, THREE, **entries)
    assert list(plan.cohorts) == ["internal", "far", "third"]
    assert remarks_on_images(plan) == [
        (
            "near is left out, because it has the same table as far. Each mean counts this hospital once. "
            "To score near, name it without far in another grid."
        )
    ]
    assert [overlap.cohorts for overlap in plan.overlaps] == [("far", "third")]


def test_the_internal_table_under_another_name_is_refused(tmp_path: Path) -> None:
    write_nih(tmp_path / "internal", 1)
    write_nih(tmp_path / "far", 1)
    with pytest.raises(ConfigError, match="the cohorts 'internal' and 'far' have the same table"):
        plan_of_nih(tmp_path, GRID, far=nih_entry("far"))


@pytest.mark.slow
@pytest.mark.parametrize(("population", "patients"), [("", 5), ("one", None)])
def test_patients_of_external_cohorts_are_compared_within_a_layout_or_population(
    tmp_path: Path, population: str, patients: int | None
) -> None:
    for name, patient in (("internal", 1), ("far", 100), ("near", 115)):
        write_nih(tmp_path / name, patient)
    stated = {"population": population} if population else {}
    far, near = nih_entry("far", **stated), nih_entry("near", **(stated and {"population": "two"}))
    plan = plan_of_nih(tmp_path, TWO, far=far, near=near)
    assert [overlap.patients for overlap in plan.overlaps] == [patients]
    images, found = prepare(plan, 1, silent).compared()
    path = tmp_path / "runs" / "cohorts" / "patients-far+near.csv"
    if patients is None:
        assert found.lists == {}
        return
    assert remarks_on_images(images.plan, found) == [
        (
            f"far and near share 5 patients; means over hospitals count them twice. To remove them from near, name {path} "
            "as its `exclude:`."
        )
    ]
    assert path.read_text() == "patient_id\n115\n116\n117\n118\n119\n"
    assert images.plan.overlaps[0].images == (0, 0)


@pytest.mark.slow
def test_of_three_equal_cohorts_the_first_stays(tmp_path: Path, radiographs: dict[str, list[np.ndarray]]) -> None:
    near = [encoded_again(image, i) for i, image in enumerate(radiographs["nih"])]
    write_tables(tmp_path, radiographs, near)
    write(tmp_path / "third", near, "d")
    images, _ = images_of(tmp_path, THREE).compared()
    assert list(images.plan.cohorts) == ["internal", "far"]
    assert {overlap.cohorts[1] for overlap in images.plan.left_out} == {"near", "third"}
