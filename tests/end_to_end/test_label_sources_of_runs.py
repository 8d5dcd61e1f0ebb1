"""A grid compares label sources: training labels differ, test labels are the same for all runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.plan import Plan, make_plan, training_labels
from bench.store.store import Store
from harmonize.cohorts.cohort import training_column
from harmonize.errors import ConfigError
from tests.conftest import Command, Drawn

BASE: dict[str, Any] = {
    "train_on": "chexpert",
    "architecture": "seresnet_tiny",
    "optimizer": "adamw",
    "loss": "bce",
    "uncertainty": "u_ignore",
    "preprocessing": "imagenet_64",
    "channels": 1,
    "schedule": {"epochs": 1, "batch_size": 32},
}
SOURCES = ["default", "chexbert", "hybrid"]
GRID: dict[str, Any] = {
    "name": "sources",
    "evaluate_on": ["nih"],
    "min_count": 3,
    "analyses": False,
    "split": {"train": 0.6, "val": 0.2, "test": 0.2},
    "phantom": {"source": 220, "external": 60, "size": 64},
    "label_sources": {"Edema": "visualchexbert"},
    "base": BASE,
    "sweeps": [{"label_source": SOURCES}],
}


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def read(folder: Path, **changes: Any) -> Grid:
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    return Grid.read(str(path), Registry.read())


def planned(drawn: Drawn, folder: Path, **changes: Any) -> Plan:
    grid = read(folder, **changes)
    drawn(grid.path, folder)
    return make_plan(grid, Registry.read(), Store.open(folder / "runs"), None, None, 1, "bench run", silent)


def changed(plan: Plan, source: str) -> dict[str, float]:
    """Return the share of training images whose label differs from the cohort's, by finding."""
    (config,) = (run.config for run in plan.runs if run.config.label_source == source)
    ref = plan.refs[0]
    table = ref.read()
    train = table[ref.split_of(table, config) == "train"]
    labels = training_labels(train, config)
    return {f: float((labels[f].fillna(-3) != train[f].fillna(-3)).mean()) for f in config.findings}


def test_only_the_training_labels_come_from_the_source(drawn: Drawn, tmp_path: Path) -> None:
    plan = planned(drawn, tmp_path)
    assert not any(changed(plan, "default").values())
    assert 0 < np.mean(list(changed(plan, "chexbert").values())) < 0.2
    hybrid = changed(plan, "hybrid")
    assert hybrid.pop("Edema") > 0
    assert not any(hybrid.values())
    alone = planned(drawn, tmp_path, sweeps=[], label_sources={}, name="alone")
    findings = list(plan.runs[0].config.findings)
    pd.testing.assert_frame_equal(plan.cohorts["chexpert"].table[findings], alone.cohorts["chexpert"].table[findings])
    assert not [name for name in alone.cohorts["chexpert"].table if str(name).startswith("train:")]


def test_mimic_trains_on_negbio(drawn: Drawn, tmp_path: Path) -> None:
    sources = ["default", "negbio"]
    plan = planned(
        drawn,
        tmp_path,
        base={**BASE, "train_on": "mimic"},
        evaluate_on=["nih"],
        sweeps=[{"label_source": sources}],
        label_sources={},
    )
    assert 0 < np.mean(list(changed(plan, "negbio").values())) < 0.2
    assert training_column("negbio", "Edema") in plan.cohorts["mimic"].table


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"label_sources": {}}, "hybrid has no label sources"),
        ({"sweeps": [{"label_source": ["default", "chexbert"]}]}, "no run uses the block label_sources"),
        ({"sweeps": [{"label_source": ["hybrid"]}]}, "hybrid is a label source of a sweep"),
    ],
)
def test_hybrid_and_its_sources_go_together(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        read(tmp_path, **changes)


def test_a_source_of_another_dataset_is_refused(drawn: Drawn, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chexpert has no label source 'negbio'"):
        planned(drawn, tmp_path, sweeps=[{"label_source": ["default", "negbio"]}], label_sources={})


MIMIC_SOURCES = ["default", "negbio"]
MIMIC = {"base": {**BASE, "train_on": "mimic"}, "sweeps": [{"label_source": MIMIC_SOURCES}], "label_sources": {}}


@pytest.mark.grid
@pytest.mark.parametrize(
    ("internal", "sources", "changes"),
    [
        ("chexpert", SOURCES, {}),
        pytest.param("mimic", MIMIC_SOURCES, MIMIC, marks=pytest.mark.thorough),  # only its labels differ: see above
    ],
)
def test_one_grid_trains_scores_and_compares_the_sources(
    internal: str, sources: list[str], changes: dict[str, Any], drawn: Drawn, tmp_path: Path, here: Command
) -> None:
    """A grid that compares label sources, with its bundle."""
    drawn(read(tmp_path, **changes).path, tmp_path)
    here("run", "--grid", "sources.yaml", "--quiet", cwd=tmp_path)
    tables = tmp_path / "runs" / "report" / "sources" / "tables"
    policies = pd.read_parquet(tables / "policies.parquet")
    assert set(policies["policy"].str.partition(", ")[2]) == {"", *sources[1:]}
    assert {internal, "nih"} <= set(policies["dataset"])
    assert policies["value"].between(0, 1).all()
    runs = pd.read_parquet(tables / "runs.parquet")
    assert set(runs["state"]) == {"done"}
    assert len(runs) == len(sources)
    here("check", "--store", "runs", "--quick", cwd=tmp_path)
    pytest.importorskip("bench.extensions.bundles")
    here("export", "--store", "runs", "-o", "b.zip", "--quiet", cwd=tmp_path)
    here("verify", "b.zip", "--quiet", cwd=tmp_path)
