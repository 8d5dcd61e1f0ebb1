"""What a grid will take: the work of each run, counted, times what a unit of it took in a rehearsal on this machine.

No torch: `bench.study.forecast_measure` measures, this counts, adds up and says. Every image listed counts as readable, every run goes
through all its epochs; `patience` and unreadable images make it less, a time limit counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.config.analyses import Analysis
from bench.config.run_config import RunConfig
from bench.planning.derived_runs import Derived
from bench.planning.plan import Plan, states
from bench.planning.protocol import FEATURE_PATIENTS
from bench.planning.run import Run
from harmonize.cache.cache import Forecast as Decoding


@dataclass(frozen=True, slots=True)
class Work:
    """What one run has to do."""

    run: Run
    steps: int  # of the optimizer, in all epochs
    validated: int  # images that are predicted to choose the epoch, in all epochs
    predicted: Mapping[str, int]  # images, by cohort
    kept: Mapping[str, int]  # images whose features are kept, by cohort
    letters: Mapping[str, int]  # of the longest patient id, by cohort: each is stored as wide as that


def work(plan: Plan, run: Run) -> Work:
    """Count the work of a run."""
    config, schedule = run.config, run.config.schedule
    internal, *_ = plan.refs
    table = plan.cohorts[internal.name].table
    split = internal.split_of(table, config)
    num_train = int((split == "train").sum())
    validated = sum(int((split == part).sum()) for part in schedule.watched)
    predicted, kept, letters = {}, {}, {}
    for ref in plan.refs:
        table = plan.cohorts[ref.name].table
        of_row = ref.split_of(table, config)
        patients = table["patient_id"][ref.headline_rows(of_row)].astype(str)
        predicted[ref.name] = int(ref.predicted_rows(of_row).sum())
        kept[ref.name] = min(FEATURE_PATIENTS, patients.nunique())
        letters[ref.name] = int(patients.str.len().max() or 0) if len(patients) else 0
    steps = schedule.epochs * (num_train // schedule.effective_batch_size(num_train))
    return Work(run, steps, schedule.epochs * validated, predicted, kept, letters)


def step_key(config: RunConfig) -> tuple[object, ...]:
    """Return what decides how long a step of a run takes: runs that agree in it are measured once."""
    schedule = config.schedule
    chosen = (
        schedule.batch_size,
        schedule.micro_batch,
        schedule.ema > 0,
        schedule.clip > 0,
        schedule.freeze_epochs > 0,
    )
    names = (
        "architecture",
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "channels",
        "heads",
        "task",
    )
    return (*(getattr(config, name) for name in names), config.precision, config.threads, schedule.sampling, *chosen)


def num_analyzed(plan: Plan, analysis: Analysis, run: Run) -> int:
    """Return how many images an analysis looks at, by its own bounds: what its time goes with."""
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
    """What a network took; seconds are of the device: of one core, of one GPU."""

    step_s: float
    image_s: float  # of prediction, one image
    fixed_s: float  # once for a run: to build, to hash, to measure its cost
    peak_bytes: int | None  # while it trains: of the GPU, else of the process
    weights_bytes: int
    checkpoint_bytes: int
    num_features: int


@dataclass(frozen=True, slots=True)
class AnalysisRate:
    """What an analysis of one run took."""

    own_s: float  # without the network's passes
    images: int  # passes of the network, in images
    num_analyzed: int
    num_bytes: int
    failed: str = ""  # why it could not be measured


@dataclass(frozen=True, slots=True)
class Rates:
    """What a rehearsal found on this machine."""

    on_gpu: bool
    networks: Mapping[tuple[object, ...], NetworkRate]  # by `step_key`
    decoding: Mapping[tuple[str, str], Decoding]  # in one process, by cohort and geometry key
    row_bytes: Mapping[str, float]  # of a prediction, by cohort
    start_s: float  # once: the programs
    first_score_s: float
    score_s: float  # of one run, for so many rows:
    score_rows: int
    score_bytes: int
    report_s: float
    analyses: Mapping[str, AnalysisRate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """What the runs of one architecture take."""

    architecture: str
    runs: int
    steps: int
    training_s: float
    predicting_s: float  # validation, prediction, views
    analysing_s: float
    peak_bytes: int | None  # of one run
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a grid takes."""

    lines: tuple[Line, ...]
    on_gpu: bool
    decoding_s: float  # of cores
    scoring_s: float  # of cores
    other_s: float  # analyses of the cohorts, the page, the start
    cache_bytes: int
    passing_bytes: int  # checkpoints, of one run, while it trains
    unknown: tuple[str, ...] = ()

    @property
    def device_s(self) -> float:
        """Return seconds of devices: of GPUs where there are any, else of cores."""
        return sum(line.training_s + line.predicting_s + line.analysing_s for line in self.lines)

    @property
    def core_s(self) -> float:
        """Return seconds of cores: all of it where there is no GPU, else what runs beside."""
        beside = self.decoding_s + self.scoring_s + self.other_s
        return beside if self.on_gpu else beside + self.device_s

    @property
    def disk_bytes(self) -> int:
        """Return what is kept."""
        return self.cache_bytes + sum(line.disk_bytes for line in self.lines)

    @property
    def peak_bytes(self) -> int | None:
        """Return the memory of the largest run, None where the system does not tell."""
        return max((line.peak_bytes for line in self.lines if line.peak_bytes is not None), default=None)


def _run_bytes(todo: Work, rate: NetworkRate, row_bytes: Mapping[str, float]) -> int:
    """Return what a finished run has on the disk: weights, predictions, features.

    A stored feature has two bytes, the patient beside it four for each letter; histories and notes are small.
    """
    features = sum(n * (2 * rate.num_features + 4 * todo.letters[name]) + 512 for name, n in todo.kept.items())
    predictions = sum(number * row_bytes[name] for name, number in todo.predicted.items())
    return rate.weights_bytes + round(predictions) + features + 12_000


def forecast(plan: Plan, runs: Sequence[Run], derived: Sequence[Derived], rates: Rates) -> Forecast:
    """Return what these runs take, with the analyses of the plan and what is derived from them."""
    works = {run.id: work(plan, run) for run in runs}
    views: dict[str, int] = dict.fromkeys(works, 0)
    for each in derived:
        if each.kind == "tta" and each.runs[0].id in views:
            views[each.runs[0].id] += len(each.views)
    lines = []
    for name in dict.fromkeys(run.config.architecture for run in runs):
        mine = [works[run.id] for run in runs if run.config.architecture == name]
        lines.append(_line(plan, name, mine, views, rates))
    rows = sum(next(iter(works.values())).predicted.values()) if works else 0
    scored = len(runs) + len(derived)
    larger = max(1.0, rows / rates.score_rows) if rates.score_rows else 1.0
    scoring = larger * (rates.first_score_s + max(0, scored - 1) * rates.score_s) if scored else 0.0
    apart = [a for a in plan.grid.analyses if not a.kind.per_run and a.name in rates.analyses]
    forms = {run.geometry for run in runs}
    once = sum(_analysis_s(plan, a, runs[0], rates.analyses[a.name], 0.0) for a in apart) * len(forms)
    left = [decoding for decoding in rates.decoding.values() if decoding.images]
    cache, seconds = sum(decoding.num_bytes for decoding in left), sum(decoding.seconds for decoding in left)
    passing = max((rates.networks[step_key(run.config)].checkpoint_bytes for run in runs), default=0)
    unknown = tuple(f"{name}: {rate.failed}" for name, rate in rates.analyses.items() if rate.failed)
    other = once + rates.start_s + rates.report_s
    return Forecast(tuple(lines), rates.on_gpu, seconds, scoring, other, cache, passing, unknown)


def _line(plan: Plan, name: str, works: Sequence[Work], views: Mapping[str, int], rates: Rates) -> Line:
    training = predicting = analysing = 0.0
    disk = steps = 0
    peaks = []
    for todo in works:
        run, rate = todo.run, rates.networks[step_key(todo.run.config)]
        trained = todo.steps * rate.step_s + todo.validated * rate.image_s
        limit = 3600 * run.config.limit.hours or trained
        images = (1 + views[run.id]) * sum(todo.predicted.values())
        share = min(1.0, limit / trained) if trained else 1.0
        training += share * todo.steps * rate.step_s
        predicting += share * todo.validated * rate.image_s + images * rate.image_s + rate.fixed_s
        steps += todo.steps
        disk += _run_bytes(todo, rate, rates.row_bytes) + (1 + bool(views[run.id])) * rates.score_bytes
        for asked in plan.grid.analyses:
            if asked.kind.per_run and asked.name in rates.analyses:
                found = rates.analyses[asked.name]
                analysing += _analysis_s(plan, asked, run, found, rate.image_s)
                disk += found.num_bytes
        peaks.append(rate.peak_bytes)
    peak = max((p for p in peaks if p is not None), default=None)
    return Line(name, len(works), steps, training, predicting, analysing, peak, disk)


def _analysis_s(plan: Plan, analysis: Analysis, run: Run, rate: AnalysisRate, image_s: float) -> float:
    """Return the seconds of an analysis of a run: its own part, and the network's passes at the run's speed."""
    if rate.failed:
        return 0.0
    more = num_analyzed(plan, analysis, run) / max(1, rate.num_analyzed)
    return more * (rate.own_s + rate.images * image_s)
