"""fit(): train one network on its internal cohort, and select the epoch on `val` or on the split that the schedule names.

Every random draw is seeded by (seed, purpose, epoch, step), so a resumed run takes the same steps as an uninterrupted
run. On a CPU with the same number of threads the weights are equal bit by bit. The exception is `compile: true`, where
measured times decide which kernels are used.
Legend: N images, K findings.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.run_config import RunConfig
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.lora import Lora
from bench.models.network import Network
from bench.models.predict import autocast_dtype, predict
from bench.planning.run import RunSpec
from bench.scoring.metrics import macro_auroc
from bench.scoring.scored_split import DROPPED
from bench.training import TrainingError
from bench.training.checkpoint import BetweenSteps, TrainingState
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup
from bench.training.step import Step
from bench.training.torch_compile import compile_if_faster
from bench.training.train_modes import freeze_backbone
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.progress import Progress
from harmonize.seeds import seed_for


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of training: the network with the selected epoch's weights, and facts about the training.

    The columns of `history` are epoch, train_loss, lr, seconds (summed over devices), gradient_evaluations, and loss and
    AUROC of each watched split, such as val_auroc.
    """

    network: Network
    history: pd.DataFrame
    best_epoch: int  # counted from 1
    gradient_evaluations: int  # number of forward and backward passes over a batch in all epochs
    # indices of findings that lack present or absent images in training, after the label policies
    unlearnt: tuple[int, ...]
    stopped: str = ""  # a text with the time limit that ended training early and the number of epochs, else ""
    compiled: str = ""  # a text that says whether torch.compile was used, and why; "" without `compile: true`
    micro_batch: int = 0  # final micro-batch size if memory was too small for the configured one, else 0
    probe: Mapping[str, Any] = field(default_factory=dict)  # only for a probe: penalty, candidates, number of labels
    zero_shot: str = ""  # a text about the output layer that an extension made without training, else ""
    # only for a run with LoRA: numbers of changed layers and of trained weights
    lora: Mapping[str, int] = field(default_factory=dict)
    # macro AUROC on val of predictions in bf16 and in fp32; empty for a run that predicts in fp32
    val_auroc: Mapping[str, float] = field(default_factory=dict)


def fit(
    run: RunSpec,
    network: Network,
    normalizer: Normalizer,
    reader: BatchReader,
    train: Examples,
    watched: Mapping[str, Examples],
    device: torch.device,
    checkpoint: Path,
    progress: Progress,
    clock: Callable[[], float] = time.perf_counter,
    processes: DataParallelGroup = SINGLE_PROCESS,
) -> TrainingResult:
    """Train `network` in place and return it with the selected epoch's weights.

    `watched`: {split: images} of the splits that the schedule names, `val` included. An existing checkpoint is resumed;
    `BetweenSteps` writes new ones within epochs. When the time limit is reached, training stops before the next step,
    drops the current epoch and selects the best earlier epoch. `clock` returns seconds. All processes of a
    data-parallel group return the same result. Some runs train only on images with a label for a finding of the run
    (`RunConfig.labeled_images_only`). Raises TrainingError when the loss is not finite, when no finding can be trained or
    validated with the labels, or when the limit is reached before an epoch can be selected.
    """
    config, schedule = run.config, run.config.schedule
    changed = _add_lora(run, network)
    network.to(device=device).to(memory_format=torch.channels_last)
    check_labels(train, watched, config)
    train, targets = _training_set(run, train, device)
    network.set_biases(targets.initial_biases(run.states))
    step = Step(run, network, normalizer, reader, train.rows, TrainingLoss(run, targets), device, processes)
    size = schedule.effective_batch_size(len(train))
    # The incomplete last batch of an epoch is dropped; the dropped images differ from epoch to epoch.
    num_steps = len(train) // size
    processes.check_batch(size, min(schedule.micro_batch or size, size))
    if processes.size > 1 and run.compares_groups:
        raise TrainingError(f"{config.algorithm} compares the groups of a whole batch: train the run on one device")
    state = TrainingState()
    state.resume(checkpoint, run.id, step)
    passes_left = (schedule.epochs - len(state.history)) * num_steps * -(-size // min(step.micro, size))
    compiled = compile_if_faster(step, passes_left) if config.compile else ""
    spent = state.seconds + state.epoch_seconds
    deadline = clock() + 3600 * config.limit.hours - spent if config.limit.hours else math.inf
    start = 0.0

    def save_within_epoch(steps: int, loss: Tensor) -> None:
        state.steps, state.loss, state.epoch_seconds = steps, float(loss), clock() - start
        state.save(checkpoint, run.id, step)

    for epoch in range(len(state.history) + 1, schedule.epochs + 1):
        if schedule.should_stop(state.history):
            break
        start = clock() - state.epoch_seconds
        order = _epoch_order(targets, config, epoch, size)
        batches = [order[i * size : (i + 1) * size] for i in range(num_steps)]
        with BetweenSteps(save_within_epoch) as between_steps:
            limit = partial(_limit_reached, clock, deadline, processes)
            total = step.train_epoch(
                epoch, batches, state.history, progress, limit, between_steps, state.steps, state.loss
            )
        if total is None:
            break
        row = {"epoch": epoch, "train_loss": float(total) / num_steps, "seconds": (clock() - start) * processes.size}
        if not math.isfinite(row["train_loss"]):
            raise TrainingError(
                f"the loss became {row['train_loss']} in epoch {epoch}; lower schedule.lr or set schedule.clip"
            )
        evaluated = step.end_epoch(order, size, epoch)
        row |= _validate_watched(step, evaluated, watched, config.precision)
        row["lr"] = float(step.optimizer.param_groups[0]["lr"])
        row["gradient_evaluations"] = step.gradient_evaluations
        state.add(row, clock() - start, evaluated, config.selection, schedule, is_selectable=step.is_selectable)
        state.save(checkpoint, run.id, step)
    num_epochs, stopped = len(state.history), ""
    if num_epochs < schedule.epochs and not schedule.should_stop(state.history):
        stopped = f"stopped by its limit of {config.limit} after {num_epochs} of {schedule.epochs} epochs"
    if stopped and not state.best:
        raise TrainingError(f"{stopped}: no epoch can be selected; raise limit.hours")
    network.load_state_dict(state.best)
    Lora.merge(network)
    val = {"val": watched["val"]}
    precisions = ("bf16", "fp32") if autocast_dtype(config.prediction_precision, device) else ()
    val_auroc = {of: _validate_watched(step, network, val, of)["val_auroc"] for of in precisions}
    return TrainingResult(
        network,
        pd.DataFrame(state.history),
        state.best_epoch,
        step.gradient_evaluations,
        targets.unlearnt(),
        stopped,
        compiled,
        step.micro if step.halved else 0,
        lora=changed,
        val_auroc=val_auroc,
    )


def _add_lora(run: RunSpec, network: Network) -> dict[str, int]:
    """Add low-rank changes to the network of a run with `head: lora`; return the numbers of layers and trained weights.

    Other networks stay as they are. Raises TrainingError for a network without linear layers.
    """
    config = run.config
    if config.head != "lora":
        return {}
    layers = Lora.add(network, config.lora.rank, config.lora.alpha, seed_for(config.seed, "lora"))
    if not layers:
        kind = type(network.backbone).__name__
        raise TrainingError(f"{kind} has no linear layers except its output layer: use `head: own` or `head: probe`")
    freeze_backbone(network, frozen=False)
    return {"layers": layers, "weights": sum(p.numel() for p in network.parameters() if p.requires_grad)}


def _training_set(run: RunSpec, train: Examples, device: torch.device) -> tuple[Examples, TrainingTargets]:
    """Return the training images that the run uses, and their targets.

    Raises TrainingError if no finding has both present and absent images.
    """
    targets = TrainingTargets.of(run, train, device)
    if not run.config.labeled_images_only:
        return train, targets
    labeled = targets.labeled()
    return train.take(labeled), targets.take(labeled)


def _epoch_order(targets: TrainingTargets, config: RunConfig, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the indices of the training images in the order of an epoch. `size`: images per batch.

    Raises TrainingError when the batches cannot be balanced: classes in micro-batches, or the groups of an algorithm.
    """
    try:
        return targets.epoch_order(config, epoch, size)
    except ValueError as error:
        what = "sampling: balanced" if targets.group_N is None else f"algorithm: {config.algorithm}"
        raise TrainingError(f"{what}: {error}") from error


def _limit_reached(clock: Callable[[], float], deadline: float, processes: DataParallelGroup) -> bool:
    """Return whether the time limit is reached. All processes use the clock of rank 0."""
    return math.isfinite(deadline) and processes.broadcast(clock() >= deadline)


def check_labels(train: Examples, watched: Mapping[str, Examples], config: RunConfig) -> None:
    """Raise TrainingError when a split has too few images or labels to train on or to select an epoch.

    In a pool, the watched splits of every training hospital need labels.
    """
    for split, examples in watched.items():
        for hospital, indices in examples.by_hospital(config).items():
            if not _has_both_classes(examples.state_NK[indices]):
                of_hospital = f" of {hospital}" if len(config.hospitals) > 1 else ""
                raise TrainingError(
                    f"no finding of the {split} split{of_hospital} has both classes: no epoch can be selected"
                )
    if len(train) < 2:
        raise TrainingError(f"the training split has {len(train)} readable images; batch norm needs 2")


def _has_both_classes(state_NK: NDArray[np.int8]) -> bool:
    """Return whether at least one finding has a present and an absent image."""
    present = (state_NK == 1).any(axis=0)
    absent = ((state_NK == 0) | (state_NK == -2)).any(axis=0)
    return bool((present & absent).any())


def _validate_watched(
    step: Step, network: Network, watched: Mapping[str, Examples], precision: str
) -> dict[str, float]:
    """Return AUROC and loss of a network on each watched split; the processes of a data-parallel group share the images."""
    processes, config = step.processes, step.run.config
    row: dict[str, float] = {}
    for split, examples in watched.items():
        own_rows = examples.rows[processes.own_slice(len(examples.rows))]
        own_logit_NK, _ = predict(network, step.normalizer, step.reader, own_rows, step.device, precision)
        logit_NK = processes.all_gather(own_logit_NK)
        row[f"{split}_auroc"], row[f"{split}_loss"] = validate_hospitals(logit_NK, examples, config)
    return row


def validate_hospitals(logit_NK: NDArray[np.float32], examples: Examples, config: RunConfig) -> tuple[float, float]:
    """Return the two numbers of `validate`; in a pool, their means over the training hospitals.

    The AUROC of pooled images would also reward a network that tells the hospitals apart.
    """
    numbers = [
        validate(logit_NK[indices], examples.state_NK[indices]) for indices in examples.by_hospital(config).values()
    ]
    auroc_of, loss_of = zip(*numbers, strict=True)
    return float(np.mean(auroc_of)), float(np.mean(loss_of))


def validate(logit_NK: NDArray[np.float32], state_NK: NDArray[np.int8]) -> tuple[float, float]:
    """Return the macro AUROC and the mean cross-entropy, both over the findings with present and absent images.

    "Not mentioned" counts as absent; labels that are uncertain or null are ignored.
    """
    certain_NK = np.isin(state_NK, (1, 0, -2))
    label_NK = np.where(certain_NK, state_NK == 1, DROPPED).astype(np.int8)
    losses: list[NDArray[np.float64]] = []
    for k in range(state_NK.shape[1]):
        if not _has_both_classes(state_NK[:, k : k + 1]):
            continue
        logit = logit_NK[certain_NK[:, k], k].astype(np.float64)
        losses.append(np.logaddexp(0, logit) - label_NK[certain_NK[:, k], k] * logit)
    return macro_auroc(label_NK, logit_NK), float(np.mean(np.concatenate(losses)))
