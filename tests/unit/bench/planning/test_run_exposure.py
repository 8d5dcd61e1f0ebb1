"""What a run had seen before its training: given vectors, networks with their own weights, wrong names, lists of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.planning.exposure import Exposure
from bench.planning.run import RunSpec
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.specs import CohortSpec
from harmonize.errors import ConfigError

pytest.importorskip("bench.extensions.embeddings", reason="the architecture `theirs` has given vectors")

ENTRIES = """
schema: 1
include: shipped
architectures:
  theirs: {{embeddings: vectors{stated}}}
  own: {{use: "bench.models.se_resnet:se_resnet"{stated}}}
  plain: {{timm: resnet18.a1_in1k{stated}}}
"""


def cohort(name: str, ids: list[str], folder: Path) -> Cohort:
    """Return a cohort of which only the ids matter here."""
    table = pd.DataFrame({"image_id": ids, "path": ids})
    return Cohort(name, name, folder, table, pd.DataFrame(), {}, False, CohortSpec(name, name, folder))


def answers(folder: Path, architecture: str, stated: str, known: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the answers of a run with random weights; `stated` is the end of the entry of its architecture."""
    path = folder / "registry.yaml"
    path.write_text(ENTRIES.format(stated=stated))
    (folder / "vectors").mkdir(exist_ok=True)
    cohorts = {name: cohort(name, ["a.png", "b.png"], folder) for name in ("chexpert", "nih")}
    for name in cohorts:
        table = pd.DataFrame({"image_id": ["a.png", "b.png"], "v": np.arange(2.0)})
        table.to_csv(folder / "vectors" / f"{name}.csv", index=False)
    config = RunConfig(architecture, "adamw", "bce", "u_ignore", "imagenet_64", weights="none", train_on="chexpert", head="probe")  # fmt: skip
    run = RunSpec.of(config, Registry.read(path), "home", None)
    return dict(Exposure.of_run(run, cohorts, path, None, known).answers)


@pytest.mark.parametrize("architecture", ["theirs", "own"])
def test_the_answers_of_vectors_and_of_networks_with_their_own_weights_are_read(
    tmp_path: Path, architecture: str
) -> None:
    stated = ", seen: {nih: labels, others: no}"
    assert answers(tmp_path, architecture, stated) == {"chexpert": "no", "nih": "labels"}
    assert set(answers(tmp_path, architecture, ", seen: no").values()) == {"no"}


def test_vectors_without_answers_are_unknown(tmp_path: Path) -> None:
    assert set(answers(tmp_path, "theirs", "").values()) == {"unknown"}


@pytest.mark.parametrize(("architecture", "stated"), [("own", ""), ("plain", ", seen: {nih: images}")])
def test_random_weights_had_seen_nothing(tmp_path: Path, architecture: str, stated: str) -> None:
    assert set(answers(tmp_path, architecture, stated).values()) == {"no"}


def test_a_misspelled_hospital_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no cohort 'chexprt'") as raised:
        answers(tmp_path, "theirs", ", seen: {chexprt: labels, others: no}")
    assert "did you mean 'chexpert'" in raised.value.fix
    assert raised.value.where == "architectures.theirs: seen"


def test_other_cohorts_of_the_data_file_may_be_named(tmp_path: Path) -> None:
    found = answers(tmp_path, "theirs", ", seen: {west: labels, others: no}", ("west",))
    assert set(found.values()) == {"no"}


def listed(folder: Path, table: pd.DataFrame, name: str = "ids.parquet") -> tuple[str, ...]:
    path = folder / name
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    (folder / "registry.yaml").write_text(ENTRIES.format(stated=f", seen: {{nih: {{answer: images, images: {name}}}}}"))
    registry = Registry.read(folder / "registry.yaml")
    (folder / "vectors").mkdir(exist_ok=True)
    ids = ["a.png", "b.png", "c.png", "7", "8"]
    pd.DataFrame({"image_id": ids, "v": np.arange(5.0)}).to_csv(folder / "vectors" / "nih.csv", index=False)
    config = RunConfig("theirs", "adamw", "bce", "u_ignore", "imagenet_64", weights="none", train_on="nih", head="probe")  # fmt: skip
    run = RunSpec.of(config, registry, "home", None)
    found = Exposure.of_run(run, {"nih": cohort("nih", ids, folder)}, folder / "registry.yaml", None)
    return found.images["nih"]


@pytest.mark.parametrize("name", ["ids.csv", "ids.parquet"])
def test_a_list_may_mix_ids_with_and_without_endings(tmp_path: Path, name: str) -> None:
    found = listed(tmp_path, pd.DataFrame({"image_id": ["a.png", "b", "train/c.png"]}), name)
    assert found == ("a.png", "b.png", "c.png")


@pytest.mark.parametrize("ids", [[7, 8], [7, None, 8], ["7", None, "8"]])
def test_a_parquet_list_may_have_whole_numbers_and_nulls(tmp_path: Path, ids: list[object]) -> None:
    assert listed(tmp_path, pd.DataFrame({"image_id": ids})) == ("7", "8")
