"""What is wrong with the data is said before anything trains."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.planning import parsed_tables
from bench.planning import plan as planning
from bench.planning.manifest import links_of, planned_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.protocol import internal_split
from bench.store.store import Store
from harmonize.errors import ConfigError, CxrError, DatasetError
from tests.hand import MAPPING

GRID = """
name: mine
evaluate_on: [far]
min_count: 2
base:
  {train_on: internal, architecture: seresnet_tiny, optimizer: adamw, loss: bce, uncertainty: u_ignore,
   preprocessing: imagenet_64, channels: 1}
"""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def write_cohort(root: Path, table: pd.DataFrame) -> None:
    root.mkdir()
    for name in table["file"]:
        cv2.imwrite(str(root / name), np.random.default_rng(0).integers(0, 255, (70, 80)).astype(np.uint8))
    table.to_csv(root / "table.csv", index=False)


def patients(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": [f"{i}.png" for i in range(n)],
            "patient": [f"p{i}" for i in range(n)],
            "finding": ["Pneumonia", "No Finding"] * (n // 2) + ["Pneumonia"] * (n % 2),
        }
    )


def plan(tmp_path: Path, internal: pd.DataFrame, mapping: str = MAPPING, grid: str = GRID) -> Plan:
    write_cohort(tmp_path / "internal", internal)
    write_cohort(tmp_path / "far", patients(6))
    (tmp_path / "mapping.yaml").write_text(mapping)
    entry = "{layout: table, root: %s, table: table.csv, mapping: mapping.yaml}\n"
    (tmp_path / "data.yaml").write_text("".join(f"{name}: {entry % name}" for name in ("internal", "far")))
    (tmp_path / "grid.yaml").write_text(grid)
    registry = Registry.read()
    asked = Grid.read(str(tmp_path / "grid.yaml"), registry)
    store = Store.open(tmp_path / "runs")
    return make_plan(asked, registry, store, tmp_path / "data.yaml", None, 1, "bench run", silent)


def test_a_table_without_splits_can_be_the_internal_cohort(tmp_path: Path) -> None:
    made = plan(tmp_path, patients(60))
    split = internal_split(made.cohorts["internal"].table, made.runs[0].config)
    assert set(split) == {"train", "val", "test"}
    assert [r.role for r in made.refs] == ["internal", "external"]


def refused(tmp_path: Path, kind: type[CxrError], what: str, **changes: object) -> CxrError:
    with pytest.raises(kind) as error:
        plan(tmp_path, **changes)  # type: ignore[arg-type]
    assert what in error.value.what
    assert error.value.where
    assert error.value.fix
    return error.value


def test_runs_with_the_same_training_data_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[RunConfig] = []
    check = planning._check_internal
    monkeypatch.setattr(planning, "_check_internal", lambda *facts: (checked.append(facts[2]), check(*facts))[1])
    grid = GRID + "sweeps: [{seed: [0, 1, 2], optimizer: [adamw, lion]}, {seed: 3, blank: ignore}]"
    made = plan(tmp_path, patients(60), grid=grid)
    assert len(made.runs) == 7
    assert [config.blank for config in checked] == ["zero", "ignore"]


def test_a_plan_reads_each_table_once_and_no_image_for_any_number_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a dry run depends on the rows of the tables, and hardly on the number of runs."""
    for name in ("imread", "imdecode"):
        monkeypatch.setattr(cv2, name, lambda *_: pytest.fail("an image was decoded"))
    read: list[str] = []
    loaded = parsed_tables.load
    monkeypatch.setattr(
        parsed_tables,
        "load",
        lambda spec, *more, **options: (read.append(spec.name), loaded(spec, *more, **options))[1],
    )
    grid = GRID + "sweeps: [{seed: [0, 1, 2], optimizer: [adamw, lion, sgd, sam], loss: [bce, focal]}]"
    assert len(plan(tmp_path, patients(60), grid=grid).runs) == 24
    assert read == ["internal", "far"]


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, DatasetError, "split of internal is empty", internal=patients(2))


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, DatasetError, "no finding has both classes", internal=patients(60).assign(finding="Pneumonia"))


def test_a_finding_that_is_never_stated_absent_is_refused_where_silence_teaches_nothing(tmp_path: Path) -> None:
    mapping = MAPPING.replace("present: [Pneumonia], absent: [No Finding]", "present: [Pneumonia]")
    grid = GRID.replace("imagenet_64,", "imagenet_64, task: binary, finding: Pneumonia, blank: ignore,")
    error = refused(tmp_path, DatasetError, "no finding has both", internal=patients(60), mapping=mapping, grid=grid)
    assert "blank: zero" in error.fix


def test_a_patient_in_two_splits_is_refused_without_naming_the_patient(tmp_path: Path) -> None:
    table = patients(60).assign(split=["train", "test"] * 30, patient=[f"secret{i // 2}" for i in range(60)])
    mapping = MAPPING + "split: {column: split, train: [train], test: [test]}\n"
    error = refused(tmp_path, DatasetError, "30 patients are in more than one split", internal=table, mapping=mapping)
    assert "secret" not in str(error)


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    error = refused(tmp_path, CxrError, "finding", internal=patients(60).rename(columns={"finding": "findings"}))
    assert "table.csv" in str(error)


def test_a_cohort_that_the_data_lacks_is_named(tmp_path: Path) -> None:
    refused(tmp_path, ConfigError, "'elsewhere'", internal=patients(60), grid=GRID.replace("[far]", "[far, elsewhere]"))


def test_a_limit_keeps_whole_patients_and_leaves_val_and_test_alone(tmp_path: Path) -> None:
    made = plan(tmp_path, patients(60).assign(patient=[f"p{i // 2}" for i in range(60)]))
    table, config = made.cohorts["internal"].table, made.runs[0].config
    limited = RunConfig(**{f: getattr(config, f) for f in ("architecture", "optimizer", "loss", "uncertainty", "preprocessing")},
                        cohort=type(config.cohort)(limit=5))  # fmt: skip
    all_of, some = internal_split(table, config), internal_split(table, limited)
    assert table.loc[some == "train", "patient_id"].nunique() == 5
    for part in ("val", "test"):
        assert ((all_of == part) == (some == part)).all()


def test_more_patients_do_not_move_the_others(tmp_path: Path) -> None:
    made = plan(tmp_path, patients(60))
    table, config = made.cohorts["internal"].table, made.runs[0].config
    fewer = table[table.index % 3 > 0]
    assert internal_split(fewer, config).equals(internal_split(table, config)[table.index % 3 > 0])


@pytest.mark.slow
def test_labels_of_the_internal_cohort_are_part_of_the_run_id(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = plan(tmp_path / "a", patients(60))
    changed = patients(60)
    changed.loc[0, "finding"] = "No Finding"
    second = plan(tmp_path / "b", changed)
    assert first.runs[0].id != second.runs[0].id


@pytest.mark.parametrize("key", ["select_on: expert_valid", "{stop_on: expert_valid, patience: 2}"])
def test_a_internal_without_radiologists_cannot_choose_by_them(key: str, tmp_path: Path) -> None:
    line = f"\n   schedule: {key if key.startswith('{') else '{' + key + '}'}}}\n"
    with pytest.raises(DatasetError, match="no expert_valid split"):
        plan(tmp_path, patients(60), grid=GRID.rstrip().removesuffix("}") + "," + line)


def test_the_manifest_has_the_publications_of_the_entries_that_runs_use(tmp_path: Path) -> None:
    made = plan(tmp_path, patients(60))
    links, entries = planned_manifest(made, {}, 0).links, made.runs[0].entries
    assert links["architecture"][entries["architecture"].name] == {"paper": entries["architecture"].paper}
    assert set(links) == {key for key, entry in entries.items() if entry.paper}


def test_a_network_of_timm_has_links_to_its_code_and_its_pinned_weights() -> None:
    entry = Registry.read().find("architectures", "densenet121", "")
    assert links_of([("architecture", entry)])["architecture"]["densenet121"] == {
        "paper": "arXiv:1608.06993",
        "code": "https://github.com/huggingface/pytorch-image-models",
        "weights": "https://huggingface.co/timm/densenet121.ra_in1k",
    }


def test_a_fold_lacks_a_finding_only_if_it_cannot_be_learned_with_any_policy() -> None:
    """A finding that is only uncertain is learned under some policies: it is no reason to refuse a grid."""

    def fold(surely: str, possibly: str) -> planning._Learnable:
        return planning._Learnable(frozenset(surely), frozenset(possibly))

    assert planning._unequal([("nih", fold("ab", "ab")), ("mimic", fold("a", "ab"))]) == ""
    assert planning._unequal([("", fold("a", "a"))]) == ""
    said = planning._unequal([("nih", fold("ab", "ab")), ("mimic", fold("a", "a"))])
    assert said == "the run that leaves out mimic cannot learn b, but other runs do"
