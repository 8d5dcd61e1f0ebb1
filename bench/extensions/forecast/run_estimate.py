"""The hook `run_estimate`: what `bench run --estimate` prints about time, disk and memory."""

from collections.abc import Sequence

from bench.cli.text_tables import span, table_lines
from bench.extensions.forecast.forecast import Forecast, Line, grid_forecast
from harmonize.disk_space import size

__all__ = ["grid_forecast", "lines"]  # what the command line reads


def lines(estimate: Forecast, workers: int) -> list[str]:
    """Return an estimate as lines of text: a table, sentences, and the number of runs that fit on a GPU.

    `workers`: number of processes that decode images.
    """
    return [*table_lines(table(estimate)), *sentences(estimate, workers), *fitting(estimate)]


def fitting(estimate: Forecast) -> list[str]:
    """Return one line that says how many of the largest runs fit on one GPU; [] without a GPU or if the memory is unknown.

    The calculation adds half a GB per process to the memory of its tensors, and leaves a tenth of the GPU's memory free.
    """
    memory = estimate.gpu_bytes
    if not memory or estimate.peak_bytes is None:
        return []
    number = int(0.9 * memory / (estimate.peak_bytes + 5e8))
    fit = (
        f"{number} of the largest runs fit (--per-device {number})"
        if number > 1
        else "only one of the largest runs fits"
    )
    return [f"a GPU has {size(memory)}: {fit}"]


def table(estimate: Forecast) -> list[list[str]]:
    """Return the rows of a table: header, one row per architecture, and a row "all" if there are several architectures.

    The row "all" has sums, and for peak memory the maximum.
    """
    unit = "GPU time" if estimate.on_gpu else "core time"
    head = ["architecture", "runs", "steps", f"training ({unit})", "predicting", "analysing", "peak memory", "disk"]
    rows = [_row(line.architecture, [line]) for line in estimate.lines]
    return [head, *rows, *([_row("all", estimate.lines)] if len(rows) > 1 else [])]


def _row(name: str, lines: Sequence[Line]) -> list[str]:
    peak = max((line.peak_bytes for line in lines if line.peak_bytes is not None), default=None)
    seconds = [sum(getattr(line, name) for line in lines) for name in ("training_s", "predicting_s", "analysing_s")]
    counts = [str(sum(getattr(line, name) for line in lines)) for name in ("runs", "steps")]
    sizes = ["unknown" if peak is None else size(peak), size(sum(line.disk_bytes for line in lines))]
    return [name, *counts, *map(span, seconds), *sizes]


def sentences(estimate: Forecast, workers: int) -> list[str]:
    """Return lines of text: time, disk space and memory of all runs, and where the numbers come from.

    `workers`: number of processes that decode images.
    """
    devices = estimate.num_devices
    not_on_device = estimate.scoring_s + estimate.other_s + estimate.decoding_s / max(1, workers)
    wall = estimate.device_s / max(1, devices) + not_on_device
    device = "GPU" if estimate.on_gpu else "worker"
    total = f"{estimate.device_s / 3600:.3g} GPU-hours and " if estimate.on_gpu else ""
    total += f"{estimate.core_s / 3600:.3g} core-hours"
    times = f"decoding {span(estimate.decoding_s)}, scoring {span(estimate.scoring_s)}, shared analyses {span(estimate.other_s)}"
    number = f"{devices} {device}{'s' if devices != 1 else ''}"
    kept = f"{size(estimate.disk_bytes)} at the end (new decoded images: {size(estimate.cache_bytes)})"
    lines = [
        f"total: {total} ({times}); about {span(wall)} with {number}",
        f"disk: {kept}, and {size(estimate.passing_bytes * devices)} more while runs train",
    ]
    if estimate.peak_bytes is not None:
        lines.append(
            f"memory: up to {size(estimate.peak_bytes)} per run, {size(estimate.peak_bytes * devices)} for {devices} in parallel"
        )
    basis = "the times follow from the numbers of operations in the registry"
    if estimate.measured:
        basis = f"the times of {', '.join(estimate.measured)} follow from finished runs, other times from the registry"
    return [*lines, f"rough: {basis}"]
