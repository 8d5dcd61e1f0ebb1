"""Manifests are promises: the same grid on the same data gives the same bytes, and what is read is written again unchanged.

`manifests/` holds the manifests of small grids on invented tables. Write them again only when a manifest changes on purpose:

    python tests/contracts/test_manifests.py
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.config.grid import Grid
from bench.config.imported_model import DataExposure, ModelDeclaration, Outputs
from bench.config.registry import Registry
from bench.planning.exposure import Exposure
from bench.planning.imported_run import config_of, external_run, row
from bench.planning.manifest import contents, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.results.rescore import ScoreChange, rescored
from bench.store.checked_files import read_grid, write_grid
from bench.store.store import Store, canonical_json

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
        "sweeps": [{"algorithm": ["erm", "label_smoothing"]}],
    },
    "heads": {
        "base": {"heads": "dual", "head_weights": {"abnormal": 0.25}, "schedule": {"lr": 0.01, "ema": 0.9}},
        "analyses": {"attention": {"images": 2}, "acquisition": {"per_source": 20}},
    },
    "adapted": {"base": {"algorithm": "test_time_statistics"}, "analyses": False},
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


def document_of(folder: Path, name: str) -> dict[str, Any]:
    """Return the manifest of a grid of GRIDS, or one that is made from such a manifest."""
    if name == "imported":
        plan = plan_of(folder, "pool")
        content = contents(plan, {}, 3)
        exposure = Exposure({"ash": "no", "birch": "no", "ash+birch": "no", "far": "images"}, {"far": ("0.png", "1.png")})
        declared = ModelDeclaration(
            "A model", "timm", "resnet18", {}, {}, None, Outputs("logit"), DataExposure(("far",), ("a book",)), "model.yaml"
        )
        run = external_run(declared, config_of("A model", plan.runs[0].config), plan.refs[0].id, "0" * 64)
        golden = {"images": 2, "outputs": 18, "difference": 0.25}
        new = row(run, declared, content["cohorts"], exposure, golden)
        return json.loads(canonical_json({**content, "derived": [new]}))
    if name == "rescored":
        plan = plan_of(folder, "panel")
        write_grid(plan.store, "panel", contents(plan, {}, 0))
        change = ScoreChange("strict", ("Edema",), 3, "youden")
        rescored(read_manifest(plan.store, "panel"), "rescored", change, "bench score")
        return read_grid(plan.store, "rescored")
    return json.loads(canonical_json(contents(plan_of(folder, name), {}, 1)))


NAMES = (*GRIDS, "imported", "rescored")


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_keeps_its_bytes(name: str, tmp_path: Path) -> None:
    assert document_of(tmp_path, name) == json.loads((EXPECTED / f"{name}.json").read_text())


if __name__ == "__main__":
    EXPECTED.mkdir(exist_ok=True)
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(document_of(Path(folder), name), indent=1, sort_keys=True)
        (EXPECTED / f"{name}.json").write_text(f"{text}\n")
