"""Probes: regressions on the features of a frozen encoder, which all runs of a store share."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models.predict import predict, weights_sha256
from bench.planning.image_caches import open_images, prepare
from bench.planning.jobs import Job
from bench.planning.plan import make_plan
from bench.runs.encoder_features import EncoderFeatures, encoder_id
from bench.runs.networks import initial_network, normalization_of, trained_network
from bench.runs.run_one import run_one
from bench.store.store import Store
from bench.training.probe import PENALTIES, output_layer

TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"
CPU = torch.device("cpu")


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.mark.grid
def test_probes_share_features_and_are_stored_predicted_and_sealed_like_other_runs(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    registry, path = Registry.read(), tmp_path / "probes.yaml"
    path.write_text(
        f"include: {os.path.relpath(TINY, tmp_path)}\nname: probes\nexpect: {{runs: 2}}\n"
        "sweeps:\n  - {head: probe, shots: [10, all]}\n"
    )
    store = Store.open(drawn(path, tmp_path) / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", silent)
    prepare(plan, 1, silent)
    few, every = plan.runs
    assert (few.config.shots, every.config.shots) == (10, 0)
    assert encoder_id(few) == encoder_id(every)
    folder = store.root / "encoders" / encoder_id(every)
    stamps = []
    for run in plan.runs:
        assert run_one(Job(run, store, plan.refs), silent)
        stamps.append({file.name: file.stat().st_mtime_ns for file in folder.iterdir()})
    assert stamps[0] == stamps[1]
    assert sorted(name.split("-")[0] for name in stamps[0]) == ["brax", "chexpert", "mimic", "nih", "padchest", "vindr"]

    internal, external = plan.refs[:2]
    assert external.name == "mimic"
    cache = open_images(store, external, every.geometry)
    for run in plan.runs:
        network, start = trained_network(run, store, CPU), initial_network(run, None)
        layer = output_layer(network)
        changed = [
            name for name, tensor in network.state_dict().items() if not torch.equal(tensor, start.state_dict()[name])
        ]
        own = [name for name, tensor in network.named_parameters() if tensor is layer.weight or tensor is layer.bias]
        assert sorted(changed) == sorted(own)  # the encoder is frozen
        cost = store.read_json(run.id[:2], run.id, "cost.json")
        assert cost["trainable_params"] == sum(start.state_dict()[name].numel() for name in own) < cost["params"]
        seal = json.loads((store.run_dir(run.id) / "seal.json").read_text())
        assert seal["weights_before"] == seal["weights_after"] == weights_sha256(network)
        examples = Examples.predicted(external, run.config, cache)
        normalizer, reader = normalization_of(run, store, internal, network), BatchReader(cache.images, CPU)
        logit_NK, _ = predict(network, normalizer, reader, examples.rows, CPU)
        stored = pd.read_parquet(store.run_dir(run.id) / "predictions" / "mimic.parquet")
        np.testing.assert_allclose(stored[list(run.config.findings)].to_numpy(), logit_NK, atol=1e-3, rtol=1e-3)

    facts = json.loads((store.run_dir(every.id) / "trained.json").read_text())["probe"]
    assert facts["val_auroc"][f"{facts['penalty']:g}"] == max(facts["val_auroc"].values())
    assert facts["penalty"] in PENALTIES
    assert max(json.loads((store.run_dir(few.id) / "trained.json").read_text())["probe"]["labels"]) <= 20

    # scikit-learn, from the shared features and the labels of the training split
    network = trained_network(every, store, CPU)
    cache = open_images(store, internal, every.geometry)
    normalizer = normalization_of(every, store, internal, network)
    features = EncoderFeatures.stored(every, store, internal, cache, network, normalizer, CPU, silent)
    train, _ = Examples.training(internal, every.config, cache)
    x_ND = features.of(train.image_id).astype(float)
    x_ND = (x_ND - x_ND.mean(0)) / x_ND.std(0).clip(1e-12)
    k = every.config.findings.index("Pleural Effusion")
    labeled = train.state_NK[:, k] != -1
    assert set(np.unique(train.state_NK[labeled, k])) <= {1, 0, -2}
    reference = LogisticRegression(C=1 / (facts["penalty"] * labeled.sum()), tol=1e-10, max_iter=10_000)
    reference.fit(x_ND[labeled], train.state_NK[labeled, k] == 1)
    layer = output_layer(network)
    logit_N = features.of(train.image_id) @ layer.weight[k].detach().numpy() + float(layer.bias[k].detach())
    np.testing.assert_allclose(logit_N, reference.decision_function(x_ND), atol=2e-3)

    (damaged,) = folder.glob("mimic-*")
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    cache = open_images(store, external, every.geometry)
    EncoderFeatures.stored(every, store, external, cache, network, normalizer, CPU, silent)
    assert damaged.read_bytes() != bytes(content)  # made again
