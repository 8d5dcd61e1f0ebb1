"""What a dry run counts: steps, images and bytes against those of a run that was made, without a look at the clock."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cli.dry_run import announcement, fitting, sentences, table
from bench.config.analyses import Analysis, Attention
from bench.config.run_config import Limit
from bench.executors.execute_job import attempt
from bench.planning.image_caches import ImageFiles, prepare
from bench.planning.jobs import Job
from bench.planning.plan import Plan, make_plan
from bench.store.store import Store
from bench.study import forecast_measure
from bench.study.forecast import AnalysisRate, NetworkRate, Rates, forecast, num_analyzed, step_key, work
from bench.study.forecast_measure import Budget, rehearse, rehearsed_forecast
from bench.study.forecast_rough import PILOT_S, SHARE, START_S, rough_rates
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


@pytest.fixture(scope="module")
def rates(plan: Plan) -> Rates:
    return rehearse(plan, plan.runs, "cpu", lambda *_: None)


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


@pytest.mark.slow
def test_steps_images_and_bytes_are_those_of_the_run_that_is_then_made(plan: Plan, rates: Rates) -> None:
    form = plan.runs[0].geometry
    assert set(rates.decoding) == {(ref.name, form.key) for ref in plan.refs}
    whole = forecast(plan, plan.runs, plan.derived, rates)
    caches = prepare(plan, 1, lambda *_: None).caches
    assert whole.cache_bytes == sum(cache.num_bytes for cache in caches.values())
    assert not any(left.images for left in ImageFiles.of(plan).decoding(plan.runs, 1).values())
    run = plan.runs[0]
    assert attempt(Job(run, plan.store, plan.refs), lambda *_: None) == ("done", "")
    folder, todo, rate = plan.store.run_dir(run.id), work(plan, run), rates.networks[step_key(run.config)]
    history = pd.read_parquet(folder / "history.parquet")
    assert todo.steps == history["gradient_evaluations"].iloc[-1]
    for name, number in todo.predicted.items():
        assert number == len(pd.read_parquet(folder / "predictions" / f"{name}.parquet"))
        with np.load(folder / "features" / f"{name}.npz") as stored:
            assert stored["feature"].shape == (todo.kept[name], rate.num_features)
    forecast_bytes = forecast(plan, [run], [], replace(rates, score_bytes=0)).lines[0].disk_bytes
    # env.json holds the changes of the working tree that are not committed, of any size
    assert forecast_bytes == pytest.approx(size(folder, "**/*.*") - size(folder, "env.json"), rel=0.05)
    assert rate.weights_bytes == size(folder, "model.safetensors")


@pytest.mark.slow
def test_the_checkpoint_is_as_large_as_the_one_that_training_writes(plan: Plan, rates: Rates) -> None:
    """Network, average, one buffer of Lion, and the best epoch so far: four times the weights."""
    rate = rates.networks[step_key(plan.runs[0].config)]
    assert rate.checkpoint_bytes == pytest.approx(4 * rate.weights_bytes, rel=0.1)


@pytest.mark.slow
def test_every_run_is_covered_and_runs_that_are_alike_are_measured_once(plan: Plan, rates: Rates) -> None:
    assert len(plan.runs) == 3
    assert len(rates.networks) == 2
    found = forecast(plan, plan.runs, plan.derived, rates)
    assert {line.architecture: line.runs for line in found.lines} == {"seresnet_tiny": 2, "regnety_002": 1}
    assert all(line.steps > 0 and line.training_s > 0 and line.predicting_s > 0 for line in found.lines)
    rows = table(found)
    assert [row[0] for row in rows] == ["architecture", "seresnet_tiny", "regnety_002", "all"]
    assert rows[-1][1:3] == ["3", str(sum(line.steps for line in found.lines))]
    text = "\n".join(sentences(replace(found, num_devices=2), 4))
    assert "with 2 workers" in text
    assert "on this machine" in text


def made_up(plan: Plan, **more: object) -> Rates:
    networks = {step_key(run.config): NetworkRate(1.0, 0.01, 3.0, 10**9, 10**6, 4 * 10**6, 64) for run in plan.runs}
    rows = {ref.name: 50.0 for ref in plan.refs}
    return replace(Rates(False, networks, {}, rows, 5.0, 8.0, 4.0, 200, 10**5, 2.0), **more)  # type: ignore[arg-type]


def test_the_sum_is_that_of_its_parts(plan: Plan) -> None:
    one = plan.runs[:1]
    todo = work(plan, one[0])
    images = todo.validated + sum(todo.predicted.values())
    found = forecast(plan, one, [], made_up(plan))
    assert found.device_s == pytest.approx(todo.steps * 1.0 + images * 0.01 + 3.0)
    rows = sum(todo.predicted.values())
    assert found.scoring_s == pytest.approx(8.0 * max(1, rows / 200))
    assert found.core_s == pytest.approx(found.device_s + found.scoring_s + 5.0 + 2.0)
    on_gpu = forecast(plan, one, [], made_up(plan, on_gpu=True))
    assert on_gpu.core_s == pytest.approx(found.core_s - found.device_s)
    views = forecast(plan, one, [d for d in plan.derived if d.runs[0] is one[0]], made_up(plan))
    assert views.device_s - found.device_s == pytest.approx(3 * sum(todo.predicted.values()) * 0.01)


def test_an_analysis_costs_its_own_part_and_the_passes_of_the_run_s_network(plan: Plan) -> None:
    asked = replace(plan, grid=replace(plan.grid, analyses=(Analysis("attention", Attention(images=1)),)))
    rate = AnalysisRate(own_s=20.0, images=100, num_analyzed=10, num_bytes=7)
    plain = forecast(plan, plan.runs[:1], [], made_up(plan))
    found = forecast(asked, plan.runs[:1], [], made_up(plan, analyses={"attention": rate}))
    seen = num_analyzed(asked, asked.grid.analyses[0], plan.runs[0])
    assert 3 <= seen <= 27  # at most one image of each of nine findings in three cohorts
    assert found.lines[0].analysing_s == pytest.approx(seen / 10 * (20.0 + 100 * 0.01))
    assert found.lines[0].disk_bytes - plain.lines[0].disk_bytes == 7
    failed = made_up(plan, analyses={"attention": replace(rate, failed="its rehearsal failed: <script>")})
    assert "not included: attention: its rehearsal failed: <script>" in sentences(
        forecast(asked, plan.runs, [], failed), 1
    )


@pytest.mark.parametrize("hours", [1e-4, 0.002, 0.01, 10.0])
def test_a_limit_bounds_training_and_never_adds_to_it(plan: Plan, hours: float) -> None:
    run = plan.runs[0]
    limited = replace(run, config=replace(run.config, limit=Limit(hours)))
    todo, rates = work(plan, run), made_up(plan)
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


def test_a_grid_that_is_too_short_is_forecast_without_a_rehearsal(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_measure, "worker", lambda: pytest.fail("a program was started"))
    announced: list[str] = []
    found = rehearsed_forecast(
        plan, plan.runs, (), Devices.of("cpu", 1), lambda *_: None, lambda rough: announced.append(announcement(rough))
    )
    assert found.rough == ("training and prediction", "scoring")
    assert found.total_s > 0
    assert "that is too short for a rehearsal" in announced[0]
    text = "\n".join(sentences(found, 1))
    assert "rough, not measured: training and prediction, scoring" in text
    assert "measured on this machine" not in text


@pytest.mark.parametrize("allowed_networks", [0, 1])
def test_a_rehearsal_ends_with_its_budget_and_the_rest_stays_rough(
    plan: Plan, allowed_networks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(forecast_measure, "worker", lambda: (1.0, 10**8))  # the start of a process takes seconds

    class Limited(Budget):
        """Allows the start and some networks, and nothing more."""

        def allows(self, seconds: float) -> bool:
            return len(built) <= allowed_networks

    def progress(what: str, _done: int, _total: int) -> None:
        built.extend([what] if "train" in what else [])

    rough = rough_rates(plan, plan.runs, False, {})
    found = rehearse(plan, plan.runs, "cpu", progress, rough, Limited())
    measured = [key for key, rate in found.networks.items() if rate.peak_bytes is not None]
    assert len(measured) == allowed_networks
    assert found.rough == rough.rough
    assert set(found.networks) == set(rough.networks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "still_rough"), [(200, ("training and prediction", "scoring")), (400, ("scoring",)), (800, ())]
)
def test_a_rehearsal_takes_at_most_a_tenth_of_the_work_that_it_foretells(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, epochs: int, still_rough: tuple[str, ...]
) -> None:
    """The clock of this test counts images: an image takes the time of the rough forecast, in training and prediction."""
    runs = [
        replace(run, config=replace(run.config, schedule=replace(run.config.schedule, epochs=epochs)))
        for run in plan.runs
    ]
    rough = rough_rates(plan, runs, False, {})
    now, start_s = [0.0], START_S / 4

    class Counted(forecast_measure.Step):
        def __call__(self, batch: np.ndarray, *more: object) -> object:
            rate = rough.networks[step_key(self.run.config)]
            now[0] += rate.step_s * len(batch) / self.run.config.schedule.batch_size
            return super().__call__(batch, *more)

    def predicted(
        network: object, normalizer: object, reader: object, rows: np.ndarray, *more: object, **options: object
    ) -> object:
        now[0] += max(rate.image_s for rate in rough.networks.values()) * len(rows)
        return predict(network, normalizer, reader, rows, *more, **options)  # type: ignore[arg-type]

    def scored(*arguments: object) -> object:
        now[0] += PILOT_S
        return pilot(*arguments)

    predict, pilot = forecast_measure.predict, forecast_measure.Pilot.of
    monkeypatch.setattr(forecast_measure, "Step", Counted)
    monkeypatch.setattr(forecast_measure, "predict", predicted)
    monkeypatch.setattr(forecast_measure.Pilot, "of", scored)
    monkeypatch.setattr(forecast_measure, "_clock_of", lambda _: lambda: now[0])
    monkeypatch.setattr(forecast_measure, "worker", lambda: (start_s, 10**8))
    found = rehearsed_forecast(plan, runs, (), Devices.of("cpu", 1), lambda *_: None)
    assert 2 * start_s + now[0] <= SHARE * found.total_s
    assert found.rough == still_rough


@pytest.mark.slow
def test_a_large_batch_is_extrapolated_from_a_few_images(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of the rehearsal has more images than the limit of pixels allows, so its memory is bounded."""
    sizes: list[int] = []
    step = forecast_measure.Step

    class Counted(step):  # type: ignore[misc,valid-type]
        def __call__(self, batch: np.ndarray, *more: object) -> object:
            sizes.append(len(batch))
            return super().__call__(batch, *more)

    monkeypatch.setattr(forecast_measure, "Step", Counted)
    monkeypatch.setattr(forecast_measure, "REHEARSED_PIXELS", 6 * 64 * 64)
    monkeypatch.setattr(forecast_measure, "worker", lambda: (1.0, 10**8))
    rate = rehearse(plan, plan.runs[:1], "cpu", lambda *_: None, None, OnlyNetworks())
    assert set(sizes) == {3, 6}
    assert next(iter(rate.networks.values())).step_s > 0


class OnlyNetworks(Budget):
    """A budget for networks, but not for scores and analyses."""

    def allows(self, seconds: float) -> bool:
        return seconds != forecast_measure.PILOT_S
