"""The names of synthetic hospitals: a letter and a layout, never the name of the real hospital."""

from dataclasses import asdict
from pathlib import Path
from string import ascii_uppercase

import pytest

from harmonize.cohorts.cohort import load
from harmonize.cohorts.hospital_names import hospital_name
from harmonize.cohorts.specs import CohortSpec, read_data
from harmonize.datasets import PUBLISHED
from harmonize.labels.findings import labels_yaml
from harmonize.phantom import PhantomSettings, write_cohorts
from harmonize.phantom.sites import SITES

TEXTS = labels_yaml()["datasets"]


def test_each_layout_has_one_letter_in_a_fixed_order() -> None:
    names = [hospital_name(layout, layout, TEXTS[layout], phantom=True) for layout in PUBLISHED]
    assert [name.short for name in names] == [f"Hospital {letter}" for letter in ascii_uppercase[: len(PUBLISHED)]]
    assert names[0].title == "Hospital A (CheXpert layout)"
    assert names[1].title == "Hospital B (MIMIC layout)"
    assert {name.place for name in names} == {"synthetic"}


def test_synthetic_hospitals_exist_for_all_layouts_but_those_that_say_so() -> None:
    assert set(SITES) == {layout for layout in PUBLISHED if TEXTS[layout].get("synthetic", True)}


@pytest.mark.parametrize("name", [*PUBLISHED, *(f"{layout}-gold" for layout in PUBLISHED), "clinic"])
def test_a_synthetic_hospital_has_no_title_and_no_place_of_a_real_one(name: str) -> None:
    layout = name.removesuffix("-gold") if name != "clinic" else "nih"
    shown = " ".join(asdict(hospital_name(name, layout, TEXTS[layout], phantom=True)).values())
    shown = shown.replace(f"({TEXTS[layout]['title'].partition('-')[0]} layout)", "")
    for texts in TEXTS.values():
        assert texts["title"] not in shown
        assert texts["place"] not in shown
    assert "synthetic" in shown


def test_a_real_cohort_keeps_the_title_of_its_dataset_or_the_name_that_the_user_chose() -> None:
    assert hospital_name("mimic", "mimic", TEXTS["mimic"], phantom=False).title == "MIMIC-CXR"
    assert hospital_name("clinic", "mimic", TEXTS["mimic"], phantom=False).short == "clinic"
    assert hospital_name("clinic", "table", {}, phantom=False).place == ""


@pytest.mark.slow
def test_a_phantom_cohort_has_the_synthetic_name(tmp_path: Path) -> None:
    write_cohorts(tmp_path, PhantomSettings(source="chexpert", images={"chexpert": 12, "nih": 6}, size=64))
    cohort = load(read_data(tmp_path)["nih"])
    assert (cohort.facts["title"], cohort.facts["place"]) == ("Hospital C (NIH layout)", "synthetic")
    (tmp_path / "phantom.json").rename(tmp_path / "other.json")  # the same files as a real cohort
    real = load(CohortSpec("nih", "nih", tmp_path / "nih"))
    assert (real.facts["title"], real.facts["place"]) == ("NIH-14", "Bethesda, US")
    assert real.id == cohort.id
