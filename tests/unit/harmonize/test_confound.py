"""Tests of `confound:` in the data file: the stated odds ratio holds, removed images are counted, wrong blocks are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import harmonize
from harmonize.cohorts.cohort_choice import Confound
from harmonize.cohorts.confounding import confounded
from harmonize.cohorts.specs import read_data, with_gold
from harmonize.errors import ConfigError, DatasetError

EDEMA_AP = {"finding": "Edema", "with": "view", "level": "AP", "odds_ratio": 8}


def images(num: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, "pd.Series[int]"]:
    """Return images with views and states of a finding; some views are unknown, and some states are uncertain or null."""
    draw = np.random.default_rng(seed)
    view = draw.choice(["AP", "PA", "FRONTAL"], num, p=[0.4, 0.5, 0.1])
    table = pd.DataFrame(
        {"image_id": [f"i{k}" for k in range(num)], "view": view, "sex": draw.choice(["F", "M", ""], num)}
    )
    state = pd.Series(draw.choice([1, 0, -1, -2], num, p=[0.2, 0.3, 0.1, 0.4]), dtype="Int8")
    state[:50] = pd.NA
    return table, state


def odds_ratio(table: pd.DataFrame, state: "pd.Series[int]", column: str, level: str) -> float:
    """Return the odds ratio of the finding and the level, from a table of four counts."""
    counts = pd.crosstab(state == 1, table[column] == level).to_numpy()
    return float(counts[1, 1] * counts[0, 0] / (counts[1, 0] * counts[0, 1]))


@pytest.mark.slow
@given(target=st.floats(0.1, 10), seed=st.integers(0, 3))
def test_finding_and_level_have_the_stated_odds_ratio(target: float, seed: int) -> None:
    table, state = images(seed=seed)
    flow: dict[str, int] = {}
    kept = confounded(table, state, Confound("Edema", "view", "AP", target, seed), flow, "x")
    assert odds_ratio(table[kept], state[kept], "view", "AP") == pytest.approx(target, rel=0.05)
    assert flow["without_label_or_level"] == ((state == -1) | state.isna() | (table["view"] == "FRONTAL")).sum()
    assert kept.sum() + sum(flow.values()) == len(table)


def test_one_makes_finding_and_level_independent_and_other_seeds_keep_other_images() -> None:
    table, state = images()
    state[table["view"] == "AP"] = state[table["view"] == "AP"].replace(-2, 1)
    assert odds_ratio(table[state.notna()], state[state.notna()], "view", "AP") > 2
    masks = [confounded(table, state, Confound("Edema", "view", "AP", 1, seed), {}, "x") for seed in (0, 0, 1)]
    assert odds_ratio(table[masks[0]], state[masks[0]], "view", "AP") == pytest.approx(1, rel=0.02)
    assert (masks[0] == masks[1]).all()
    assert masks[0].sum() == masks[2].sum()
    assert (masks[0] != masks[2]).any()


def test_the_images_do_not_depend_on_the_order_of_the_rows() -> None:
    table, state = images()
    back = table.iloc[::-1].reset_index(drop=True), state.iloc[::-1].reset_index(drop=True)
    choice = Confound("Edema", "sex", "F", 5)
    assert (confounded(table, state, choice, {}, "x") == confounded(*back, choice, {}, "x")[::-1]).all()


def test_a_combination_without_images_is_refused() -> None:
    table, state = images()
    for choice, what in (
        (Confound("Edema", "view", "LATERAL", 2), "without Edema and of view LATERAL"),
        (Confound("Edema", "view", "AP", 1e9), "without Edema and of view AP"),
    ):
        with pytest.raises(DatasetError, match=what):
            confounded(table, state, choice, {}, "x")


MAPPING = """
image: "{file}"
patient: patient
view: {column: view, PA: [PA], AP: [AP]}
findings:
  Edema: {column: edema, present: [1], absent: [0]}
"""


def write_hospital(folder: Path) -> None:
    """Write a hospital of 400 images into the folder `ours`."""
    draw = np.random.default_rng(0)
    (folder / "ours").mkdir()
    (folder / "mapping.yaml").write_text(MAPPING)
    view, edema = draw.choice(["PA", "AP"], 400), draw.integers(0, 2, 400)
    table = pd.DataFrame(
        {"file": [f"{k}.png" for k in range(400)], "patient": range(400), "view": view, "edema": edema}
    )
    table.to_csv(folder / "ours" / "table.csv", index=False)
    for name in table["file"]:
        (folder / "ours" / name).touch()


def hospital(folder: Path, **keys: Any) -> harmonize.Cohort:
    """Load the hospital with these keys of the data file."""
    entry = {"layout": "table", "root": "ours", "table": "table.csv", "mapping": "mapping.yaml", **keys}
    (folder / "data.yaml").write_text(yaml.safe_dump({"ours": entry}))
    return harmonize.load(read_data(folder / "data.yaml")["ours"])


def test_a_cohort_of_a_data_file_is_sampled_counted_and_has_another_id(tmp_path: Path) -> None:
    write_hospital(tmp_path)
    whole, cohort = hospital(tmp_path), hospital(tmp_path, confound=EDEMA_AP)
    assert odds_ratio(whole.table, whole.table["Edema"], "view", "AP") < 2
    assert odds_ratio(cohort.table, cohort.table["Edema"], "view", "AP") == pytest.approx(8, rel=0.15)
    assert cohort.flow["kept"] == len(cohort.table) == 400 - cohort.flow["sampled_out"]
    assert len({whole.id, cohort.id, hospital(tmp_path, confound={**EDEMA_AP, "seed": 1}).id}) == 3
    assert cohort.facts["confound"] == "Edema and view AP have an odds ratio of 8"
    assert "confound" not in whole.facts


def test_a_gold_subset_is_not_sampled() -> None:
    spec = harmonize.CohortSpec("mimic", "mimic", Path("x"), confound=Confound("Edema", "view", "AP", 8))
    extended = with_gold({"mimic": spec}, ["mimic", "mimic-gold"])
    assert extended["mimic"].confound
    assert extended["mimic-gold"].confound is None


def read(folder: Path, confound: Any) -> harmonize.CohortSpec:
    (folder / "data.yaml").write_text(yaml.safe_dump({"nih": {"layout": "nih", "root": "nih", "confound": confound}}))
    return read_data(folder / "data.yaml")["nih"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"odds_ratio": 0}, "odds_ratio must be a number above 0"),
        ({"odds_ratio": "8"}, "odds_ratio is '8', not of type float"),
        ({"with": "age"}, "with must be one of view, sex, device"),
        ({"finding": "Oedema"}, "no finding 'Oedema'"),
        ({"factor": 1}, "unknown key 'factor'"),
        ({"level": None}, "level is None"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_wrong_keys_are_refused_with_their_place(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        read(tmp_path, {**EDEMA_AP, **changes})
    assert "nih.confound" in error.value.where or "nih: " in error.value.where
    assert error.value.fix


@pytest.mark.parametrize("confound", ["Edema", {"finding": "Edema"}, None])
def test_an_incomplete_block_is_refused_with_an_example(confound: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, confound)
    assert "odds_ratio: 8" in error.value.fix
