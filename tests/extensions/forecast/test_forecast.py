"""What `--estimate` counts: steps, images and bytes against those of a run that was made, without a look at the clock."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.config.analyses import Analysis
from bench.config.run_config import Limit
from bench.executors.execute_job import attempt
from bench.extensions.forecast.forecast import (
    ANALYSES,
    FIRST_SCORE_S,
    REPORT_S,
    RUN_S,
    START_S,
    NetworkRate,
    Rates,
    all_work,
    forecast,
    grid_forecast,
    num_analyzed,
    rates_of,
)
from bench.extensions.forecast.run_estimate import fitting, sentences, table
from bench.planning.image_caches import ImageFiles, prepare
from bench.planning.jobs import Job
from bench.planning.plan import Plan, make_plan
from bench.store.store import Store
from bench.study.request import Request
from bench.system.devices import Devices, choose_devices, memory_of

GRID = """
name: small
evaluate_on: [mimic, vindr]
analyses: false
min_count: 2
split: {train: 0.6, val: 0.2, test: 0.2}
phantom: {source: 150, external: 40, size: 64}
tta: [three_views]
base:
  train_on: chexpert
  architecture: seresnet_tiny
  channels: 1
  optimizer: lion
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
  schedule: {epochs: 2, batch_size: 16, ema: 0.9}
sweeps:
  - {seed: [0, 1]}
  - {architecture: regnety_002, optimizer: sam}
"""


class Silent:
    """A display that shows nothing."""

    def progress(self, what: str, done: int, total: int) -> None: ...

    def run_progress(self, run_id: str, name: str, what: str, done: int, total: int) -> None: ...

    def overall_progress(self, what: str, finished: int, done: float, total: int) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "small.yaml").write_text(GRID)
    torch.set_num_threads(1)
    request = Request.read(str(folder / "small.yaml"), None, None, None)
    store = Store.open(folder / "runs")
    return make_plan(request.grid, request.registry, store, None, None, 1, request.command, Silent().progress)


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


@pytest.mark.slow
def test_steps_images_and_bytes_are_those_of_the_run_that_is_then_made(plan: Plan) -> None:
    whole = grid_forecast(plan, plan.runs, plan.derived, Devices.of("cpu", 1))
    assert whole.measured == ()
    assert whole.peak_bytes is None
    text = "\n".join(sentences(whole, 1))
    assert "rough: the times follow from the numbers of operations in the registry" in text
    caches = prepare(plan, 1, lambda *_: None).caches
    assert whole.cache_bytes == sum(cache.num_bytes for cache in caches.values())
    assert not any(left.images for left in ImageFiles.of(plan).decoding(plan.runs, 1).values())
    run = plan.runs[0]
    assert attempt(Job(run, plan.store, plan.refs), lambda *_: None) == ("done", "")
    folder, todo = plan.store.run_dir(run.id), all_work(plan, [run])[run.id]
    history = pd.read_parquet(folder / "history.parquet")
    assert todo.steps == history["gradient_evaluations"].iloc[-1]
    for name, number in todo.images.predicted.items():
        assert number == len(pd.read_parquet(folder / "predictions" / f"{name}.parquet"))
        with np.load(folder / "features" / f"{name}.npz") as stored:
            assert len(stored["feature"]) == todo.images.kept[name]
    weights_bytes = rates_of(plan, [run], False, {}).networks[run.id].weights_bytes
    assert weights_bytes == pytest.approx(size(folder, "model.safetensors"), rel=0.1)

    # the finished run states the time of the other run with its architecture, and leaves the third run as it was
    _, alike, other = plan.runs
    after, before = grid_forecast(plan, [alike, other], [], Devices.of("cpu", 1)), whole
    assert after.measured == ("seresnet_tiny",)
    took = history["seconds"].sum()
    assert after.lines[0].training_s + todo.validated * took / (3 * todo.steps * 16 + todo.validated) == pytest.approx(
        took
    )
    assert after.lines[1].training_s == before.lines[1].training_s
    assert after.peak_bytes == json.loads((folder / "cost.json").read_bytes())["peak_memory_bytes"]
    text = "\n".join(sentences(after, 1))
    assert "rough: the times of seresnet_tiny follow from finished runs, other times from the registry" in text
    with (folder / "history.parquet").open("ab") as file:
        file.write(b"x")
    assert grid_forecast(plan, [alike], [], Devices.of("cpu", 1)).measured == (), "a damaged history counts"


def test_every_run_is_covered(plan: Plan) -> None:
    assert len(plan.runs) == 3
    found = forecast(plan, plan.runs, plan.derived, made_up(plan))
    assert {line.architecture: line.runs for line in found.lines} == {"seresnet_tiny": 2, "regnety_002": 1}
    assert all(line.steps > 0 and line.training_s > 0 and line.predicting_s > 0 for line in found.lines)
    rows = table(found)
    assert [row[0] for row in rows] == ["architecture", "seresnet_tiny", "regnety_002", "all"]
    assert rows[-1][1:3] == ["3", str(sum(line.steps for line in found.lines))]
    assert "with 2 workers" in "\n".join(sentences(replace(found, num_devices=2), 4))


def made_up(plan: Plan, **more: object) -> Rates:
    networks = {run.id: NetworkRate(1.0, 0.01, 10**6, 10**9) for run in plan.runs}
    return replace(Rates(False, networks, {}), **more)  # type: ignore[arg-type]


def test_the_sum_is_that_of_its_parts(plan: Plan) -> None:
    one = plan.runs[:1]
    todo = all_work(plan, one)[one[0].id]
    images = todo.validated + sum(todo.images.predicted.values())
    found = forecast(plan, one, [], made_up(plan))
    assert found.device_s == pytest.approx(todo.steps * 1.0 + images * 0.01 + RUN_S)
    assert found.scoring_s == FIRST_SCORE_S  # fewer than SCORE_ROWS images
    assert found.core_s == pytest.approx(found.device_s + found.scoring_s + START_S + REPORT_S)
    on_gpu = forecast(plan, one, [], made_up(plan, on_gpu=True))
    assert on_gpu.core_s == pytest.approx(found.core_s - found.device_s)
    views = forecast(plan, one, [d for d in plan.derived if d.runs[0] is one[0]], made_up(plan))
    assert views.device_s - found.device_s == pytest.approx(3 * sum(todo.images.predicted.values()) * 0.01)


def test_an_analysis_costs_its_own_part_and_the_passes_of_the_run_s_network(plan: Plan) -> None:
    options = pytest.importorskip("bench.extensions.heat_maps.analyses").Attention(images=1)
    asked = replace(plan, grid=replace(plan.grid, analyses=(Analysis("attention", options),)))
    plain = forecast(plan, plan.runs[:1], [], made_up(plan))
    found, rate = forecast(asked, plan.runs[:1], [], made_up(plan)), ANALYSES["attention"]
    seen = num_analyzed(asked, asked.grid.analyses[0], plan.runs[0])
    assert 3 <= seen <= 27  # at most one image of each of nine findings in three cohorts
    assert found.lines[0].analysing_s == pytest.approx(seen / rate.num_analyzed * (rate.own_s + rate.images * 0.01))
    assert found.lines[0].disk_bytes - plain.lines[0].disk_bytes == rate.num_bytes


@pytest.mark.parametrize("hours", [1e-4, 0.002, 0.01, 10.0])
def test_a_limit_bounds_training_and_never_adds_to_it(plan: Plan, hours: float) -> None:
    run = plan.runs[0]
    limited = replace(run, config=replace(run.config, limit=Limit(hours)))
    todo, rates = all_work(plan, [run])[run.id], made_up(plan)
    used = todo.steps + todo.validated * 0.01
    found = forecast(plan, [limited], [], rates).lines[0].training_s
    assert found == pytest.approx(todo.steps * min(1.0, 3600 * hours / used))


def test_times_and_sizes_are_said_in_words_that_fit(plan: Plan) -> None:
    said = "\n".join(sentences(forecast(plan, plan.runs, [], made_up(plan)), 1))
    assert re.search(r"total: [\d.]+ core-hours", said)
    assert "memory: up to 1.0 GB per run" in said


def test_as_many_runs_share_a_device_as_are_asked_for_and_a_dry_run_says_how_many_fit(plan: Plan) -> None:
    assert choose_devices("cpu", 8, 2) == ["cpu"] * 4
    assert choose_devices("cpu", 8, 2, 3) == ["cpu"] * 3
    found = forecast(plan, plan.runs, [], made_up(plan))  # a run has 1 GB, and half a GB beside
    assert fitting(replace(found, gpu_bytes=24 * 10**9)) == [
        "a GPU has 24.0 GB: 14 of the largest runs fit (--per-device 14)"
    ]
    assert fitting(replace(found, gpu_bytes=2 * 10**9)) == ["a GPU has 2.0 GB: only one of the largest runs fits"]
    assert fitting(replace(found, gpu_bytes=memory_of("cpu"))) == []
