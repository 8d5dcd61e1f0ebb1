"""run_one(): one run from its plan to DONE: train, freeze, predict every cohort once, measure cost.

pass_one(): predictions of several trained runs, in one pass over the images of each cohort.
"""

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist

from bench.config.preprocessing_ops import input_size
from bench.inputs.batches import Feed
from bench.inputs.examples import examples
from bench.models import cost
from bench.models.network import Network
from bench.planning.image_caches import geometry_of, open_images
from bench.planning.jobs import TRAINED, Job, PassJob
from bench.planning.protocol import internal_split
from bench.planning.run import Run
from bench.runs.predict_cohorts import Member, frozen, predict_all, start, tone_of
from bench.runs.provenance import device_name, environment
from bench.store.checksums import damaged_files, discard_changed_files, mark_done
from bench.store.file_integrity import is_intact
from bench.store.lease import holder_of, lease
from bench.store.store import Progress, canonical_json, replacing, write_bytes, write_table
from bench.training.data_parallel import Team
from bench.training.fit import fit
from bench.training.launch_workers import HOST, assembled, summoned

_log = logging.getLogger(__name__)


def run_one(job: Job, progress: Progress) -> bool:
    """Do what is left of a run; return False when another process holds it.

    Raises TrainingError or any other exception; the caller records it as the run's failure.
    """
    folder = job.store.begin(job.run.id, job.run.document)
    with lease(folder) as mine:
        if not mine:
            return False
        job.store.reopen(job.run.id)
        began = time.time()
        for name in discard_changed_files(folder):
            _log.warning("%s was not as it had been stored: it is made again", name)
        device = _device(job, job.device)
        trained = not all(is_intact(folder / name) for name in TRAINED)
        with assembled(job, trained, device) as team:
            network = _train_and_predict(job, folder, device, trained, team, progress)
        if trained or not is_intact(folder / "env.json"):
            write_bytes(
                folder / "env.json",
                canonical_json(environment(device, job.run.config.threads, began) | {"devices": 1 + len(job.others)}),
            )
        (folder / "last.pt").unlink(missing_ok=True)
        if job.trains_only:
            return True
        if not is_intact(folder / "cost.json"):
            progress("measure cost", 0, 1)
            _write_cost(job, folder, network, device)
        mark_done(folder)
    return True


def _device(job: Job | PassJob, name: str) -> torch.device:
    """Return the device of that name; on a CPU, with as many threads as the run says."""
    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    return device


def pass_one(job: PassJob, progress: Progress) -> bool:
    """Predict with the runs of a job that are whole and free; False when none is free. What fails is left to the run's own job."""
    device = _device(job, job.device)
    with contextlib.ExitStack() as held:
        free = [run for run in job.runs if _at_once(job.store.run_dir(run.id), held)]
        members = [member for run in free if (member := _member(job, run, device)) is not None]
        failed = predict_all(members, job.store, job.refs, device, progress) if members else {}
        for run_id, error in failed.items():
            _log.warning("%s: %s", run_id, error)
    return bool(free)


def _at_once(folder: Path, held: contextlib.ExitStack) -> bool:
    """Take the lease of a run unless somebody may hold it: to find out about another machine's process takes a minute."""
    lock = folder / "LOCK"
    return not (lock.exists() and holder_of(lock).alive_here is not False) and held.enter_context(lease(folder))


def _member(job: PassJob, run: Run, device: torch.device) -> Member | None:
    """Return a run that can be predicted with; None when it cannot, which the run's own job finds out and says."""
    folder, own = job.store.run_dir(run.id), Job(run, job.store, job.refs, job.device)
    if damaged_files(folder, TRAINED) or not all(is_intact(folder / name) for name in TRAINED):
        return None
    try:
        return Member.of(own, folder, frozen(own, folder, device))
    except Exception as error:  # noqa: BLE001  (one network that cannot be built must not stop the others)
        _log.warning("%s cannot be loaded: %s", run.id, error)
        return None


def member() -> None:
    """Do the part of a further member of a team, as its first member says; it writes nothing."""
    summons = summoned()
    job = summons.job
    device = _device(job, job.others[summons.rank - 1])
    team = Team.join(summons.rank, summons.size, HOST, summons.port, device)
    folder = job.store.run_dir(job.run.id)
    _train_and_predict(job, folder, device, summons.trains, team, lambda *_: None)
    dist.destroy_process_group()


def _train_and_predict(
    job: Job, folder: Path, device: torch.device, trains: bool, team: Team, progress: Progress
) -> Network:
    """Train what is to be trained, predict what is not predicted; return the frozen network."""
    if trains:
        _train(job, folder, device, team, progress)
        team.agree(True)  # the weights are written
    network = frozen(job, folder, device)
    if not job.trains_only:
        failed = predict_all([Member.of(job, folder, network)], job.store, job.refs, device, progress, team)
        for error in failed.values():
            raise error
    return network


def _train(job: Job, folder: Path, device: torch.device, team: Team, progress: Progress) -> None:
    """Train the run's network; the first of the team stores the chosen epoch's weights and the history."""
    from safetensors.torch import save_file

    run, config, internal = job.run, job.run.config, job.refs[0]
    network = start(job, run.weights_file or ("hub" if config.weights == "imagenet" else None))
    cache = open_images(job.store, internal, geometry_of(run))
    table = pd.read_parquet(internal.table)
    split = internal_split(table, config)
    train, *others = (
        examples(table[split == part], cache, config, taught=True) for part in ("train", *config.schedule.watched)
    )
    watched = dict(zip(config.schedule.watched, others, strict=True))
    reset_peak_memory(device)
    feed, checkpoint = Feed(cache.images, device), folder / "last.pt"
    tone = tone_of(job, folder, network)
    trained = fit(run, network, tone, feed, train, watched, device, checkpoint, progress, team=team)
    if not team.first:
        return
    write_table(folder / "history.parquet", trained.history)
    facts = {
        "best_epoch": trained.best_epoch,
        "gradient_evaluations": trained.gradient_evaluations,
        "unlearnt": [config.findings[k] for k in trained.unlearnt],
        "peak_memory_bytes": peak_memory(device),
    }
    if trained.stopped:
        facts["stopped"] = trained.stopped
    if trained.compiled:
        facts["compiled"] = trained.compiled
    if trained.micro_batch:
        facts["micro_batch"] = trained.micro_batch
    write_bytes(folder / "trained.json", canonical_json(facts))
    state = {k: v.contiguous().cpu() for k, v in trained.network.state_dict().items()}
    with replacing(folder / "model.safetensors") as temporary:
        save_file(state, temporary)


def _write_cost(job: Job, folder: Path, network: Network, device: torch.device) -> None:
    size = input_size(job.run.preprocessing)
    plain = cost.deployed(network)  # predictions come from the form that was trained, operations and speed from this
    in_use = cost.cost(plain, size)
    size_of = in_use if plain is network else cost.cost(network, size)
    facts = json.loads((folder / "trained.json").read_text())
    measured: dict[str, Any] = {
        "params": size_of.params,
        "trainable_params": size_of.trainable_params,
        "deployed_params": in_use.params,
        "macs": in_use.macs,
        "flops": in_use.flops,
        "not_counted": list(in_use.unsupported),
        "images_per_second": cost.throughput(plain, size, device),
        "throughput_device": device_name(device, job.run.config.threads),
        "peak_memory_bytes": facts["peak_memory_bytes"],  # of training: of the GPU, else of the process
        "image_size": size,
    }
    write_bytes(folder / "cost.json", json.dumps(measured, sort_keys=True).encode())


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure peak memory anew: of the GPU, else, where the system allows it, of this process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark starts again from now


def peak_memory(device: torch.device) -> int | None:
    """Return the peak bytes since `reset_peak_memory`; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None
