"""Runs with LoRA: the stored network has its usual form, and differs from its start by low-rank changes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import Job
from bench.planning.plan import make_plan
from bench.runs.networks import initial_network, trained_network
from bench.runs.run_one import run_one
from bench.store.store import Store
from bench.study.request import Request
from harmonize.errors import ConfigError
from tests.tiny_grids import tiny_with


@pytest.mark.grid
def test_a_run_with_lora_stores_a_plain_network_with_low_rank_changes(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    sweep = "{architecture: dinov2_tiny, head: lora, lora.rank: 2, schedule.epochs: 2, schedule.ema: 0.5}"
    registry, path = Registry.read(), tiny_with(tmp_path, "lora", sweep)
    Request.read(str(path), None, None, None)
    store = Store.open(drawn(path, tmp_path) / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", lambda *_: None)
    prepare(plan, 1, lambda *_: None)
    (run,) = plan.runs
    assert run.config.lora.rank == 2
    assert run_one(Job(run, store, plan.refs), lambda *_: None)
    facts = json.loads((store.run_dir(run.id) / "trained.json").read_text())["lora"]
    start = initial_network(run, None).state_dict()
    found = trained_network(run, store, torch.device("cpu")).state_dict()
    assert found.keys() == start.keys()
    changed = {name: tensor - start[name] for name, tensor in found.items() if not torch.equal(tensor, start[name])}
    matrices = {name: change for name, change in changed.items() if ".head." not in name}
    assert facts["layers"] == len(matrices) == 12  # four layers in each of three blocks
    for name, change in matrices.items():
        assert name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"))
        assert torch.linalg.matrix_rank(change, rtol=1e-3) <= 2
    outputs = sum(start[name].numel() for name in start if ".head." in name)
    assert store.read_json(run.id[:2], run.id, "cost.json")["trainable_params"] == facts["weights"]
    assert facts["weights"] == outputs + sum(2 * sum(change.shape) for change in matrices.values())


@pytest.mark.parametrize(
    ("sweep", "what"),
    [
        ("{lora.rank: 2}", "lora is only valid with `head: lora`"),
        ("{architecture: dinov2_tiny, head: lora, lora.rank: 0}", "lora.rank must be a whole number of at least 1"),
        ("{architecture: dinov2_tiny, head: lora, lora.alpha: 0}", "lora.alpha must be a number above 0"),
        ("{architecture: dinov2_tiny, head: lora, shots: 5}", "shots needs `head: probe`"),
        ("{architecture: 'timm:resnet10t', head: lora}", "no linear layers to change"),
    ],
)
def test_settings_and_networks_that_do_not_fit_are_refused(tmp_path: Path, sweep: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        Request.read(str(tiny_with(tmp_path, "lora", sweep)), None, None, None)
    assert what in error.value.what
