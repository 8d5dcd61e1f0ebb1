"""The page states that the images of a cohort were sampled to associate a finding with a property of the image."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.manifest import read_manifest, write_manifest
from bench.planning.plan import Plan, make_plan
from bench.results.report_tables import _notes
from bench.store.store import Store
from tests.hand import MAPPING

GRID = """
name: mine
evaluate_on: [far]
min_count: 2
base:
  {train_on: internal, architecture: seresnet_tiny, optimizer: adamw, loss: bce, uncertainty: u_ignore,
   preprocessing: imagenet_64, channels: 1}
"""


def planned(folder: Path, **keys: Any) -> Plan:
    """Plan a grid on two hospitals; the internal hospital has these keys of the data file."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in ("internal", "far"):
        (folder / name).mkdir()
        table = pd.DataFrame({"file": [f"{name}{k}.png" for k in range(200)], "patient": range(200)})
        table["finding"] = draw.choice(["Pneumonia", "No Finding"], 200)
        table["view"] = draw.choice(["PA", "AP"], 200)
        table.to_csv(folder / name / "table.csv", index=False)
        for file in table["file"]:
            (folder / name / file).touch()
    (folder / "mapping.yaml").write_text(MAPPING.replace("{constant: PA}", "{column: view, PA: [PA], AP: [AP]}"))
    entry = {"layout": "table", "table": "table.csv", "mapping": "mapping.yaml"}
    cohorts = {"internal": {**entry, "root": "internal", **keys}, "far": {**entry, "root": "far"}}
    (folder / "data.yaml").write_text(yaml.safe_dump(cohorts))
    (folder / "grid.yaml").write_text(GRID)
    registry = Registry.read()
    grid, store = Grid.read(str(folder / "grid.yaml"), registry), Store.open(folder / "runs")
    return make_plan(grid, registry, store, folder / "data.yaml", None, 1, "bench run", lambda *_: None)


@pytest.mark.slow
def test_the_page_states_the_association_and_the_runs_have_other_ids(tmp_path: Path) -> None:
    confound = {"finding": "Pneumonia", "with": "view", "level": "AP", "odds_ratio": 6}
    plain, sampled = planned(tmp_path / "plain"), planned(tmp_path / "sampled", confound=confound)
    assert plain.runs[0].id != sampled.runs[0].id
    for plan, stated in ((plain, []), (sampled, ["Pneumonia and view AP have an odds ratio of 6"])):
        write_manifest(plan, {}, 0)
        notes = _notes(read_manifest(plan.store, "mine"))
        assert len(notes) == len(stated)
        assert all(text in note and "internal" in note for text, note in zip(stated, notes, strict=True))
    assert sampled.cohorts["internal"].flow["sampled_out"] > 0
