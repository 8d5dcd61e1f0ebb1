"""run_one(): one run from its plan to DONE: train, freeze, predict every cohort once, measure cost."""

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from bench import cost
from bench.assemble import HOST, assembled, summoned
from bench.checksums import close, take_up
from bench.data import Examples, examples, probe_rows
from bench.environment import device_name, environment
from bench.feed import Feed
from bench.heads import own_outputs
from bench.images import geometry_of, open_images
from bench.intact import whole
from bench.job import Job
from bench.lease import lease
from bench.models import Network, build
from bench.ops import input_size
from bench.plan import EVALUATED_AT_HOME, CohortRef, home_split, judged_rows
from bench.predict import predict, weights_sha256
from bench.preprocess import Tone
from bench.reference import reference
from bench.run import Run
from bench.store import Progress, canonical_json, replacing, table_facts, write_bytes, write_table
from bench.team import Team
from bench.train import TrainingError, fit
from harmonize.cache import ImageCache
from harmonize.seeds import seed_for

_log = logging.getLogger(__name__)
TRAINED = ("model.safetensors", "trained.json", "history.parquet")


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
        for name in take_up(folder):
            _log.warning("%s was not as it had been stored: it is made again", name)
        device = torch.device(job.device)
        if device.type == "cpu":
            torch.set_num_threads(job.run.config.threads)
        trained = not all(whole(folder / name) for name in TRAINED)
        with assembled(job, trained, device) as team:
            network = _train_and_predict(job, folder, device, trained, team, progress)
        if not whole(folder / "cost.json"):
            progress("measure cost", 0, 1)
            _write_cost(job, folder, network, device)
        if trained or not whole(folder / "env.json"):
            write_bytes(
                folder / "env.json",
                canonical_json(environment(device, job.run.config.threads, began) | {"devices": 1 + len(job.others)}),
            )
        (folder / "last.pt").unlink(missing_ok=True)
        close(folder)
    return True


def member() -> None:
    """Do the part of a further member of a team, as its first member says; it writes nothing."""
    summons = summoned()
    job, device = summons.job, torch.device(summons.job.others[summons.rank - 1])
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
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
    _predict_all(job, folder, network, device, team, progress)
    return network


def frozen(job: Job, folder: Path, device: torch.device) -> Network:
    """Return the run's trained network as it is stored: what predicts does not depend on who trained it, and when."""
    from safetensors.torch import load_file

    network = start(job, None)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.to(device).to(memory_format=torch.channels_last)


def start(job: Job, weights: Path | Literal["hub"] | None) -> Network:
    """Return the network that a run trains, as it is before: random, or with the weights of a file or of timm's hub."""
    config, architecture = job.run.config, job.run.entries["architecture"]
    num_findings, states, seed = len(config.findings), job.run.states, seed_for(config.seed, "weights")
    num_outputs = num_findings * states + len(own_outputs(config))
    channels, options = config.channels, architecture.options
    return build(architecture.use, options, num_outputs, channels, weights, seed, num_findings, states)


def _train(job: Job, folder: Path, device: torch.device, team: Team, progress: Progress) -> None:
    """Train the run's network; the first of the team stores the chosen epoch's weights and the history."""
    from safetensors.torch import save_file

    run, config, home = job.run, job.run.config, job.refs[0]
    network = start(job, run.weights_file or ("hub" if config.weights == "imagenet" else None))
    cache = open_images(job.store, home, geometry_of(run))
    table = pd.read_parquet(home.table)
    split = home_split(table, config)
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


def tone_of(job: Job, folder: Path, network: Network) -> Tone:
    """Return the second half of a run's preprocessing, with what it has learnt at home."""
    learnt = reference(job.run, job.store, job.refs[0], folder)
    return Tone.of(job.run.preprocessing, network.mean, network.std, job.run.config.channels, learnt)


def _predict_all(
    job: Job, folder: Path, network: Network, device: torch.device, team: Team, progress: Progress
) -> None:
    """Write one prediction file per cohort, sealed: the weights' hash before and after must agree.

    The members of a team share the images of a cohort; the first writes.
    """
    run, columns = job.run, [*job.run.config.findings, *(head.column for head in own_outputs(job.run.config))]
    before = weights_sha256(network)
    tone, geometry = tone_of(job, folder, network), geometry_of(run)
    for ref in job.refs:
        path = folder / "predictions" / f"{ref.name}.parquet"
        cache = open_images(job.store, ref, geometry)
        facts = {"fingerprint": cache.fingerprint, "weights": before, "cohort": ref.id}
        stored = table_facts(path)
        there = whole(folder / "features" / f"{ref.name}.npz")
        if there and all(stored.get(k) == facts[k] for k in ("fingerprint", "weights")):
            continue
        chosen = evaluated(ref, run, cache)
        sample = probe_sample(ref, run, chosen)
        mine, what = team.share(len(chosen)), f"predict {ref.name}"
        kept = sample[(sample >= mine.start) & (sample < mine.stop)] - mine.start
        feed = Feed(cache.images, device)
        both = predict(network, tone, feed, chosen.rows[mine], device, "fp32", kept, progress, what, further=True)
        logit_NK, features = team.gather(both[0]), team.gather(both[1])
        if not team.first:
            continue
        if not np.isfinite(logit_NK).all():
            raise TrainingError(f"{int((~np.isfinite(logit_NK)).sum())} logits on {ref.name} are not finite numbers")
        write_features(folder / "features" / f"{ref.name}.npz", chosen, sample, features)
        frame = pd.DataFrame(logit_NK, columns=columns)
        frame.insert(0, "image_id", chosen.image_id.astype(str))
        if weights_sha256(network) != before:
            raise TrainingError(f"zero-shot seal broken: the weights changed while predicting {ref.name}")
        write_table(path, frame, facts)
    seal = {"weights_before": before, "weights_after": weights_sha256(network)}
    if team.first:
        write_bytes(folder / "seal.json", canonical_json(seal))


def evaluated(ref: CohortRef, run: Run, cache: ImageCache) -> Examples:
    """Return what is predicted of a cohort: every readable image away, all but the training split at home."""
    table = pd.read_parquet(ref.table)
    if ref.role == "home":
        table = table[home_split(table, run.config).isin(EVALUATED_AT_HOME)]
    return examples(table, cache, run.config)


def judged(ref: CohortRef, run: Run, chosen: Examples) -> NDArray[np.int64]:
    """Return the places of the images that stand for a cohort: the test split at home, the headline images away."""
    table = pd.read_parquet(ref.table, columns=["image_id", "patient_id", "split"])
    split = home_split(table, run.config) if ref.role == "home" else table["split"]
    kept = table["image_id"][judged_rows(ref, split)]
    return np.flatnonzero(np.isin(chosen.image_id.astype(str), kept.to_numpy(str)))


def probe_sample(ref: CohortRef, run: Run, chosen: Examples) -> NDArray[np.int64]:
    """Return the places of the images whose features are kept: one per patient of those that stand for the cohort."""
    inside = judged(ref, run, chosen)
    return inside[probe_rows(chosen.patient_id[inside])]


def write_features(path: Path, chosen: Examples, sample: NDArray[np.int64], features: NDArray[np.float16]) -> None:
    """Write the features of a sample of the images, with the patients that they are of."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, patient_id=chosen.patient_id[sample].astype("U"), feature=features)


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
