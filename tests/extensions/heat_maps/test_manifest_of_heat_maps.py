"""A manifest with the analysis of heat maps is a promise, as those in tests/contracts are."""

import json
from pathlib import Path

import pytest

from bench.planning.manifest import planned_manifest, read_manifest
from bench.store.checked_files import read_grid
from tests.contracts.test_manifests import EXPECTED, GRIDS, plan_of


def test_a_manifest_with_heat_maps_keeps_the_bytes_of_its_analyses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = GRIDS["heads"]
    monkeypatch.setitem(GRIDS, "heads", {**heads, "analyses": {"attention": {"images": 2}, **heads["analyses"]}})
    manifest = planned_manifest(plan_of(tmp_path, "heads"), {}, 1)
    manifest.write()
    document, of_core = read_grid(manifest.store, "heads"), json.loads((EXPECTED / "heads.json").read_text())
    maps = {"folder": "45/4539e88fa313/attention", "identity": ["attention", 2, {"images": 2}], "name": "attention"}
    assert document["analyses"] == [{**maps, "per_run": True, "run": "4539e88fa313"}, *of_core["analyses"]]
    assert document["runs"] == of_core["runs"]
    read_manifest(manifest.store, "heads").write()
    assert read_grid(manifest.store, "heads") == document
