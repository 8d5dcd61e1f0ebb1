"""Runs on tables of vectors: the vectors of a network give the scores of a probe of this network; other tables are refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import open_images, prepare
from bench.planning.jobs import Job, analysis_jobs
from bench.planning.plan import Plan, make_plan
from bench.planning.run import read_run
from bench.results.stored_runs import training_remark
from bench.runs.encoder_features import EncoderFeatures
from bench.runs.networks import initial_network, normalization_of
from bench.runs.run_one import run_one
from bench.runs.stored_run import load
from bench.store.store import Store
from harmonize.errors import ConfigError, DatasetError, SetupError

TINY = Path(__file__).parents[3] / "grids" / "tiny.yaml"
CPU = torch.device("cpu")


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.mark.grid
def test_vectors_of_a_network_give_the_predictions_of_its_probe_and_other_tables_are_refused(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "vectors"
    folder.mkdir()
    (tmp_path / "registry.yaml").write_text(
        "schema: 1\ninclude: shipped\narchitectures:\n  theirs: {embeddings: vectors, title: Their encoder}\n"
    )
    registry, path = Registry.read(tmp_path / "registry.yaml"), tmp_path / "both.yaml"
    own = tmp_path / "own.yaml"
    own.write_text(
        f"include: {os.path.relpath(TINY, tmp_path)}\nname: own\nexpect: {{runs: 1}}\nsweeps:\n  - {{head: probe}}\n"
    )
    store = Store.open(drawn(own, tmp_path) / "runs")

    def planned(grid: Path) -> Plan:
        return make_plan(Grid.read(str(grid), registry), registry, store, None, None, 1, "", silent)

    plan = planned(own)
    prepare(plan, 1, silent)
    (probe,) = plan.runs
    assert run_one(Job(probe, store, plan.refs), silent)
    network = initial_network(probe, None)
    normalizer = normalization_of(probe, store, plan.refs[0], network)
    for i, ref in enumerate(plan.refs):
        cache = open_images(store, ref, probe.geometry)
        features = EncoderFeatures.stored(probe, store, ref, cache, network, normalizer, CPU, silent)
        table = pd.DataFrame({"image_id": features.image_id}).sample(frac=1, random_state=i)
        vectors = features.of(table["image_id"].to_numpy(object))
        if i == 1:  # one list column
            table.assign(vector=list(vectors)).to_parquet(folder / f"{ref.name}.parquet", index=False)
            continue
        table = pd.concat([table.reset_index(drop=True), pd.DataFrame(vectors).add_prefix("v")], axis=1)
        if i == 2:
            table.to_csv(folder / f"{ref.name}.csv", index=False)
        else:
            table.to_parquet(folder / f"{ref.name}.parquet", index=False)

    path.write_text(
        f"include: {os.path.relpath(TINY, tmp_path)}\nname: both\nexpect: {{runs: 2}}\n"
        "sweeps:\n  - {architecture: theirs, head: probe, shots: [5, all]}\n"
    )
    plan = planned(path)
    prepare(plan, 1, silent)
    few, given = plan.runs
    assert run_one(Job(given, store, plan.refs), silent)
    assert run_one(Job(few, store, plan.refs), silent)
    for ref in plan.refs:
        theirs, ours = (
            pd.read_parquet(store.run_dir(run.id) / "predictions" / f"{ref.name}.parquet").set_index("image_id")
            for run in (given, probe)
        )
        np.testing.assert_allclose(theirs.loc[ours.index].to_numpy(), ours.to_numpy(), atol=1e-4, rtol=1e-4)
    facts = json.loads((store.run_dir(given.id) / "run.json").read_text())
    assert facts["weights"].startswith("embeddings:")
    assert json.loads((store.run_dir(given.id) / "cost.json").read_text()) == {}
    assert "no heat maps" in training_remark(store, given.id)
    assert "no costs" in training_remark(store, given.id)
    assert read_run(store, given.id).entries["architecture"].identity == given.entries["architecture"].identity
    names = {job.analysis.name for job in analysis_jobs(plan, [given])}
    assert {"attention", "transplants"}.isdisjoint(names)
    with pytest.raises(SetupError, match="owner of the encoder"):
        load(store, given.id).network.embed(torch.zeros(1, 1, 64, 64))

    mimic = pd.read_parquet(folder / "mimic.parquet")
    mimic.iloc[2:].to_parquet(folder / "mimic.parquet", index=False)
    with pytest.raises(DatasetError, match=f"2 of {len(mimic)} images of mimic have no vector"):
        planned(path)
    mimic.to_parquet(folder / "mimic.parquet", index=False)
    changed = pd.read_parquet(folder / "chexpert.parquet")
    changed.iloc[0, 1] += 1
    changed.to_parquet(folder / "chexpert.parquet", index=False)
    assert {run.id for run in planned(path).runs}.isdisjoint({few.id, given.id})  # other vectors, another run
    for line, word in (
        ("{architecture: theirs}", "only an output layer can be trained"),
        ("{architecture: theirs, head: probe, weights: imagenet}", "weights"),
    ):
        path.write_text(
            f"include: {os.path.relpath(TINY, tmp_path)}\nname: both\nexpect: {{runs: 1}}\nsweeps:\n  - {line}\n"
        )
        with pytest.raises(ConfigError, match=word):
            Grid.read(str(path), registry)
    path.write_text(
        f"include: {os.path.relpath(TINY, tmp_path)}\nname: both\nexpect: {{runs: 1}}\ntta: [three_views]\n"
        "sweeps:\n  - {architecture: theirs, head: probe}\n"
    )
    with pytest.raises(ConfigError, match="cannot have TTA"):
        Grid.read(str(path), registry)
