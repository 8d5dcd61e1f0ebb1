"""A model folder of `bench upload` keeps what the starting weights of its run had seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config.seen import OTHERS
from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.runs_of_other_stores import _seen_before, declared_run
from bench.extensions.tracking import hub
from bench.planning.manifest import read_manifest
from bench.runs.model_folder import load_folder
from bench.runs.model_reference import config_sha256
from bench.store.store import Store
from harmonize.errors import ConfigError

COHORTS = ("chexpert", "mimic", "nih", "padchest", "vindr", "brax")


def declared(folder: Path, *, synthetic: bool = True) -> ModelDeclaration:
    return declared_run(folder, load_folder(folder), COHORTS, synthetic=synthetic)


@pytest.mark.grid
def test_an_uploaded_folder_states_what_the_starting_weights_had_seen(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    store = Store.open(tmp_path / "runs")
    manifest = read_manifest(store, "tiny")
    exposed, clean = manifest.runs
    exposure = {"nih": {"answer": "images"}, "vindr": {"answer": "unknown"}}
    replace(manifest, runs=(replace(exposed, exposure=exposure), clean)).write()
    for run in (exposed, clean):
        hub.write_folder(hub.files_of(store, run.id)[2], tmp_path / run.id)

    found = declared(tmp_path / exposed.id).exposure
    assert {name: own.answer for name, own in found.seen.items()} == {
        "chexpert": "labels", "mimic": "no", "nih": "images", "padchest": "no", "vindr": "unknown", "brax": "no",
        OTHERS: "unknown",
    }  # fmt: skip
    assert set(found.cohorts) == {"chexpert", "nih"}
    real = declared(tmp_path / exposed.id, synthetic=False).exposure  # synthetic training images are no real cohort
    assert (real.seen["chexpert"].answer, real.seen["nih"].answer) == ("no", "images")

    assert declared(tmp_path / clean.id).exposure.cohorts == ("chexpert",)
    assert declared(tmp_path / clean.id).exposure.seen == {}
    path = tmp_path / clean.id / "config.json"
    stated = json.loads(path.read_text())
    assert stated["trained_on"].pop("seen")[OTHERS] == "no"
    path.write_text(json.dumps(stated | {"sha256": config_sha256(stated)}))
    assert {own.answer for own in declared(tmp_path / clean.id).exposure.seen.values()} == {"labels", "unknown"}

    hostile = {"title": "a\x1b[2Jb", "licence": "l" * 10_000, "pretraining": "\x1b]0;c"}
    stated |= {"name": "n\x1b[2J\n", "trained_on": {**stated["trained_on"], **hostile}}
    path.write_text(json.dumps(stated | {"sha256": config_sha256(stated)}))
    shown = declared(tmp_path / clean.id, synthetic=False)
    texts = (shown.name, *shown.exposure.others, shown.exposure.pretraining, shown.exposure.licence)
    assert all(text.isprintable() and len(text) < 600 for text in texts)


def test_a_folder_cannot_name_a_file_of_this_machine() -> None:
    with pytest.raises(ConfigError, match="unknown answer"):
        _seen_before({"nih": {"answer": "images", "images": "/etc/hosts"}}, "folder")
