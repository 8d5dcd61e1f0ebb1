"""A model folder of `bench upload` states what the starting weights of its run had seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config.seen import OTHERS
from bench.extensions.tracking import hub
from bench.planning.manifest import read_manifest
from bench.store.store import Store


@pytest.mark.grid
def test_an_uploaded_folder_states_what_the_starting_weights_had_seen(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    store = Store.open(tmp_path / "runs")
    manifest = read_manifest(store, "tiny")
    exposed, clean = manifest.runs
    exposure = {"nih": {"answer": "images"}, "vindr": {"answer": "unknown"}}
    replace(manifest, runs=(replace(exposed, exposure=exposure), clean)).write()
    stated = {}
    for run in (exposed, clean):
        hub.write_folder(hub.files_of(store, run.id)[2], tmp_path / run.id)
        stated[run.id] = json.loads((tmp_path / run.id / "config.json").read_text())["trained_on"]
        assert stated[run.id]["hospitals"] == {"chexpert": "chexpert"}
    seen = stated[exposed.id]["seen"]
    assert (seen["nih"], seen["vindr"], seen[OTHERS]) == ("images", "unknown", "unknown")
    assert {seen[name] for name in ("mimic", "padchest", "brax")} == {"no"}
    assert set(stated[clean.id]["seen"].values()) == {"no"}
