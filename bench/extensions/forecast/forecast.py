"""Forecast time, disk and memory of a grid: the work of each run (numbers of steps and images), multiplied by rates.

The rates are rough: they follow from the numbers of operations and parameters in the registry, and from constants that were
measured with the grid `demo`. If the grid has finished runs in the store, the rates of their architectures are scaled to the
time that these runs took. Only the rates of decoding are measured, on a few files. This module does not need torch.

The forecast assumes that all images are readable and that every run trains all its epochs, unless the time limit ends the
training. So `patience` and unreadable images make the real numbers smaller than the forecast.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType

import numpy as np
import pandas as pd

from bench.config.analyses import Analysis
from bench.config.run_config import RunConfig
from bench.planning.derived_runs import DerivedRun
from bench.planning.image_caches import ImageFiles
from bench.planning.plan import Plan, training_labels
from bench.planning.protocol import FEATURE_PATIENTS
from bench.planning.run import RunSpec
from bench.store.checked_folders import CheckedFolder
from bench.system.devices import Devices, memory_of
from harmonize.cache.cache import CacheForecast
from harmonize.errors import StoreError
from harmonize.labels.states import states

# rates of one core of an Intel Xeon and of a data center GPU
CORE_GMACS = 10.0  # billions of MACs (multiply-accumulate operations) per second of a core
GPU_GMACS = 5000.0  # billions of MACs per second of a GPU, in mixed precision
UNKNOWN = {"gmacs": 1.0, "params": 10.0}  # assumed numbers for a network whose registry entry does not state them
START_S = 20.0  # core seconds for starting this program and a worker, with their imports
RUN_S = 3.0  # seconds per run: building the network, hashing the weights, measuring the cost
FIRST_SCORE_S = 2.0  # core seconds for scoring the first run, with `SCORE_ROWS` images
SCORE_S = 1.5  # core seconds for scoring each further run, with `SCORE_ROWS` images
SCORE_ROWS = 2500
SCORE_BYTES = 500_000  # size of the scores of a run
ROW_BYTES = 100.0  # size of the stored prediction of one image
REPORT_S = 3.0
NUM_FEATURES = 1024


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The numbers of images that runs with the same split of the internal cohort use."""

    of_split: Mapping[str, int]  # split of the internal cohort -> number of images that are trained on or predicted
    predicted: Mapping[str, int]  # cohort -> number of predicted images
    kept: Mapping[str, int]  # cohort -> number of images whose features are stored
    # cohort -> length of the longest patient id in letters; every id is stored with this length
    letters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one run: numbers of steps and images."""

    run: RunSpec
    steps: int  # number of optimizer steps in all epochs
    validated: int  # number of images predicted for validation in all epochs
    images: ImageCounts


def all_work(plan: Plan, runs: Sequence[RunSpec]) -> dict[str, Work]:
    """Return the work of each run: run id -> work. Images are counted only once for runs with the same split and labels."""
    different = {_split_key(run.config): run.config for run in runs}
    counts = {key: count_images(plan, config) for key, config in different.items()}
    works = {}
    for run in runs:
        images, schedule = counts[_split_key(run.config)], run.config.schedule
        num_train = images.of_split["train"]
        steps = schedule.epochs * (num_train // schedule.effective_batch_size(num_train))
        validated = schedule.epochs * sum(images.of_split.get(name, 0) for name in schedule.watched)
        works[run.id] = Work(run, steps, validated, images)
    return works


def _split_key(config: RunConfig) -> tuple[object, ...]:
    # the labels of a run decide its number of training images, if it trains only on images with a label
    labels = (config.findings, config.blank) if config.labeled_images_only else ()
    return config.split, config.cohort, labels


def count_images(plan: Plan, config: RunConfig) -> ImageCounts:
    """Count the images of each cohort that a run with this configuration uses."""
    internal, *_ = plan.refs
    internal_table = plan.cohorts[internal.name].table
    split = internal.split_of(internal_table, config)
    of_split = {str(name): int(number) for name, number in split.value_counts().items()}
    of_split["train"] = _num_trained(internal_table[split == "train"], config)
    predicted, kept, letters = {}, {}, {}
    for ref in plan.refs:
        table = plan.cohorts[ref.name].table
        of_row = split if ref is internal else ref.split_of(table, config)
        patients = table["patient_id"][ref.headline_rows(of_row)].astype(str)
        predicted[ref.name] = int(ref.predicted_rows(of_row).sum())
        kept[ref.name] = min(FEATURE_PATIENTS, patients.nunique())
        letters[ref.name] = int(patients.str.len().max() or 0) if len(patients) else 0
    return ImageCounts(of_split, predicted, kept, letters)


def _num_trained(train: pd.DataFrame, config: RunConfig) -> int:
    """Return the number of training images that a run uses. Uncertain labels count, although some policies ignore them."""
    if not config.labeled_images_only:
        return len(train)
    labels = (1, 0, -1) if config.blank == "ignore" else (1, 0, -1, -2)
    return int(np.isin(states(training_labels(train, config), config.findings), labels).any(axis=1).sum())


def num_analyzed(plan: Plan, analysis: Analysis, run: RunSpec) -> int:
    """Return the number of images that an analysis uses. The time of the analysis is proportional to this number."""
    options, total = analysis.options, 0
    for ref in plan.refs:
        table = plan.cohorts[ref.name].table
        table = table[ref.headline_rows(ref.split_of(table, run.config))]
        if analysis.name == "attention":
            state_NK = states(table, run.config.findings)
            patients = table["patient_id"].to_numpy(str)
            total += sum(min(options.images, len(np.unique(patients[column == 1]))) for column in state_NK.T)
        else:
            most = options.images if analysis.name == "transplants" else options.per_source
            total += min(most, int(table["patient_id"].nunique()))
    return total


@dataclass(frozen=True, slots=True)
class NetworkRate:
    """The rates of a run's network, in seconds of one core or of one GPU."""

    step_s: float  # seconds of one training step
    image_s: float  # seconds for the prediction of one image
    weights_bytes: int
    peak_bytes: int | None = None  # peak memory of the process during training, or of the GPU; None if unknown


@dataclass(frozen=True, slots=True)
class AnalysisRate:
    """The rates of an analysis of one run."""

    own_s: float  # seconds of the analysis without the forward passes of the network
    images: int  # number of forward passes of single images; an image may go through the network several times
    num_analyzed: int  # number of images that the analysis uses, see the function `num_analyzed`
    num_bytes: int


# analysis -> its rates, measured with the grid `demo` on six cohorts
ANALYSES: Mapping[str, AnalysisRate] = MappingProxyType(
    {
        "attention": AnalysisRate(own_s=14.0, images=1392, num_analyzed=983, num_bytes=230_000),
        "transplants": AnalysisRate(own_s=7.0, images=14_832, num_analyzed=576, num_bytes=170_000),
        "probes": AnalysisRate(own_s=3.0, images=1211, num_analyzed=1128, num_bytes=29_000),
        "acquisition": AnalysisRate(own_s=40.0, images=0, num_analyzed=900, num_bytes=150_000),
    }
)


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of the runs of a grid."""

    on_gpu: bool
    networks: Mapping[str, NetworkRate]  # run id -> rate
    decoding: Mapping[tuple[str, str], CacheForecast]  # (cohort, key of the image geometry) -> rates of one process
    measured: tuple[str, ...] = ()  # architectures whose rates are scaled to the time of finished runs


@dataclass(frozen=True, slots=True)
class Line:
    """The forecast for all runs of one architecture: a row of the table that `--estimate` prints."""

    architecture: str
    runs: int
    steps: int
    training_s: float
    predicting_s: float  # seconds for validation, prediction, and the views of TTA
    analysing_s: float
    peak_bytes: int | None  # peak memory per run
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast for a grid."""

    lines: tuple[Line, ...]
    on_gpu: bool
    decoding_s: float  # core seconds
    scoring_s: float  # core seconds
    other_s: float  # seconds for analyses of the cohorts, the page, and starting the programs
    cache_bytes: int
    passing_bytes: int  # bytes of the checkpoint of one run, which is deleted after training
    measured: tuple[str, ...] = ()  # as in `Rates`
    num_devices: int = 1  # number of devices that train in parallel
    gpu_bytes: int = 0  # memory of one GPU; 0 for a CPU

    @property
    def device_s(self) -> float:
        """Return the GPU seconds of training, prediction and analyses; without a GPU, their core seconds."""
        return sum(line.training_s + line.predicting_s + line.analysing_s for line in self.lines)

    @property
    def core_s(self) -> float:
        """Return the core seconds of decoding, scoring and other work; without a GPU, also those of `device_s`."""
        without_devices = self.decoding_s + self.scoring_s + self.other_s
        return without_devices if self.on_gpu else without_devices + self.device_s

    @property
    def disk_bytes(self) -> int:
        """Return the disk space in bytes that the finished grid uses: decoded images and files of runs."""
        return self.cache_bytes + sum(line.disk_bytes for line in self.lines)

    @property
    def peak_bytes(self) -> int | None:
        """Return the memory in bytes of the run that needs the most memory; None if unknown."""
        return max((line.peak_bytes for line in self.lines if line.peak_bytes is not None), default=None)


def grid_forecast(plan: Plan, runs: Sequence[RunSpec], derived: Sequence[DerivedRun], devices: Devices) -> Forecast:
    """Return the forecast for these runs, for the unfinished ones of the derived runs, and for these devices."""
    names = devices.in_parallel(max(run.config.threads for run in runs))
    unfinished = [run for run in derived if plan.store.state(run.id) != "done"]
    rates = rates_of(plan, runs, names[0].startswith("cuda"), ImageFiles.of(plan).decoding(runs, 1))
    found = forecast(plan, runs, unfinished, rates)
    return replace(found, num_devices=len(names), gpu_bytes=memory_of(names[0]))


def rates_of(
    plan: Plan, runs: Sequence[RunSpec], on_gpu: bool, decoding: Mapping[tuple[str, str], CacheForecast]
) -> Rates:
    """Return the rates of these runs. `decoding`: the measured rates of decoding images."""
    finished = _finished_rates(plan, on_gpu)
    networks = {}
    for run in runs:
        rate = _rough_rate(run, on_gpu)
        factor, peak_bytes = finished.get(_size_key(run), (1.0, None))
        networks[run.id] = replace(
            rate, step_s=factor * rate.step_s, image_s=factor * rate.image_s, peak_bytes=peak_bytes
        )
    measured = dict.fromkeys(run.config.architecture for run in runs if _size_key(run) in finished)
    return Rates(on_gpu, networks, decoding, measured=tuple(measured))


def _size_key(run: RunSpec) -> tuple[str, int]:
    return run.config.architecture, run.input_size


def _finished_rates(plan: Plan, on_gpu: bool) -> dict[tuple[str, int], tuple[float, int | None]]:
    """Return {(architecture, side of the input): (factor, peak memory in bytes)} of the finished runs of the grid.

    The factor is the median of the time that training and validation took, divided by their rough time. Only runs on the same
    kind of device (`on_gpu` or not) count; runs with damaged files do not count.
    """
    done = {run.id: run for run in plan.runs if plan.store.state(run.id) == "done"}
    factors: dict[tuple[str, int], list[float]] = {}
    peaks: dict[tuple[str, int], int | None] = {}
    for run_id, todo in all_work(plan, list(done.values())).items():
        run, folder = done[run_id], CheckedFolder(plan.store.run_dir(run_id))
        try:
            epoch_s = folder.table("history.parquet", ["seconds"])["seconds"]
        except StoreError:
            continue
        facts = folder.facts()
        rough = _rough_rate(run, on_gpu)
        rough_s = (todo.steps * rough.step_s + todo.validated * rough.image_s) / run.config.schedule.epochs
        is_on_gpu = not str(facts["env"].get("device", "")).startswith("cpu")
        if is_on_gpu == on_gpu and rough_s and len(epoch_s):
            cores = 1 if on_gpu else run.config.threads
            factors.setdefault(_size_key(run), []).append(cores * float(epoch_s.mean()) / rough_s)
            peaks[_size_key(run)] = facts["cost"].get("peak_memory_bytes")
    return {key: (median(of_runs), peaks[key]) for key, of_runs in factors.items()}


def _rough_rate(run: RunSpec, on_gpu: bool) -> NetworkRate:
    """Return the rates that follow from the MACs and parameters in the registry. A training step takes three times as long per image."""
    gmacs = _fact(run, "gmacs") * (run.input_size / 224) ** 2
    image_s = gmacs / (GPU_GMACS if on_gpu else CORE_GMACS)
    return NetworkRate(3 * image_s * run.config.schedule.batch_size, image_s, round(4e6 * _fact(run, "params")))


def _fact(run: RunSpec, name: str) -> float:
    if run.has_given_vectors:
        return 1e-6  # the output layer alone
    return float(run.entries["architecture"].facts.get(name, UNKNOWN[name]))


def _run_bytes(todo: Work, rate: NetworkRate) -> int:
    """Return the disk space in bytes of a finished run: weights, predictions, features.

    A stored feature takes two bytes; the patient id takes four bytes per letter. Other files are small.
    """
    letters = todo.images.letters
    features = sum(n * (2 * NUM_FEATURES + 4 * letters[name]) + 512 for name, n in todo.images.kept.items())
    predictions = sum(todo.images.predicted.values()) * ROW_BYTES
    return rate.weights_bytes + round(predictions) + features + 12_000


def forecast(plan: Plan, runs: Sequence[RunSpec], derived: Sequence[DerivedRun], rates: Rates) -> Forecast:
    """Return the forecast for these runs and derived runs, with scores, page and the analyses of the plan."""
    works = all_work(plan, runs)
    views: dict[str, int] = dict.fromkeys(works, 0)
    for run in derived:
        if run.kind == "tta" and run.runs[0].id in views:
            views[run.runs[0].id] += len(run.views)
    analyzed = _analyzed_counter(plan)
    lines = []
    for name in dict.fromkeys(run.config.architecture for run in runs):
        own = [works[run.id] for run in runs if run.config.architecture == name]
        lines.append(_line(plan, name, own, views, rates, analyzed))
    rows = sum(next(iter(works.values())).images.predicted.values()) if works else 0
    scored = len(runs) + len(derived)
    scoring = max(1.0, rows / SCORE_ROWS) * (FIRST_SCORE_S + max(0, scored - 1) * SCORE_S) if scored else 0.0
    apart = [analysis for analysis in plan.grid.analyses if not analysis.kind.per_run]
    forms = {run.geometry for run in runs}
    once = sum(_analysis_s(analyzed(a, runs[0]), ANALYSES[a.name], 0.0) for a in apart) * len(forms)
    left = [decoding for decoding in rates.decoding.values() if decoding.images]
    cache, seconds = sum(decoding.num_bytes for decoding in left), sum(decoding.seconds for decoding in left)
    # the checkpoint has the weights, their average, the state of the optimizer and the weights of the best epoch
    passing = 4 * max((rates.networks[run.id].weights_bytes for run in runs), default=0)
    other = once + START_S + REPORT_S
    return Forecast(tuple(lines), rates.on_gpu, seconds, scoring, other, cache, passing, rates.measured)


def _analyzed_counter(plan: Plan) -> Callable[[Analysis, RunSpec], int]:
    """Return a function that takes an analysis and a run, and returns the number of images as `num_analyzed` does for this plan.

    The function counts the images only once for all runs with the same split and findings.
    """
    numbers: dict[tuple[object, ...], int] = {}

    def count(analysis: Analysis, run: RunSpec) -> int:
        key = (analysis.name, *_split_key(run.config), run.config.findings)
        if key not in numbers:
            numbers[key] = num_analyzed(plan, analysis, run)
        return numbers[key]

    return count


def _line(
    plan: Plan,
    name: str,
    works: Sequence[Work],
    views: Mapping[str, int],
    rates: Rates,
    analyzed: Callable[[Analysis, RunSpec], int],
) -> Line:
    training = predicting = analysing = 0.0
    disk = steps = 0
    peaks = []
    for todo in works:
        run, rate = todo.run, rates.networks[todo.run.id]
        trained = todo.steps * rate.step_s + todo.validated * rate.image_s
        limit = 3600 * run.config.limit.hours or trained
        images = (1 + views[run.id]) * sum(todo.images.predicted.values())
        share = min(1.0, limit / trained) if trained else 1.0
        training += share * todo.steps * rate.step_s
        predicting += share * todo.validated * rate.image_s + images * rate.image_s + RUN_S
        steps += todo.steps
        disk += _run_bytes(todo, rate) + (1 + bool(views[run.id])) * SCORE_BYTES
        for analysis in plan.grid.analyses:
            if analysis.kind.per_run:
                own = ANALYSES[analysis.name]
                analysing += _analysis_s(analyzed(analysis, run), own, rate.image_s)
                disk += own.num_bytes
        peaks.append(rate.peak_bytes)
    peak = max((p for p in peaks if p is not None), default=None)
    return Line(name, len(works), steps, training, predicting, analysing, peak, disk)


def _analysis_s(num_images: int, rate: AnalysisRate, image_s: float) -> float:
    """Return the seconds of an analysis of a run: the work of the analysis, and the forward passes of the run's network.

    `num_images`: number of images that the analysis uses. `image_s`: seconds of a forward pass with one image.
    """
    return num_images / max(1, rate.num_analyzed) * (rate.own_s + rate.images * image_s)
