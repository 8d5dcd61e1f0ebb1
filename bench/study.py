"""The whole job: plan, decode, train and predict what is missing, score, report."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from bench.collect import load_scores, score_all, scored_ids
from bench.execute.local import submit, warm_up
from bench.grid import Grid
from bench.images import check_doubles, fallbacks, lacks, prepare
from bench.job import Job
from bench.manifest import Manifest, read_manifest, write_manifest
from bench.ops import input_size
from bench.plan import Plan, make_plan
from bench.registry import Registry
from bench.run import Run
from bench.store import Store, replacing
from harmonize.errors import ConfigError, SetupError


class Display(Protocol):
    """What shows how far things are."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Show one bar of the main process."""

    def run_progress(self, run_id: str, what: str, done: int, total: int) -> None:
        """Show one bar of a run."""

    def say(self, text: str) -> None:
        """Say one line about how things go."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a grid ended."""

    done: int
    trained: int
    failed: dict[str, str]  # run id -> reason
    held: int
    page: Path | None


def only(runs: Sequence[Run], pattern: str | None) -> list[Run]:
    """Return the runs whose id begins with, or whose architecture matches, the pattern; all without one."""
    if not pattern:
        return list(runs)
    chosen = [r for r in runs if r.id.startswith(pattern) or fnmatchcase(r.config.architecture, pattern)]
    if not chosen:
        raise ConfigError(
            f"no run matches {pattern!r}",
            "--only",
            "give the first digits of a run id or an architecture; see --dry-run",
        )
    return chosen


def execute(plan: Plan, runs: Sequence[Run], device: str, workers: int, display: Display) -> Result:
    """Train and predict what the runs lack; write the manifest, the scores and the page."""
    if any(plan.store.state(r.id) != "done" for r in runs):
        warm_up()
    caches = prepare(plan, workers, display.progress)
    for line in fallbacks(caches):
        display.say(line)
    write_manifest(plan, caches, check_doubles(plan, caches))
    todo = [r for r in runs if lacks(plan, r, caches)]
    display.say(f"{len(runs) - len(todo)} of {len(runs)} runs are done, {len(todo)} to do")
    failed: dict[str, str] = {}
    trained = held = 0
    if todo:
        devices = choose_devices(device, workers, max(r.config.threads for r in todo))
        jobs = [Job(run, plan.store, plan.refs, devices[0]) for run in todo]
        names = {r.id: f"{r.config.architecture} seed {r.config.seed}" for r in todo}
        for outcome in submit(jobs, devices, display.run_progress):
            if outcome.state == "failed":
                failed[outcome.run_id] = outcome.reason
                display.say(f"{outcome.run_id} {names[outcome.run_id]} failed: {outcome.reason}")
            elif outcome.state == "held":
                held += 1
                display.say(f"{outcome.run_id} {names[outcome.run_id]}: {outcome.reason}")
            else:
                trained += 1
                display.say(f"{outcome.run_id} {names[outcome.run_id]} done in {outcome.seconds:.0f} s")
    page = finish(read_manifest(plan.store, plan.grid.name), None, display)
    done = sum(plan.store.state(r.id) == "done" for r in runs)
    return Result(done, trained, failed, held, page)


def finish(manifest: Manifest, output: Path | None, display: Display) -> Path:
    """Score what is not scored, write the tables and the page; return the page's path."""
    score_all(manifest, display.progress)
    return write_report(manifest, output, display)


def write_report(manifest: Manifest, output: Path | None, display: Display) -> Path:
    """Write tables and page from the stored scores."""
    from bench.tabulate import tables
    from reports.page import render

    display.progress("write the leaderboard", 0, 1)
    collected = tables(manifest)
    folder = manifest.store.root / "report" / str(manifest.content["name"])
    if output is None:
        collected.save(folder / "tables")
    page = output or folder / "leaderboard.html"
    with replacing(page) as temporary:
        temporary.write_text(render(collected), encoding="utf-8")
    display.progress("write the leaderboard", 1, 1)
    return page


def plan_grid(
    grid_name: str,
    registry_file: Path | None,
    store: Store,
    data: Path | None,
    weights: Path | None,
    workers: int,
    display: Display,
) -> Plan:
    """Read registry, grid and cohorts and return the plan."""
    registry = Registry.read(registry_file)
    grid = Grid.read(grid_name, registry)
    command = " ".join(["bench run --grid", grid_name if grid_name == grid.name else Path(grid.path).name])
    command += (" --data DATA" if data else "") + (" --weights WEIGHTS" if weights else "")
    command += " --registry REGISTRY" if registry_file else ""
    if weights and not weights.is_dir():
        raise SetupError("no such folder of weights", str(weights), "give the folder that holds the safetensors files")
    _check_unmeasured(grid, registry)
    return make_plan(grid, registry, store, data, weights, workers, command, display.progress)


def _check_unmeasured(grid: Grid, registry: Registry) -> None:
    """Raise ConfigError for timm models that do not exist or do not take the images: those that no one has measured."""
    for config in grid.configs:
        entry = registry.find("architectures", config.architecture, grid.path)
        if entry.use == "bench.models:timm_model" and "params" not in entry.facts:
            from bench.models import check_timm  # timm takes seconds to import: only for models that need a look

            size = input_size(registry.find("preprocessing", config.preprocessing, grid.path).facts)
            check_timm(entry.options, config.channels, size, f"{grid.path}: {config.architecture}")


def summary(store: Store, grid: str) -> list[str]:
    """Return the two lines everyone wants to know: best away from home, smallest gap."""
    from bench.tabulate import comparable

    manifest = read_manifest(store, grid)
    ids = scored_ids(manifest)
    if not ids:
        return ["  no run has a score yet"]
    titles = {r["id"]: f"{r['titles']['architecture']} seed {r['config']['seed']}" for r in manifest.runs}
    alike = comparable(manifest, ids)
    scores, gaps = load_scores(store, ids, "scores"), load_scores(store, ids, "gaps")
    plain = scores[(scores["metric"] == "auroc") & (scores["calibrator"] == "none")]
    if len({manifest.config(r).findings for r in manifest.runs if r["id"] in alike}) > 1:
        return ["  the runs learn different findings: the page compares them finding by finding"]
    lines = []
    for what, table, smallest_first in (("best external macro AUROC", plain, False), ("smallest gap", gaps, True)):
        rows = table[(table["dataset"] == "away") & (table["finding"] == "macro") & table["run_id"].isin(alike)]
        rows = rows.dropna(subset=["value"])
        if len(rows):
            top = rows.sort_values("value", ascending=smallest_first).iloc[0]
            name = titles[str(top["run_id"])]
            lines.append(f"  {what:<26} {name:<28} {top['value']:.3f} [{top['low']:.3f}, {top['high']:.3f}]")
    return lines


def check_device(device: str) -> None:
    """Raise ConfigError for a word that names no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"no device {device!r}", "--device", "give auto, cpu, cuda or cuda:N")


def choose_devices(device: str, workers: int, threads: int) -> list[str]:
    """Return one name per run that may go on at once: each GPU once, or `cpu` as often as cores allow."""
    if device == "auto":
        device = "cuda" if _may_have_gpu() and _cuda() else "cpu"
    if device.startswith("cuda"):
        if not _cuda():
            raise SetupError(
                "no CUDA device can be used",
                f"--device {device}",
                "use --device cpu, or install a driver that fits this torch",
            )
        if ":" in device and int(device.partition(":")[2]) >= _cuda():
            raise SetupError(f"no {device}: torch sees {_cuda()}", "--device", "count from cuda:0")
        return [device] if ":" in device else [f"cuda:{i}" for i in range(_cuda())]
    return ["cpu"] * max(1, workers // threads)


def _may_have_gpu() -> bool:
    """Whether this machine can have a GPU that torch uses: Linux shows each as a device file; elsewhere, ask torch."""
    return platform.system() != "Linux" or any(next(Path("/dev").glob(p), None) for p in ("nvidia*", "dxg", "kfd"))


def _cuda() -> int:
    """Return the number of CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
