"""fit(): train one network on its internal cohort and choose the epoch there, on `val` unless the schedule says otherwise.

Every random draw is named by (seed, purpose, epoch, step), so a run that goes on from its checkpoint takes the same steps
as one that never stopped: bit by bit on a CPU with the same number of threads, unless the run has `compile: true`, where
the clock decides which kernels are used.
Legend: N images, K findings.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.run_config import RunConfig, Schedule
from bench.inputs.batches import Feed
from bench.inputs.examples import Examples
from bench.inputs.normalize import Tone
from bench.models.network import Network
from bench.models.predict import predict
from bench.planning.run import Run
from bench.scoring.metrics import auroc
from bench.store.store import Progress
from bench.training.batch_sampling import balanced, batch_of, classes, shuffled
from bench.training.checkpoint import Record
from bench.training.data_parallel import ALONE, Team
from bench.training.lr_schedule import exhausted, lr_share
from bench.training.objective import Objective, Teaching, TeachingError, teaching
from bench.training.step import Step
from bench.training.torch_compile import compile_where_it_pays


class TrainingError(RuntimeError):
    """Training cannot give a model: the loss is not a number, or validation cannot choose an epoch."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves: the network holds the chosen epoch's weights."""

    network: Network
    history: pd.DataFrame  # epoch train_loss lr seconds (of all devices) gradient_evaluations; loss and auroc of each watched part, e.g. val_auroc
    best_epoch: int  # counted from 1
    gradient_evaluations: int  # forward and backward passes over a batch, in all epochs
    unlearnt: tuple[int, ...]  # findings that training saw one class of, after the label policies
    stopped: str = ""  # by which limit and after how many epochs, where there were to be more
    compiled: str = ""  # whether torch.compile was used, and why or why not, where it was asked for
    micro_batch: int = 0  # images of a forward pass at the end, where memory did not suffice for those asked for


def fit(
    run: Run,
    network: Network,
    tone: Tone,
    feed: Feed,
    train: Examples,
    watched: Mapping[str, Examples],
    device: torch.device,
    checkpoint: Path,
    progress: Progress,
    clock: Callable[[], float] = time.perf_counter,
    team: Team = ALONE,
) -> Trained:
    """Train `network` in place and return it with the chosen epoch's weights, as every member of the team does.

    `watched` are the parts of the internal cohort that the schedule names, `val` among them. The checkpoint is written after
    each epoch and read when it is there. When the run's limit is used up, training stops before the next step: the epoch
    under way is dropped, and the best one so far is chosen. `clock` counts seconds.
    Raises TrainingError when the loss becomes NaN, the labels cannot teach or choose, or the limit is used up before
    there is an epoch to choose.
    """
    config, schedule = run.config, run.config.schedule
    network.to(device=device).to(memory_format=torch.channels_last)
    check_labels(train, watched)
    try:
        taught = teaching(run, train, device)
    except TeachingError as error:
        raise TrainingError(str(error)) from error
    step = Step(run, network, tone, feed, train.rows, Objective(run, taught), device, team)
    size = batch_of(schedule, len(train))
    num_steps = len(train) // size  # the few images left over differ from epoch to epoch
    check_team(schedule, size, team)
    record = Record()
    record.resume(checkpoint, run.id, step)
    passes_left = (schedule.epochs - len(record.history)) * num_steps * -(-size // min(step.micro, size))
    compiled = compile_where_it_pays(step, passes_left) if config.compile else ""
    latest = clock() + 3600 * config.limit.hours - record.spent if config.limit.hours else math.inf
    for epoch in range(len(record.history) + 1, schedule.epochs + 1):
        if exhausted(schedule, record.history):
            break
        began = clock()
        order = order_of(config, epoch, taught, size)
        batches = [order[i * size : (i + 1) * size] for i in range(num_steps)]
        total = train_epoch(step, epoch, batches, record.history, progress, lambda: _over(clock, latest, team))
        if total is None:
            break
        row = {"epoch": epoch, "train_loss": float(total) / num_steps, "seconds": (clock() - began) * team.size}
        if not math.isfinite(row["train_loss"]):
            raise TrainingError(
                f"the loss became {row['train_loss']} in epoch {epoch}; lower schedule.lr or set schedule.clip"
            )
        chosen = step.end_epoch(order, size, epoch)
        for part, examples in watched.items():
            part_of_it = examples.rows[team.share(len(examples.rows))]
            logit_NK = team.gather(predict(chosen, tone, feed, part_of_it, device, config.precision)[0])
            row[f"{part}_auroc"], row[f"{part}_loss"] = validate(logit_NK, examples.state_NK)
        row["lr"] = float(step.optimizer.param_groups[0]["lr"])
        row["gradient_evaluations"] = step.gradient_evaluations
        record.add(row, chosen, config.selection, schedule)
        record.spent += clock() - began
        if team.first:
            record.save(checkpoint, run.id, step)
    num_epochs, stopped = len(record.history), ""
    if num_epochs < schedule.epochs and not exhausted(schedule, record.history):
        stopped = f"stopped by its limit of {config.limit} after {num_epochs} of {schedule.epochs} epochs"
    if stopped and not record.best:
        raise TrainingError(f"{stopped}: there is none to choose; raise limit.hours")
    network.load_state_dict(record.best)
    return Trained(
        network,
        pd.DataFrame(record.history),
        record.best_epoch,
        step.gradient_evaluations,
        taught.unlearnt(),
        stopped,
        compiled,
        step.micro if step.halved else 0,
    )


def train_epoch(
    step: Step,
    epoch: int,
    batches: Sequence[NDArray[np.int64]],
    history: Sequence[Mapping[str, float]],
    progress: Progress,
    over: Callable[[], bool],
) -> Tensor | None:
    """Take the steps of an epoch; return the sum of their losses, None when it was `over` before the last."""
    schedule, num_steps = step.schedule, len(batches)
    step.begin_epoch(epoch)
    total = torch.zeros((), device=step.device)
    with step.feed.ahead(step.rows[step.own(batch)] for batch in batches):
        for i, batch in enumerate(batches):
            if over():
                return None
            step.set_lr(lr_share(schedule, epoch, i, num_steps, history))
            total += step(batch, epoch, i)
            progress(f"epoch {epoch}/{schedule.epochs}", (epoch - 1) * num_steps + i + 1, schedule.epochs * num_steps)
    return total


def _over(clock: Callable[[], float], latest: float, team: Team) -> bool:
    """Whether the first member's clock says that the limit is used up."""
    return math.isfinite(latest) and team.agree(clock() >= latest)


def check_team(schedule: Schedule, size: int, team: Team) -> None:
    """Raise TrainingError when a batch of `size` images has fewer passes than the team has members."""
    of_a_pass = min(schedule.micro_batch or size, size)
    if team.size > -(-size // of_a_pass):
        raise TrainingError(
            f"{team.size} devices cannot share a batch of {size} images that is cut into passes of {of_a_pass}; "
            "set schedule.micro_batch lower: what batch norm sees does not depend on the number of devices"
        )


def order_of(config: RunConfig, epoch: int, taught: Teaching, size: int) -> NDArray[np.int64]:
    """Return the places of the training images in the order of an epoch, which batches of `size` are cut from.

    Raises TrainingError when batches cannot be balanced.
    """
    order = shuffled(config.seed, epoch, len(taught.target_NK))
    if config.schedule.sampling == "shuffled":
        return order
    shows_NC = classes(taught.target_NK.cpu().numpy(), taught.weight_NK.cpu().numpy())
    micro = config.schedule.micro_batch or config.schedule.batch_size
    try:
        return balanced(order, size, micro, shows_NC, config.seed, epoch)
    except ValueError as error:
        raise TrainingError(f"sampling: balanced: {error}") from error


def check_labels(train: Examples, watched: Mapping[str, Examples]) -> None:
    """Raise TrainingError when there is nothing to train on or to choose an epoch by."""
    for part, examples in watched.items():
        if not has_both_classes(examples.state_NK):
            raise TrainingError(f"no finding of the {part} split has both classes: no epoch can be chosen")
    if len(train) < 2:
        raise TrainingError(f"the training split has {len(train)} readable images; batch norm needs 2")


def has_both_classes(state_NK: NDArray[np.int8]) -> bool:
    """Whether at least one finding has a present and an absent image."""
    present = (state_NK == 1).any(axis=0)
    absent = ((state_NK == 0) | (state_NK == -2)).any(axis=0)
    return bool((present & absent).any())


def validate(logit_NK: NDArray[np.float32], state_NK: NDArray[np.int8]) -> tuple[float, float]:
    """Return macro AUROC over the findings with both classes, and mean cross-entropy, on certain labels."""
    aurocs: list[float] = []
    losses: list[NDArray[np.float64]] = []
    for k in range(state_NK.shape[1]):
        known = np.isin(state_NK[:, k], (1, 0, -2))
        label = (state_NK[known, k] == 1).astype(np.int8)
        logit = logit_NK[known, k].astype(np.float64)
        if not has_both_classes(state_NK[:, k : k + 1]):
            continue
        aurocs.append(auroc(label, logit_NK[known, k]))
        losses.append(np.logaddexp(0, logit) - label * logit)
    return float(np.mean(aurocs)), float(np.mean(np.concatenate(losses)))
