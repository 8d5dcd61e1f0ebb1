"""Runs with attentive pooling: only the query and the output layer differ from the start; costs beside other heads."""

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
def test_the_encoder_of_a_run_stays_the_same_bit_by_bit(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    sweep = "{architecture: dinov2_tiny, head: attention, schedule.epochs: 2, schedule.lr: 1.0e-2, schedule.ema: 0.5}"
    registry, path = Registry.read(), tiny_with(tmp_path, "attention", sweep)
    Request.read(str(path), None, None, None)
    store = Store.open(drawn(path, tmp_path) / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", lambda *_: None)
    prepare(plan, 1, lambda *_: None)
    (run,) = plan.runs
    assert run_one(Job(run, store, plan.refs), lambda *_: None)
    start = initial_network(run, None).state_dict()
    found = trained_network(run, store, torch.device("cpu")).state_dict()
    assert found.keys() == start.keys()
    changed = {name for name, tensor in found.items() if not torch.equal(tensor, start[name])}
    assert changed == {"backbone.attn_pool.query_F", "backbone.head.weight", "backbone.head.bias"}
    cost = store.read_json(run.id[:2], run.id, "cost.json")
    assert cost["trainable_params"] == sum(start[name].numel() for name in changed) < cost["params"]


@pytest.mark.grid
def test_the_cost_of_one_network_depends_on_its_head(drawn: Callable[[str | Path, Path], Path], tmp_path: Path) -> None:
    sweep = "{architecture: dinov2_tiny, head: [own, probe, attention, lora], schedule.epochs: 1}"
    registry, path = Registry.read(), tiny_with(tmp_path, "attention", sweep, 4)
    store = Store.open(drawn(path, tmp_path) / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", lambda *_: None)
    prepare(plan, 1, lambda *_: None)
    stated = {}
    for run in plan.runs:
        assert run_one(Job(run, store, plan.refs), lambda *_: None)
        stated[run.config.head] = store.read_json(run.id[:2], run.id, "cost.json")
    assert stated["attention"]["params"] == stated["own"]["params"] + 96  # the query
    assert stated["own"]["params"] == stated["probe"]["params"] == stated["lora"]["params"]
    assert [stated[head]["trainable_params"] for head in ("own", "probe", "attention")] == [349_737, 873, 969]


@pytest.mark.parametrize(
    ("architecture", "other", "what"),
    [
        ("timm:resnet10t", "", "ResNet is not a vision transformer"),
        ("swinv2_tiny", "", "SwinTransformerV2 is not a vision transformer"),
        ("dinov2_tiny", ", shots: 5", "shots needs `head: probe`"),
    ],
)
def test_networks_and_settings_that_do_not_fit_are_refused(
    tmp_path: Path, architecture: str, other: str, what: str
) -> None:
    with pytest.raises(ConfigError) as error:
        Request.read(
            str(tiny_with(tmp_path, "attention", f"{{architecture: '{architecture}', head: attention{other}}}")),
            None,
            None,
            None,
        )
    assert what in error.value.what
