"""Manifests are promises: the same grid on the same data gives the same bytes, and what is read is written again unchanged.

`manifests/` holds the manifests of small grids on invented tables, as the core writes them without extensions. Write them again only
when a manifest changes on purpose:

    python tests/contracts/test_manifests.py
"""

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.exposure import Exposure
from bench.planning.manifest import planned_manifest, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.planned_grid import PlannedGrid
from bench.results.score_runs import rescored
from bench.store.checked_files import read_grid
from bench.store.store import Store
from reports import extensions

EXPECTED = Path(__file__).parent / "manifests"
HOSPITALS = ("ash", "birch", "cedar", "far")
MAPPING = """
image: "{file}"
patient: patient
view: {constant: PA}
sex: {column: sex, M: [m], F: [f]}
findings:
  Pneumonia: {column: finding, present: [Pneumonia], absent: [No Finding]}
  Edema: {column: edema, present: ["1"], absent: ["0"]}
  No Finding: {column: finding, present: [No Finding], absent: "*"}
"""
BASE: dict[str, Any] = {
    "evaluate_on": ["far"],
    "min_count": 2,
    "base": {
        "train_on": "ash",
        "architecture": "seresnet_tiny",
        "optimizer": "adamw",
        "loss": "bce",
        "uncertainty": "u_ignore",
        "preprocessing": "imagenet_64",
        "channels": 1,
    },
}
GRIDS: dict[str, dict[str, Any]] = {
    "derived": {
        "sweeps": [{"seed": [0, 1]}],
        "tta": ["three_views"],
        "ensembles": [{"name": "both", "of": {"seed": [0, 1]}}],
    },
    "folds": {"base": {"train_on": ["ash", "birch", "cedar"]}, "leave_one_out": True},
    "pool": {"base": {"train_on": ["ash", "birch"]}},
    "fold": {"base": {"train_on": ["ash", "birch"], "leave_out": "birch"}},
    "panel": {"sweeps": [{"task": ["binary"], "finding": ["Edema", "Pneumonia"]}]},
    "searched": {
        "search": {"trials": 2, "over": {"schedule.lr": ["choice", 0.003, 0.0006]}},
        "sweeps": [{"augmentation": ["none", "light"]}],
    },
    "heads": {
        "base": {"heads": "dual", "head_weights": {"abnormal": 0.25}, "schedule": {"lr": 0.01, "ema": 0.9}},
        "analyses": {"acquisition": {"per_source": 20}},
    },
}


def plan_of(folder: Path, name: str) -> Plan:
    """Return the plan of a grid of GRIDS on invented tables without images."""
    entry = {"layout": "table", "table": "table.csv", "mapping": "mapping.yaml"}
    for i, hospital in enumerate(HOSPITALS):
        (folder / hospital).mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "file": f"{j}.png",
                "patient": f"p{j}",
                "finding": ("Pneumonia", "No Finding")[j % 2],
                "edema": j // (2 + i) % 2,
                "sex": "mf"[j // 3 % 2],
            }
            for j in range(60 - i)
        ]
        pd.DataFrame(rows).to_csv(folder / hospital / "table.csv", index=False)
    (folder / "mapping.yaml").write_text(MAPPING)
    data = {hospital: {**entry, "root": hospital} for hospital in HOSPITALS}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))
    grid = {"name": name, **BASE, **GRIDS[name], "base": {**BASE["base"], **GRIDS[name].get("base", {})}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(grid))
    registry = Registry.read()
    asked = Grid.read(str(folder / f"{name}.yaml"), registry)
    store, data_file = Store.open(folder / "runs"), folder / "data.yaml"
    return make_plan(asked, registry, store, data_file, None, 1, "bench run", lambda *_: None, tables_alone=True)


@patch.multiple(extensions, modules=lambda _: (), files=lambda _: {})
def document_of(folder: Path, name: str) -> dict[str, Any]:
    """Return the manifest of a grid of GRIDS, or one that is made from such a manifest."""
    if name == "imported":
        rows = pytest.importorskip("bench.extensions.imported.rows")
        declaration = pytest.importorskip("bench.extensions.imported.declaration")
        plan = plan_of(folder, "pool")
        exposure = Exposure(
            {"ash": "no", "birch": "no", "ash+birch": "no", "far": "images"}, {"far": ("0.png", "1.png")}
        )
        outputs, seen = declaration.Outputs("logit"), declaration.DataExposure(("far",), ("a book",))
        declared = declaration.ModelDeclaration(
            "A model", "timm", "resnet18", {}, {}, None, outputs, seen, "model.yaml"
        )
        config = rows.config_of("A model", plan.runs[0].config)
        run = rows.external_run(declared, config, plan.refs[0].id, "0" * 64)
        manifest = planned_manifest(plan, {}, 3)
        manifest = manifest.with_imported_model(rows.planned_model(run, declared, manifest.cohorts, exposure))
    elif name == "rescored":
        plan = plan_of(folder, "panel")
        planned_manifest(plan, {}, 0).write()
        changes = {"mapping": "strict", "reading": "uncertain-absent", "threshold": "youden"}
        changes |= {"findings": ("Edema",), "min_count": 3}
        manifest = rescored(read_manifest(plan.store, "panel"), "rescored", changes, "bench score")
    else:
        manifest = planned_manifest(plan_of(folder, name), {}, 1)
    manifest.write()
    document = read_grid(manifest.store, manifest.name)
    read_manifest(manifest.store, manifest.name).write()
    assert read_grid(manifest.store, manifest.name) == document
    return document


NAMES = (*GRIDS, "imported", "rescored")


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_keeps_its_bytes(name: str, tmp_path: Path) -> None:
    assert document_of(tmp_path, name) == json.loads((EXPECTED / f"{name}.json").read_text())


@pytest.mark.parametrize(
    "place", ["title", "cohorts/0/flow", "runs/0/config", "derived/0/config", "analyses/0/run", "runs/1"]
)
def test_a_manifest_without_a_key_or_a_run_of_its_search_is_damaged(place: str) -> None:
    name = "searched" if place == "runs/1" else "derived"
    whole = json.loads((EXPECTED / f"{name}.json").read_text())
    *path, last = (int(key) if key.isdigit() else key for key in place.split("/"))
    block = whole
    for key in path:
        block = block[key]
    del block[last]
    with pytest.raises(ValueError, match="missing"):
        PlannedGrid.of(whole)


def test_a_manifest_keeps_the_keys_of_extensions_and_refuses_wrong_types() -> None:
    whole = json.loads((EXPECTED / "derived.json").read_text())
    extended = {**whole, "extras": {"note": [1]}}
    assert json.loads(json.dumps(PlannedGrid.of(extended).document)) == extended
    for key, value in {"settings": {"min_count": "x"}, "phantom": 1, "cohorts": {"a": 1}, "runs": [{"id": 3}]}.items():
        with pytest.raises(ValueError, match=r"Expected|invalid"):
            PlannedGrid.of({**whole, key: value})


if __name__ == "__main__":
    EXPECTED.mkdir(exist_ok=True)
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            document = document_of(Path(folder), name)
        lines = [f'"{key}": {json.dumps(document[key], sort_keys=True)}' for key in sorted(document)]
        (EXPECTED / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
