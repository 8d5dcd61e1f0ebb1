"""Run ids are promises: no moved module and no renamed word may re-key a store.

`before/study.zip` holds a store and a bundle written by the commit before the modules moved (553bbc2), with the grid and the registry that made
them; `before/run_ids.json` holds the ids of all shipped grids at that commit (of `tiny` with its later learning rate), for a training cohort of id 000000000000.
"""

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.stable_names import current_name, stable_name
from bench.planning.run import Run
from bench.store.store import canonical_json, short_hash

HERE = Path(__file__).parent / "before"
ROOT = Path(__file__).parents[2]
RUN_IDS: dict[str, list[str]] = json.loads((HERE / "run_ids.json").read_text())
TRAINED, DERIVED = {"3d25e23b2265", "c991a2ed26e2"}, {"4e14ac16281c", "bcfdebad129f", "ce254a90b19a"}
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def id_before(run: Run) -> str:
    """Return the id that a run had before the version of the training code became part of it."""
    document = json.loads(run.document)
    del document["training"]
    return short_hash(canonical_json(document))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder with the old store, its bundle, its grid and its registry."""
    with zipfile.ZipFile(HERE / "study.zip") as file:
        file.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RUN_IDS)
def test_the_runs_of_a_shipped_grid_keep_their_ids(name: str) -> None:
    registry = Registry.read(ROOT / "registry.yaml")
    configs = Grid.read(str(ROOT / "grids" / f"{name}.yaml"), registry).configs
    assert [id_before(Run.of(config, registry, "0" * 12, None)) for config in configs] == RUN_IDS[name]


def test_the_module_of_every_registered_name_is_stable_both_ways() -> None:
    for entry in Registry.read(ROOT / "registry.yaml"):
        if ":" in entry.use:  # a dataset names a module
            assert current_name(stable_name(entry.use)) == entry.use
            entry.load()


def test_an_old_registry_file_gives_the_same_run_ids(study: Path) -> None:
    registry = Registry.read(study / "registry.yaml")
    configs = Grid.read(str(study / "before.yaml"), registry).configs
    assert {id_before(Run.of(config, registry, "72500e178157", None)) for config in configs} == TRAINED


def test_a_store_made_before_is_listed_scored_reported_and_predicted_with(study: Path, here: Command) -> None:
    listed = here("list", "runs", "--store", "store", cwd=study).stdout
    assert all(run_id in listed for run_id in TRAINED)
    for word in ("migrate", "score", "report"):
        here(word, "--store", "store", "--quiet", cwd=study)
    page = (study / "store" / "report" / "before" / "leaderboard.html").read_text()
    assert all(run_id in page for run_id in TRAINED | DERIVED)
    said = here("check", "--store", "store", "--quick", "--quiet", cwd=study).stdout
    assert "damaged" not in said
    image = study / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (80, 80), np.uint8))
    answer = json.loads(here("predict", "3d25", str(image), "--store", "store", "--json", "--quiet", cwd=study).stdout)
    assert "Edema" in json.dumps(answer)


def test_a_bundle_made_before_is_verified_and_merged(study: Path, here: Command) -> None:
    here("verify", "bundle.zip", "--quiet", cwd=study)
    here("merge", "bundle.zip", "--store", "merged", "--quiet", cwd=study)
    here("report", "--store", "merged", "--quiet", cwd=study)
    assert (study / "merged" / "report" / "before" / "leaderboard.html").is_file()
