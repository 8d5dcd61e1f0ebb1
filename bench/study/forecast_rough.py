"""Forecast a grid roughly, from counted operations and fixed rates, without a rehearsal.

The rough forecast decides how much of the work a rehearsal may measure: the rehearsal takes at most a tenth of the time
that it forecasts. For work that the rehearsal does not measure, the forecast uses the rates of this module. This module
does not need torch.

The rates are those of one core of an Intel Xeon, and of a data center GPU. On a faster machine, both the rehearsal and
the grid take less time, so their ratio stays about the same.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bench.planning.plan import Plan
from bench.planning.run import Run
from bench.study.forecast import AnalysisRate, NetworkRate, Rates, step_key
from harmonize.cache.cache import Forecast as Decoding

SHARE = 0.1  # maximum share of the forecast time that a rehearsal takes
START_S = 20.0  # core seconds for starting this program and a worker, with their imports
PILOT_S = 25.0  # core seconds for scoring in the pilot (`forecast_pilot`), including the compilation of its code
CORE_GMACS = 10.0  # billions of MACs (multiply-accumulate operations) per second of a core
GPU_GMACS = 5000.0  # billions of MACs per second of a GPU, in mixed precision
UNKNOWN = {"gmacs": 1.0, "params": 10.0}  # assumed numbers for a network whose registry entry does not state them

TRAINING, SCORING = "training and prediction", "scoring"  # names in `Rates.rough`

# analysis -> its rates in the rehearsal of the grid `demo`, with six cohorts
ANALYSES: Mapping[str, AnalysisRate] = MappingProxyType(
    {
        "attention": AnalysisRate(own_s=14.0, images=1392, num_analyzed=983, num_bytes=230_000),
        "transplants": AnalysisRate(own_s=7.0, images=14_832, num_analyzed=576, num_bytes=170_000),
        "probes": AnalysisRate(own_s=3.0, images=1211, num_analyzed=1128, num_bytes=29_000),
        "acquisition": AnalysisRate(own_s=40.0, images=0, num_analyzed=900, num_bytes=150_000),
    }
)


def rough_rates(plan: Plan, runs: Sequence[Run], on_gpu: bool, decoding: Mapping[tuple[str, str], Decoding]) -> Rates:
    """Return rates of the runs, computed from the numbers of operations and parameters in the registry.

    `decoding`: the rates of decoding images. These rates are always measured, because the measurement takes less than a
    thousandth of the time of decoding.
    """
    networks = {step_key(run.config): _network_rate(run, on_gpu) for run in runs}
    analyses = {analysis.name: ANALYSES[analysis.name] for analysis in plan.grid.analyses}
    return Rates(
        on_gpu=on_gpu,
        networks=networks,
        decoding=decoding,
        row_bytes=dict.fromkeys(plan.cohorts, 100.0),
        start_s=START_S,
        first_score_s=2.0,
        score_s=1.5,
        score_rows=2500,
        score_bytes=500_000,
        report_s=3.0,
        analyses=analyses,
        rough=(TRAINING, SCORING, *analyses),
    )


def image_seconds(run: Run, on_gpu: bool) -> float:
    """Return the approximate seconds of one image's prediction. A training step takes three times as long per image."""
    gmacs = float(_fact(run, "gmacs")) * (run.input_size / 224) ** 2
    return gmacs / (GPU_GMACS if on_gpu else CORE_GMACS)


def _fact(run: Run, name: str) -> float:
    if run.has_given_vectors:
        return 1e-6  # the output layer alone
    return float(run.entries["architecture"].facts.get(name, UNKNOWN[name]))


def _network_rate(run: Run, on_gpu: bool) -> NetworkRate:
    image_s, size = image_seconds(run, on_gpu), 4e6 * _fact(run, "params")
    step_s = 3 * image_s * run.config.schedule.batch_size
    return NetworkRate(step_s, image_s, 3.0, None, round(size), round(4 * size), 1024)
