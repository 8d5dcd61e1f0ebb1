"""What `bench run --dry-run` says of hours, disk and memory: a rehearsal, put into words. No torch until it rehearses."""

from collections.abc import Sequence

from bench.cli.list_tables import aligned
from bench.planning.derived_runs import Derived
from bench.planning.plan import Plan
from bench.planning.run import Run
from bench.store.store import Progress
from bench.study.forecast import Forecast, Line, forecast
from bench.system.devices import choose_devices, memory_of


def estimated(
    plan: Plan, runs: Sequence[Run], derived: Sequence[Derived], asked: tuple[str, int, int], progress: Progress
) -> list[str]:
    """Return what is left to do of these runs will take, as lines; none where all are done.

    `asked`: device, workers and runs per device.
    """
    todo = [run for run in runs if plan.store.state(run.id) != "done"]
    if not todo:
        return []
    device, workers, per_device = asked
    devices = choose_devices(device, workers, max(run.config.threads for run in todo), per_device)
    from bench.study.forecast_measure import rehearse

    left = [each for each in derived if plan.store.state(each.id) != "done"]
    found = forecast(plan, todo, left, rehearse(plan, todo, devices[0], progress))
    return [*aligned(table(found)), *sentences(found, workers, len(devices)), *fitting(found, memory_of(devices[0]))]


def fitting(found: Forecast, memory: int) -> list[str]:
    """Return how many of the largest runs a GPU of so much memory holds at once, as a line; none without a GPU.

    Each process has half a GB there beside its tensors, and a tenth of the memory stays free.
    """
    if not memory or found.peak_bytes is None:
        return []
    number = int(0.9 * memory / (found.peak_bytes + 5e8))
    said = f"{number} of them fit (--per-device {number})" if number > 1 else "no more than one of them fits"
    return [f"a GPU has {size(memory)}: {said}"]


def table(found: Forecast) -> list[list[str]]:
    """Return a header and one row per architecture, and their sum."""
    of = "GPUs" if found.on_gpu else "cores"
    head = ["architecture", "runs", "steps", f"training (of {of})", "predicting", "analysing", "peak memory", "disk"]
    rows = [_row(line.architecture, [line]) for line in found.lines]
    return [head, *rows, *([_row("all", found.lines)] if len(rows) > 1 else [])]


def _row(name: str, lines: Sequence[Line]) -> list[str]:
    peak = max((line.peak_bytes for line in lines if line.peak_bytes is not None), default=None)
    spent = [sum(getattr(line, part) for line in lines) for part in ("training_s", "predicting_s", "analysing_s")]
    counts = [str(sum(getattr(line, part) for line in lines)) for part in ("runs", "steps")]
    sizes = ["unknown" if peak is None else size(peak), size(sum(line.disk_bytes for line in lines))]
    return [name, *counts, *map(span, spent), *sizes]


def sentences(found: Forecast, workers: int, devices: int) -> list[str]:
    """Return the total, and what it rests on, in lines; `devices` work at once, `workers` processes decode."""
    beside = found.scoring_s + found.other_s + found.decoding_s / max(1, workers)
    wall = found.device_s / max(1, devices) + beside
    device = "GPU" if found.on_gpu else "worker"
    total = f"{found.device_s / 3600:.3g} GPU-hours and " if found.on_gpu else ""
    total += f"{found.core_s / 3600:.3g} core-hours"
    parts = f"decoding {span(found.decoding_s)}, scoring {span(found.scoring_s)}, once for all {span(found.other_s)}"
    at_once = f"{devices} {device}{'s' if devices != 1 else ''}"
    kept = f"{size(found.disk_bytes)} kept (decoded images still to make: {size(found.cache_bytes)})"
    lines = [
        f"in all {total} ({parts}); about {span(wall)} with {at_once}",
        f"disk: {kept}, and {size(found.passing_bytes * devices)} while runs train",
    ]
    if found.peak_bytes is not None:
        lines.append(
            f"memory: up to {size(found.peak_bytes)} for a run, {size(found.peak_bytes * devices)} for {devices} at once"
        )
    lines += [f"not in it: {reason}" for reason in found.unknown]
    rests = "training steps, predictions, decoded files, one scoring and each analysis, measured here and now on a few images"
    return [*lines, f"this rests on {rests}: a machine that does other things at the same time takes longer"]


def size(number: float) -> str:
    """Return bytes in words.

    >>> size(1_234_567), size(12_300_000_000)
    ('1.2 MB', '12.3 GB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def span(seconds: float) -> str:
    """Return a time in words.

    >>> span(0.2), span(90), span(600), span(9000), span(864_000)
    ('0.2 s', '90 s', '10 min', '2.5 h', '240 h')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:.0f} h"
