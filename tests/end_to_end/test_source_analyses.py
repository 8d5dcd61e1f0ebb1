"""The analyses `probes` and `acquisition` of a finished grid on phantoms, whose marker goes with a finding at the internal hospital alone."""

import os
from pathlib import Path

import pandas as pd
import pytest

from bench.analyses.run_analysis import run_one_analysis
from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import analysis_jobs
from bench.planning.plan import make_plan
from bench.store.store import Store
from reports.schemas.tables import SCHEMAS

TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"
SMALL = "{probes: {per_source: 20}, acquisition: {per_source: 20, epochs: 1, folds: 1, explained: 4}}"


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.mark.grid
def test_probes_and_acquisition_write_their_tables_and_find_the_marker(store_copy: Path) -> None:
    """Source probes and the acquisition analysis on a trained run."""
    registry = Registry.read()
    path = store_copy / "small.yaml"
    path.write_text(f"include: {os.path.relpath(TINY, store_copy)}\nname: tiny\nanalyses: {SMALL}\n")
    plan = make_plan(Grid.read(str(path), registry), registry, Store(store_copy / "runs"), None, None, 1, "", silent)
    prepare(plan, 1, silent)
    first = {job.analysis.name: job for job in reversed(analysis_jobs(plan, plan.runs))}
    tables: dict[str, pd.DataFrame] = {}
    for name in ("probes", "acquisition"):
        job = first[name]
        job.begin()
        assert run_one_analysis(job, silent)
        assert job.done
        for file in job.folder.glob("*.parquet"):
            frame = pd.read_parquet(file)
            assert (*frame.columns,) == SCHEMAS[file.stem]
            assert set(frame["run_id"]) == {job.run.id if name == "probes" else ""}
            tables[f"{name}/{file.stem}"] = frame
    found = tables["probes/sources"].set_index(["probe", "control", "shots", "metric"])["value"]
    assert found["random", "none", 0, "balanced_accuracy"] > 1 / 6
    assert -1 <= found["features", "random", 0, "selectivity"] <= 1
    images = tables["acquisition/sources"].set_index(["probe", "control", "metric"])["value"]
    assert images["header", "none", "balanced_accuracy"] > 0.8
    assert {"none", "border", "centre_masked", "low_res", "shuffled"} == set(images["cnn"].index.get_level_values(0))
    internal = tables["acquisition/nuisances"].query("dataset == 'chexpert' and metric == 'auroc_nuisance'")
    told = internal.set_index(["nuisance", "finding"])["value"]
    assert told["marker", "Pleural Effusion"] > 0.85
    assert told["sex", "Pleural Effusion"] < 0.65
    external = tables["acquisition/nuisances"].query("dataset == 'nih' and metric == 'auroc_nuisance'")
    assert external.set_index(["nuisance", "finding"])["value"].get(("marker", "Pleural Effusion"), 0.5) < 0.75
