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
from dataclasses import dataclass
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
from bench.planning.derived_runs import Derived
from bench.planning.image_caches import ImageFiles
from bench.planning.plan import Plan, states
from bench.planning.run import Run
from bench.runs.networks import initial_network
from bench.store.store import Progress
from bench.study.forecast import Forecast, NetworkRate, Rates, forecast, step_key
from bench.study.forecast_pilot import Pilot
from bench.system.peak_memory import PeakMemory
from bench.training.checkpoint import TrainingState
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.seeds import stream

ENOUGH_S = 2.0  # seconds of steps, or of predictions, that are measured per network
DISTINCT = 64  # number of random images with which a network is measured
LABELED = 5000  # maximum number of training images with labels in the rehearsal
Clock = Callable[[], float]


def rehearsed_forecast(
    plan: Plan, runs: Sequence[Run], derived: Sequence[Derived], device_name: str, progress: Progress
) -> Forecast:
    """Return the forecast for these runs and the unfinished derived runs, from a rehearsal on one device."""
    unfinished = [run for run in derived if plan.store.state(run.id) != "done"]
    return forecast(plan, runs, unfinished, rehearse(plan, runs, device_name, progress))


def rehearse(plan: Plan, runs: Sequence[Run], device_name: str, progress: Progress) -> Rates:
    """Measure the rates of these runs on one device. All files are temporary."""
    # This is the CPU time that the process has used so far. The real run needs this time, too.
    began = time.process_time()
    device = torch.device(device_name)
    clock = _clock_of(device)
    start_s, empty_bytes = worker()
    different = {step_key(run.config): run for run in runs}
    progress("rehearse: decode", 0, 1)
    decoding = ImageFiles.of(plan).decoding(runs, 1)
    networks = {}
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        for i, (key, run) in enumerate(different.items()):
            progress(f"rehearse: train {run.config.architecture}", i, len(different))
            before = psutil.Process().memory_info().rss
            rehearsal = NetworkRehearsal.of(plan, run, device, clock)
            networks[key] = rehearsal.rate(Path(folder), before, empty_bytes)
        pilot = Pilot.of(plan, runs[0], Path(folder) / "store", device, clock)
        scored = pilot.score(progress)
        analyses, report_s = pilot.analyse(progress)
    return Rates(
        on_gpu=device.type == "cuda",
        networks=networks,
        decoding=decoding,
        row_bytes=scored.row_bytes,
        # This process may have made phantom cohorts, which the real run does not repeat. So its time counts only up to
        # the time of one start.
        start_s=start_s + min(began, start_s),
        first_score_s=scored.first_s,
        score_s=scored.further_s,
        score_rows=scored.rows,
        score_bytes=scored.num_bytes,
        report_s=report_s,
        analyses=analyses,
    )


def _clock_of(device: torch.device) -> Clock:
    """Return the clock of a device: core seconds of this process on a CPU, wall clock after a synchronization on a GPU."""
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

        On a CPU, its memory is the growth of this process since `memory_before`, plus `empty_bytes`, the memory of a worker
        without a network. Files are written to `folder` to measure their sizes.
        """
        run, network = self.run, self.network
        memory = PeakMemory.start(self.device)
        step, step_s = self.train()
        peak = memory.bytes
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

    def train(self) -> tuple[Step, float]:
        """Train for a few steps; return the `Step` object and the seconds of one step."""
        internal, config = self.plan.refs[0], self.run.config
        table = self.plan.cohorts[internal.name].table
        table = table[internal.split_of(table, config) == "train"]
        size = config.schedule.effective_batch_size(len(table))
        table = table.iloc[: max(size, LABELED)]
        ids, patients = (table[column].to_numpy(object) for column in ("image_id", "patient_id"))
        rows = np.arange(len(table), dtype=np.int64) % DISTINCT
        examples = Examples(ids, patients, rows, states(table, config.findings), targets(table, config))
        training_loss = TrainingLoss(self.run, TrainingTargets.of(self.run, examples, self.device))
        step = Step(self.run, self.network, self.normalizer, self.reader, examples.rows, training_loss, self.device)
        # In the last epoch no weights are frozen, so a step takes its full time.
        step.begin_epoch(config.schedule.epochs)
        step.set_lr(1e-3)
        spent: list[float] = []
        while len(spent) < 2 or (sum(spent) < ENOUGH_S and len(spent) < 8):
            began = self.clock()
            batch = stream(0, "rehearsal", len(spent)).permutation(len(table))[:size]
            step(batch, config.schedule.epochs, len(spent))
            spent.append(self.clock() - began)
            if spent[0] > 2 * ENOUGH_S:
                return step, spent[0]
        return step, median(spent[1:])  # without the first step, which also creates the optimizer's state

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


def _noise_images(run: Run) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return random images [DISTINCT, S, S]; S is the side in pixels of the run's cached images."""
    side = int(run.preprocessing["size"])
    return stream(0, "rehearsal", "noise").integers(1, 256, (DISTINCT, side, side), np.uint8)


def _stand_in_normalization(run: Run, network: Network) -> Normalizer:
    """Return a run's intensity normalization with an invented histogram, which does not change the time."""
    marks = np.linspace(0, 1, len(LANDMARKS)).tolist()
    invented = {"histstd": marks, "histmatch": [1 / 256] * 256}
    op = run.histogram_op
    reference = {op: invented[op]} if op else {}
    return Normalizer.of(run.preprocessing, network.mean, network.std, run.config.channels, reference)
