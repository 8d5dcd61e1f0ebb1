"""What a grid says about labels and images reaches the cohorts that it trains and tests on."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import CohortChoice, RunConfig, differing
from bench.planning.plan import make_plan
from bench.planning.protocol import internal_split
from bench.store.store import Store
from harmonize.cohorts.specs import CohortSpec, with_gold
from harmonize.errors import ConfigError
from tests.nonempty import nonempty
from tests.unit.bench.planning.test_plan import GRID, MAPPING, patients, plan, silent

NAMES = dict.fromkeys(("architecture", "optimizer", "loss", "uncertainty", "preprocessing"), "x")


def grid_with(tmp_path: Path, more: str) -> Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID.replace("channels: 1}", f"channels: 1, {more}}}"))
    return Grid.read(str(path), Registry.read())


def test_the_choice_of_a_grid_is_about_its_internal_and_goes_beyond_that_of_the_data_file(tmp_path: Path) -> None:
    grid = grid_with(tmp_path, "label_source: chexbert, cohort: {views: pa, limit: 7}")
    internal = CohortSpec("internal", "chexpert", tmp_path, choice=CohortChoice(min_age=18.0))
    read = grid.cohort_spec(internal)
    assert read.choice == CohortChoice(views="pa", min_age=18.0)  # the limit is about training patients: not here
    assert read.label_source == "chexbert"
    external = CohortSpec("external", "chexpert", tmp_path, choice=CohortChoice(gold=True))
    assert grid.cohort_spec(external) == external


def test_a_grid_that_says_nothing_leaves_the_data_file_alone(tmp_path: Path) -> None:
    hybrid = (("Edema", "visualchexbert"),)
    internal = CohortSpec("internal", "chexpert", tmp_path, label_source="chexbert", hybrid=hybrid)
    assert grid_with(tmp_path, "seed: 1").cohort_spec(internal) == internal
    assert grid_with(tmp_path, "label_source: visualchexbert").cohort_spec(internal).hybrid == ()


def test_ages_of_the_internal_cohort_are_chosen_by_the_grid(tmp_path: Path) -> None:
    table = patients(90).assign(patient=[str(i) for i in range(90)])
    mapping = MAPPING + "age: {column: patient}\n"
    grid = GRID.replace("channels: 1}", "channels: 1, cohort: {min_age: 30, limit: 5}}")
    made = plan(tmp_path, table, mapping, grid)
    internal = made.cohorts["internal"]
    assert internal.table["age"].min() == 30
    assert internal.flow["outside_ages"] == 30
    split = internal_split(internal.table, made.runs[0].config)
    assert internal.table.loc[split == "train", "patient_id"].nunique() == 5
    assert made.cohorts["far"].flow["kept"] == 6


def test_a_space_of_a_grid_is_that_of_its_cohorts(tmp_path: Path) -> None:
    mapping = MAPPING + "  Fracture: {column: finding, present: [Pneumonia], absent: [No Finding]}\n"
    made = plan(tmp_path, patients(60), mapping, GRID.replace("channels: 1}", "channels: 1, space: chexpert-14}"))
    for cohort in nonempty(made.cohorts.values()):
        assert set(cohort.table["Fracture"]) == {0, 1}
        assert cohort.table["Lung Opacity"].isna().all()


@pytest.mark.parametrize(
    ("sweep", "key"),
    [
        ("{mapping: [default, strict]}", "mapping"),
        ("{cohort.views: [frontal, pa]}", "cohort"),
    ],
)
def test_runs_of_one_grid_learn_and_are_tested_on_the_same_labels(tmp_path: Path, sweep: str, key: str) -> None:
    (tmp_path / "grid.yaml").write_text(f"{GRID}sweeps:\n  - {sweep}\n")
    with pytest.raises(ConfigError, match=f"the same {key}"):
        Grid.read(str(tmp_path / "grid.yaml"), Registry.read())


def test_runs_may_differ_in_the_number_of_training_patients(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(f"{GRID}sweeps:\n  - {{cohort.limit: [0, 5, 10]}}\n")
    assert len(Grid.read(str(tmp_path / "grid.yaml"), Registry.read()).configs) == 3


def test_a_choice_at_its_defaults_stays_out_of_the_identity_and_comes_back_from_the_store() -> None:
    config = RunConfig(**NAMES)
    assert "cohort" not in differing(config)
    chosen = replace(config, cohort=CohortChoice(views="pa", gold=True), label_source="physician")
    assert differing(chosen) == {**NAMES, "label_source": "physician", "cohort": {"views": "pa", "gold": True}}
    assert asdict(chosen)["cohort"]["views"] == "pa"


@pytest.mark.parametrize("bad", [{"label_source": "chexbrt"}, {"label_source": ""}])
def test_a_label_source_that_nobody_has_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label_source must be one of default, chexbert"):
        RunConfig(**NAMES, **bad)


def test_a_gold_subset_is_tested_on_by_its_name_alone(tmp_path: Path) -> None:
    specs = {
        "mimic": CohortSpec("mimic", "mimic", tmp_path, hybrid=(("Edema", "negbio"),)),
        "mine": CohortSpec("mine", "padchest", tmp_path, choice=CohortChoice(min_age=18.0)),
        "own-gold": CohortSpec("own-gold", "vindr", tmp_path),
    }
    found = with_gold(specs, ["mimic-gold", "mine-gold", "own-gold", "nobody-gold"])
    assert list(found) == ["mimic", "mine", "own-gold", "mimic-gold", "mine-gold"]
    assert found["mimic-gold"] == CohortSpec(
        "mimic-gold", "mimic", tmp_path, label_source="expert", choice=CohortChoice(gold=True)
    )
    assert found["mine-gold"].choice == CohortChoice(min_age=18.0, gold=True)
    assert {name: found[name] for name in specs} == specs


@pytest.mark.slow
def test_a_grid_on_phantoms_may_test_on_the_relabelled_studies(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    form = GRID.replace("train_on: internal", "train_on: chexpert").replace(
        "min_count: 2", "phantom: {source: 40, external: 40}"
    )
    path.write_text(form.replace("[far]", "[mimic, mimic-gold]"))
    grid = Grid.read(str(path), Registry.read())
    assert grid.phantom_settings.images == {"chexpert": 40, "mimic": 40}
    plain = replace(grid, evaluate_on=("mimic",))
    assert grid.phantom_settings.key == plain.phantom_settings.key
    made = make_plan(grid, Registry.read(), Store.open(tmp_path / "runs"), None, None, 1, "", silent)
    gold = made.cohorts["mimic-gold"].table
    assert 0 < len(gold) < len(made.cohorts["mimic"].table)
    relabelled = gold["expert:Edema"].map({1: 1, 0: 0, -1: -1, -2: -2})
    assert gold["Edema"].tolist() == relabelled.tolist()
