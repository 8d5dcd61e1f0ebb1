"""Pools of training hospitals: names, ids, paths, identity, and the places of locations in images."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.pool_names import check_pool, hospitals_of, is_pool, pool_name
from harmonize.cohorts.pooled import HOSPITAL, PooledCohort, hospital_of, members_of, places_of, pooled
from harmonize.cohorts.specs import read_data
from harmonize.ground_truth.ground_truth import tag_boxes, truth_of, truth_of_places
from harmonize.phantom import PhantomSettings, write_cohorts
from tests.nonempty import nonempty

NAMES = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True), min_size=1, max_size=5, unique=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images of three hospitals, with a tag that depends on a finding at one of them."""
    root = tmp_path_factory.mktemp("pool")
    write_cohorts(root, PhantomSettings(images={"chexpert": 30, "mimic": 24, "nih": 12}, size=64))
    return root


@pytest.fixture(scope="module")
def members(data: Path) -> list[Cohort]:
    specs = read_data(data)
    return [load(specs[name]) for name in ("mimic", "chexpert")]


@pytest.mark.slow
@given(NAMES)
def test_the_name_of_a_pool_does_not_depend_on_the_order_and_tells_the_hospitals(names: list[str]) -> None:
    pool = pool_name(names)
    assert pool == pool_name(reversed(names))
    assert set(hospitals_of(pool)) == set(names)
    assert is_pool(pool) == (len(names) > 1)
    check_pool(pool)


@pytest.mark.parametrize("name", ["b+a", "a+a", "a+", "+a", "+", ""])
def test_other_names_with_a_plus_are_no_pools(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a pool"):
        check_pool(name)


def test_a_pool_has_the_rows_of_its_members_in_alphabetical_order(members: list[Cohort]) -> None:
    pool = pooled(members)
    mimic, chexpert = members
    assert pool.name == "chexpert+mimic"
    assert [m.name for m in members_of(pool)] == ["chexpert", "mimic"]
    expected = [
        *(f"chexpert/{i}" for i in chexpert.table["image_id"]),
        *(f"mimic/{i}" for i in mimic.table["image_id"]),
    ]
    assert pool.table["image_id"].tolist() == expected
    assert pool.table[HOSPITAL].tolist() == hospital_of(pool.name, pool.table["image_id"]).tolist()
    assert pool.table[HOSPITAL].value_counts().to_dict() == {"chexpert": len(chexpert.table), "mimic": len(mimic.table)}
    findings = [name for name in ("Edema", "Pleural Effusion") if name in mimic.table]
    both = pd.concat([chexpert.table[findings], mimic.table[findings]], ignore_index=True)
    pd.testing.assert_frame_equal(pool.table[findings], both)


def test_the_images_of_a_pool_are_files_below_its_root(members: list[Cohort]) -> None:
    pool = pooled(members)
    for cohort in nonempty(members):
        rows = pool.table[pool.table[HOSPITAL] == cohort.name]
        files = [cohort.root / path for path in cohort.table["path"]]
        assert all((pool.root / path).samefile(file) for path, file in zip(rows["path"], files, strict=True))


def test_equal_patient_ids_of_two_hospitals_stay_two_patients(members: list[Cohort]) -> None:
    twins = [replace(cohort, table=cohort.table.assign(patient_id="1")) for cohort in members]
    assert pooled(twins).table["patient_id"].unique().tolist() == ["chexpert/1", "mimic/1"]


def test_the_counts_of_a_pool_are_sums(members: list[Cohort]) -> None:
    pool = pooled(members)
    assert pool.flow["kept"] == len(pool.table) == sum(cohort.flow["kept"] for cohort in members)
    assert pool.flow["found"] == sum(cohort.flow["found"] for cohort in members)


def test_the_id_depends_on_the_members_and_not_on_their_order_or_place(members: list[Cohort], tmp_path: Path) -> None:
    own = pooled(members).id
    assert pooled(members[::-1]).id == own
    moved = [replace(cohort, root=tmp_path / "elsewhere" / cohort.name) for cohort in members]
    assert pooled(moved).id == own
    fewer = [members[0], replace(members[1], table=members[1].table.iloc[1:])]
    assert pooled(fewer).id != own


def test_a_pool_of_synthetic_hospitals_has_their_names_and_no_real_name(members: list[Cohort]) -> None:
    facts = pooled(members).facts
    assert facts["short"] == "Hospital A + Hospital B"
    assert facts["place"] == "synthetic"


def test_locations_in_images_of_a_pool_are_those_of_the_hospitals(members: list[Cohort]) -> None:
    pool = pooled(members)
    truth = truth_of_places(places_of(pool), pool.table)
    for cohort in members:
        own = truth_of(cohort.layout, cohort.root, cohort.table)
        located = {(image, f) for image, f in truth.located if image.startswith(f"{cohort.name}/")}
        assert located == {(f"{cohort.name}/{image}", finding) for image, finding in own.located}
        image = str(cohort.table["image_id"].iloc[0])
        masks, expected = truth.masks(f"{cohort.name}/{image}", (64, 64)), own.masks(image, (64, 64))
        assert masks.keys() == expected.keys()
        assert all((masks[name] == expected[name]).all() for name in masks)
    tags, of_each = tag_boxes(places_of(pool)), [tag_boxes(places_of(cohort)) for cohort in members]
    assert tags is not None
    assert len(tags) == sum(len(boxes or {}) for boxes in of_each) > 0


def test_a_cohort_of_one_hospital_is_its_only_member(members: list[Cohort]) -> None:
    [member] = members_of(members[0])
    assert member is members[0]
    [place] = places_of(member)
    assert (place.root, place.prefix) == (member.root, "")
    assert not isinstance(member, PooledCohort)
