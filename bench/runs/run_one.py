"""run_one(): train a run, freeze its network, predict every cohort once and measure the cost."""

import json
import logging
import time
from pathlib import Path

import torch
import torch.distributed as dist

from bench.models import cost
from bench.models.network import Network
from bench.models.predict import autocast_dtype
from bench.planning.jobs import Job
from bench.planning.manifest import SYNTHETIC
from bench.planning.run import TRAINED, RunSpec
from bench.runs.networks import trained_network
from bench.runs.predict_cohorts import FrozenRun, predict_all
from bench.runs.provenance import device_name, environment
from bench.runs.train_run import train
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import is_intact
from bench.store.lease import lease
from bench.store.store import canonical_json, write_bytes
from bench.training.data_parallel import DataParallelGroup
from bench.training.launch_workers import HOST, launched_group, receive_task
from harmonize.progress import Progress

_log = logging.getLogger(__name__)


def run_one(job: Job, progress: Progress) -> bool:
    """Do those steps of a run that are not done yet. Return False if another process works on the run.

    Raises TrainingError or any other exception; the caller records the error as the run's failure.
    """
    run, store = job.run, job.store
    folder = store.begin(run.id, run.document)
    with lease(folder) as leased:
        if not leased:
            return False
        store.reopen(run.id)
        began = time.time()
        for name in CheckedFolder(folder).discard_changed_files():
            _log.warning("%s differs from its checksum, and is made again", name)
        device = _use_device(job.device, run.config.threads)
        trains = not all(is_intact(folder / name) for name in TRAINED)
        with launched_group(job, trains, device) as processes:
            network = _train_and_predict(job, device, trains, processes, progress)
        if trains or not is_intact(folder / "env.json"):
            facts = environment(device, run.config.threads, began)
            facts |= {"devices": 1 + len(job.others), SYNTHETIC: job.refs[0].synthetic}
            write_bytes(folder / "env.json", canonical_json(facts))
        (folder / "last.pt").unlink(missing_ok=True)
        if not is_intact(folder / "cost.json"):
            progress("measure cost", 0, 1)
            _write_cost(run, folder, network, device)
        CheckedFolder(folder).mark_done()
    return True


def member() -> None:
    """Do the work of a helper process of a run that uses several devices: train and predict with the main process.

    The main process has rank 0 and writes all files; this process has rank 1 or above.
    """
    summons = receive_task()
    job = summons.job
    device = _use_device(job.others[summons.rank - 1], job.run.config.threads)
    processes = DataParallelGroup.join(summons.rank, summons.size, HOST, summons.port, device)
    _train_and_predict(job, device, summons.trains, processes, lambda *_: None)
    dist.destroy_process_group()


def _use_device(name: str, threads: int) -> torch.device:
    """Return the device; on a CPU, set the number of threads."""
    device = torch.device(name)
    if device.type == "cpu":
        torch.set_num_threads(threads)
    return device


def _train_and_predict(
    job: Job, device: torch.device, trains: bool, processes: DataParallelGroup, progress: Progress
) -> Network:
    """Train the run if `trains` is set, write the missing predictions, and return the frozen network."""
    run, store, internal = job.run, job.store, job.refs[0]
    if trains:
        train(run, store, internal, device, processes, progress)
        processes.broadcast(True)  # all processes wait until the weights are written
    network = trained_network(run, store, device)
    predict_all(FrozenRun.of(run, store, internal, network), job.refs, device, progress, processes)
    return network


def _write_cost(run: RunSpec, folder: Path, network: Network, device: torch.device) -> None:
    """Write cost.json. Without a network that reads images, it is empty, because nothing can be measured."""
    if run.has_given_vectors:
        write_bytes(folder / "cost.json", canonical_json({}))
        return
    facts = json.loads((folder / "trained.json").read_text())
    precision = autocast_dtype(run.config.prediction_precision, device)
    deployed = network.deployed()  # network with merged layers, for counting operations and measuring speed
    measured = {
        **cost.counts(network, deployed, run.input_size, run.config),
        "images_per_second": cost.throughput(deployed, run.input_size, device, precision=precision),
        "throughput_device": device_name(device, run.config.threads),
        # peak memory during training: of the GPU or, without a GPU, of the process
        "peak_memory_bytes": facts["peak_memory_bytes"],
    }
    write_bytes(folder / "cost.json", json.dumps(measured, sort_keys=True).encode())
