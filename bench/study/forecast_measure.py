"""Rehearse a grid: measure its steps on this machine, on a few images and in a temporary store.

This module measures decoding, and the training steps and predictions of every network. `bench.study.forecast_pilot`
measures scores, analyses and the page. Times are core seconds on a CPU, and seconds of wall-clock time on a GPU.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np
import psutil
import torch
from safetensors.torch import save_file

from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.histograms import LANDMARKS
from bench.inputs.normalize import Normalizer
from bench.models import cost
from bench.models.network import Network
from bench.models.predict import predict, weights_sha256
from bench.planning.auxiliary_targets import targets
from bench.planning.derived_runs import DerivedRun
from bench.planning.image_caches import ImageFiles
from bench.planning.plan import Plan, training_labels
from bench.planning.run import Run
from bench.planning.training_groups import group_indices
from bench.runs.networks import initial_network
from bench.study.forecast import Forecast, NetworkRate, Rates, forecast, step_key
from bench.study.forecast_pilot import Pilot
from bench.study.forecast_rough import PILOT_S, SCORING, SHARE, START_S, TRAINING, rough_rates
from bench.system.devices import Devices, memory_of
from bench.system.peak_memory import PeakMemory
from bench.training.checkpoint import TrainingState
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.labels.states import states
from harmonize.progress import Progress
from harmonize.seeds import stream

# about this many seconds of a network's training steps are measured, and half as many seconds of its predictions
ENOUGH_S = 2.0
DISTINCT = 64  # number of random images with which a network is measured
REHEARSED_PIXELS = 8 * 224 * 224  # maximum number of pixels in a training step of the rehearsal on a CPU
LABELED = 5000  # maximum number of training images with labels in the rehearsal
Clock = Callable[[], float]


def rehearsed_forecast(
    plan: Plan,
    runs: Sequence[Run],
    derived: Sequence[DerivedRun],
    devices: Devices,
    progress: Progress,
    announce: Callable[[Forecast], None] = lambda _: None,
) -> Forecast:
    """Return the forecast for these runs and the unfinished derived runs, from a rehearsal on the first device.

    The rehearsal takes at most a tenth of the time that it forecasts. Before the rehearsal begins, `announce` gets a rough
    forecast; the first time limit of the rehearsal is a tenth of the time in this rough forecast.
    """
    names = devices.in_parallel(max(run.config.threads for run in runs))
    unfinished = [run for run in derived if plan.store.state(run.id) != "done"]
    progress("rehearse: decode", 0, 1)
    on_gpu = torch.device(names[0]).type == "cuda"
    rough = rough_rates(plan, runs, on_gpu, ImageFiles.of(plan).decoding(runs, 1))
    expected = forecast(plan, runs, unfinished, rough)
    budget = Budget(SHARE * expected.total_s, lambda rates: SHARE * forecast(plan, runs, unfinished, rates).total_s)
    announce(expected)
    measured = forecast(plan, runs, unfinished, rehearse(plan, runs, names[0], progress, rough, budget))
    return replace(measured, num_devices=len(names), gpu_bytes=memory_of(names[0]))


@dataclass(slots=True)
class Budget:
    """The time that a rehearsal may take, in core seconds on a CPU and in seconds of wall-clock time on a GPU."""

    seconds: float = float("inf")  # maximum time of the rehearsal
    # function that computes `seconds` again from the measured rates; it is called after the networks are measured
    renewed: Callable[[Rates], float] = lambda _: float("inf")
    spent: Callable[[], float] = lambda: 0.0  # function that returns the seconds that the rehearsal has taken so far

    def allows(self, seconds: float) -> bool:
        """Return whether the rehearsal may take this number of seconds in addition to the time so far."""
        return self.spent() + seconds <= self.seconds


def rehearse(
    plan: Plan,
    runs: Sequence[Run],
    device_name: str,
    progress: Progress,
    rough: Rates | None = None,
    budget: Budget | None = None,
) -> Rates:
    """Measure the rates of these runs on one device. All files are temporary.

    Work is not measured if the budget does not allow it; the rates of `rough` are then used. Without a budget, all work is
    measured.
    """
    device = torch.device(device_name)
    clock = _clock_of(device)
    rates = rough or rough_rates(plan, runs, device.type == "cuda", ImageFiles.of(plan).decoding(runs, 1))
    budget = budget or Budget()
    if not budget.allows(START_S):
        return rates
    # The CPU time that this process has used so far, mainly for its imports. `bench run` needs time for imports, too.
    began = time.process_time()
    start_s, empty_bytes = worker()
    rehearsal_began = clock()
    budget.spent = lambda: start_s + min(began, start_s) + clock() - rehearsal_began
    # The CPU time of this process may contain the making of phantom cohorts, which `bench run` does not repeat. So this
    # time counts only up to `start_s`, the time of one start.
    rates = replace(rates, start_s=start_s + min(began, start_s))
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        rates = _with_networks(plan, runs, device, clock, folder, rates, budget, empty_bytes, progress)
        budget.seconds = min(budget.seconds, budget.renewed(rates))
        if not budget.allows(PILOT_S):
            return rates
        pilot = Pilot.of(plan, runs[0], folder / "store", device, clock)
        scored = pilot.score(progress)
        measured, report_s = pilot.analyse(progress, lambda name: budget.allows(rates.analyses[name].own_s))
    return replace(
        rates,
        row_bytes=scored.row_bytes,
        first_score_s=scored.first_s,
        score_s=scored.further_s,
        score_rows=scored.rows,
        score_bytes=scored.num_bytes,
        report_s=report_s,
        analyses={**rates.analyses, **measured},
        rough=tuple(name for name in rates.rough if name != SCORING and name not in measured),
    )


def _with_networks(
    plan: Plan,
    runs: Sequence[Run],
    device: torch.device,
    clock: Clock,
    folder: Path,
    rough: Rates,
    budget: Budget,
    empty_bytes: int,
    progress: Progress,
) -> Rates:
    """Return the rates `rough`, with measured rates for as many networks as the budget allows.

    For the other networks, the rough times are multiplied by the median ratio of measured time to rough time of a step.
    `empty_bytes`: memory of a worker without a network.
    """
    different = {step_key(run.config): run for run in runs if not run.has_given_vectors}
    measured: dict[tuple[object, ...], NetworkRate] = {}
    for i, (key, run) in enumerate(different.items()):
        progress(f"rehearse: train {run.config.architecture}", i, len(different))
        if budget.allows(_network_seconds(run, rough.networks[key], device)):
            # The network is local to this call, so that its memory is free before the next network is built.
            measured[key] = _measure_network(plan, run, device, clock, folder, empty_bytes)
    if not measured:
        return rough
    factor = median(rate.step_s / rough.networks[key].step_s for key, rate in measured.items())
    others = {
        key: replace(rate, step_s=factor * rate.step_s, image_s=factor * rate.image_s)
        for key, rate in rough.networks.items()
    }
    complete = len(measured) == len(different)
    left = tuple(name for name in rough.rough if not (complete and name == TRAINING))
    return replace(rough, networks={**others, **measured}, rough=left)


def _network_seconds(run: Run, rough: NetworkRate, device: torch.device) -> float:
    """Return the approximate number of seconds that the rehearsal of a run's network takes."""
    steps = 4 * rough.step_s / run.config.schedule.batch_size * _rehearsed_images(run, device)
    return 1.0 + max(ENOUGH_S, steps) + max(ENOUGH_S / 2, DISTINCT * rough.image_s)


def _rehearsed_images(run: Run, device: torch.device) -> int:
    """Return the number of images in the largest step of the rehearsal. A limit on this number saves memory on a CPU."""
    size = run.config.schedule.batch_size
    return size if device.type == "cuda" else min(size, max(4, REHEARSED_PIXELS // run.input_size**2))


def _measure_network(
    plan: Plan, run: Run, device: torch.device, clock: Clock, folder: Path, empty_bytes: int
) -> NetworkRate:
    before = psutil.Process().memory_info().rss
    return NetworkRehearsal.of(plan, run, device, clock).rate(folder, before, empty_bytes)


def _clock_of(device: torch.device) -> Clock:
    """Return the clock of a device, a function that returns seconds.

    On a CPU these are core seconds of this process. On a GPU they are wall-clock time, after all work of the GPU has ended.
    """
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def worker() -> tuple[float, int]:
    """Return the core seconds for importing a worker's modules, and the worker's memory in bytes after the import."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = "import bench.runs.run_one, psutil; print(psutil.Process().memory_info().rss)"
    process = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, int(process.stdout)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkRehearsal:
    """The network of a run with random images, to measure a few training steps and predictions."""

    plan: Plan
    run: Run
    network: Network
    normalizer: Normalizer
    reader: BatchReader
    device: torch.device
    clock: Clock
    building_s: float

    @classmethod
    def of(cls, plan: Plan, run: Run, device: torch.device, clock: Clock) -> Self:
        """Build the network of a run on the device."""
        if device.type == "cpu":
            torch.set_num_threads(run.config.threads)
        began = clock()
        network = initial_network(run, None)
        network.to(device=device).to(memory_format=torch.channels_last)
        normalizer, reader = _stand_in_normalization(run, network), BatchReader(_noise_images(run), device)
        return cls(plan, run, network, normalizer, reader, device, clock, clock() - began)

    def rate(self, folder: Path, memory_before: int, empty_bytes: int) -> NetworkRate:
        """Return the rates of the network.

        On a CPU, the peak memory is computed: the growth of this process from `memory_before` bytes, plus `empty_bytes`, the
        memory of a worker without a network. Files are written to `folder` to measure their sizes.
        """
        run, network = self.run, self.network
        step, step_s, peak = self.train()
        if peak is not None and self.device.type != "cuda":
            peak = empty_bytes + max(0, peak - memory_before)
        state = TrainingState(best={name: tensor.cpu().clone() for name, tensor in network.state_dict().items()})
        state.save(folder / "last.pt", run.id, step)
        save_file({k: v.contiguous().cpu() for k, v in network.state_dict().items()}, folder / "model.safetensors")
        image_s, width = self.predict()
        began = self.clock()
        weights_sha256(network)
        hashing = (self.clock() - began) * (len(self.plan.refs) + 3)
        began, deployed = self.clock(), network.deployed()
        for form in dict.fromkeys((deployed, network)):
            cost.Cost.of(form, run.input_size)
        cost.throughput(deployed, run.input_size, self.device)
        return NetworkRate(
            step_s,
            image_s,
            # A run builds its network twice: for training and for prediction.
            self.building_s * 2 + hashing + self.clock() - began,
            peak,
            (folder / "model.safetensors").stat().st_size,
            (folder / "last.pt").stat().st_size,
            width,
        )

    def train(self) -> tuple[Step, float, int | None]:
        """Train for a few steps; return the `Step` object, the seconds of one step and the peak memory in bytes.

        A step of a large network with all images of a batch may need more memory than a small machine has. So on a CPU,
        large batches are not tried: time and memory are extrapolated from two smaller numbers of images.
        """
        internal, config = self.plan.refs[0], self.run.config
        table = self.plan.cohorts[internal.name].table
        table = training_labels(table[internal.split_of(table, config) == "train"], config)
        column = self.run.group_column
        table = table[group_indices(table, column) >= 0] if column else table
        size = config.schedule.effective_batch_size(len(table))
        table = table.iloc[: max(size, LABELED)]
        ids, patients = (table[column].to_numpy(object) for column in ("image_id", "patient_id"))
        rows = np.arange(len(table), dtype=np.int64) % DISTINCT
        group_N = group_indices(table, column) if column else None
        state_NK, head_NT = states(table, config.findings), targets(table, config)
        examples = Examples(ids, patients, rows, state_NK, head_NT, group_N=group_N)
        training_loss = TrainingLoss(self.run, TrainingTargets.of(self.run, examples, self.device))
        step = Step(self.run, self.network, self.normalizer, self.reader, examples.rows, training_loss, self.device)
        # In the last epoch no weights are frozen, so a step takes its full time.
        step.begin_epoch(config.schedule.epochs)
        step.set_lr(1e-3)
        most = min(size, _rehearsed_images(self.run, self.device))
        if most == size:
            return step, *self._steps(step, len(table), size)
        half_s, half_peak = self._steps(step, len(table), most // 2)
        most_s, most_peak = self._steps(step, len(table), most)
        in_pass = min(size, config.schedule.micro_batch or size)  # images whose activations are in memory together
        peak = None
        if half_peak is not None and most_peak is not None:
            peak = round(_extrapolated(half_peak, most_peak, most, in_pass))
        return step, _extrapolated(half_s, most_s, most, size), peak

    def _steps(self, step: Step, num_rows: int, images: int) -> tuple[float, int | None]:
        """Take a few steps with `images` images each; return the seconds of one step and the peak memory in bytes.

        `num_rows`: number of training images from which the images are drawn. The memory is None if it is unknown.
        """
        epoch = self.run.config.schedule.epochs
        memory = PeakMemory.start(self.device)
        spent: list[float] = []
        while len(spent) < 2 or (sum(spent) < ENOUGH_S and len(spent) < 8):
            began = self.clock()
            batch = stream(0, "rehearsal", len(spent)).permutation(num_rows)[:images]
            step(batch, epoch, len(spent))
            spent.append(self.clock() - began)
            if spent[0] > 2 * ENOUGH_S:
                break
        # the first step is left out, because it also creates the optimizer's state
        return median(spent[1:] or spent), memory.bytes

    def predict(self) -> tuple[float, int]:
        """Return the seconds of one image's prediction, and the number of features."""
        spent: list[float] = []
        rows, first = np.arange(DISTINCT, dtype=np.int64), np.arange(1)
        while len(spent) < 2 or (sum(spent) < ENOUGH_S / 2 and len(spent) < 6):
            began = self.clock()
            _, features = predict(self.network, self.normalizer, self.reader, rows, self.device, features_of=first)
            spent.append(self.clock() - began)
            if spent[0] > ENOUGH_S:
                break
        return min(spent) / DISTINCT, features.shape[1]


def _extrapolated(half: float, most: float, images: int, wanted: int) -> float:
    """Return the value for `wanted` images on a line through two measured values.

    `half` was measured with images // 2 images, and `most` with `images` images. If the line falls, the result is `most`.

    >>> _extrapolated(3.0, 5.0, 8, 64)
    33.0
    """
    per_image = max(0.0, most - half) / (images - images // 2)
    return most + (wanted - images) * per_image


def _noise_images(run: Run) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return random images [DISTINCT, S, S]; S is the side in pixels of the run's cached images."""
    side = int(run.preprocessing["size"])
    return stream(0, "rehearsal", "noise").integers(1, 256, (DISTINCT, side, side), np.uint8)


def _stand_in_normalization(run: Run, network: Network) -> Normalizer:
    """Return a run's intensity normalization with an invented reference histogram. The histogram does not affect the time."""
    marks = np.linspace(0, 1, len(LANDMARKS)).tolist()
    invented = {"histstd": marks, "histmatch": [1 / 256] * 256}
    op = run.histogram_op
    reference = {op: invented[op]} if op else {}
    return Normalizer.of(run.preprocessing, network.mean, network.std, run.config.channels, reference)
