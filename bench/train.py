"""fit(): train one network on its home cohort and choose the epoch on the home validation split only.

Every random draw is named by (seed, purpose, epoch, step), so a run that goes on from its checkpoint takes the same steps
as one that never stopped: bit by bit on a CPU with the same number of threads.
Legend: N images, K findings.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import Examples, Feed
from bench.models import Network
from bench.objective import Objective, TeachingError, teaching
from bench.predict import predict
from bench.preprocess import Tone
from bench.run import Run
from bench.scoring.metrics import auroc
from bench.step import Step, lr_factor
from bench.store import Progress, replacing
from harmonize.seeds import seed_for


class TrainingError(RuntimeError):
    """Training cannot give a model: the loss is not a number, or validation cannot choose an epoch."""


@dataclass(slots=True)
class Record:
    """What training has seen so far, and the weights of the chosen epoch."""

    history: list[dict[str, float]] = field(default_factory=list)  # epoch train_loss val_loss val_auroc lr seconds
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0  # counted from 1
    best_auroc: float = -math.inf

    def add(self, row: dict[str, float], network: Network, selection: str) -> None:
        """Note an epoch; keep its weights when it is the best so far, or the last."""
        self.history.append(row)
        if selection == "last" or row["val_auroc"] > self.best_auroc:
            self.best_epoch, self.best_auroc = int(row["epoch"]), row["val_auroc"]
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def exhausted(self, patience: int) -> bool:
        """Whether `patience` epochs have gone by without a better one."""
        return bool(patience) and len(self.history) - self.best_epoch >= patience and self.best_epoch > 0

    def save(self, path: Path, run_id: str, step: Step) -> None:
        """Write a checkpoint of tensors and plain values."""
        now = {"run": run_id} | step.state_dict()
        mine = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_auroc": self.best_auroc,
        }
        with replacing(path) as temporary:
            torch.save(now | mine, temporary)

    def resume(self, path: Path, run_id: str, step: Step) -> None:
        """Go on from a checkpoint of this run, when there is a whole one."""
        saved = load_checkpoint(path, run_id)
        if saved:
            step.load_state_dict(saved)
            self.history, self.best = saved["history"], saved["best"]
            self.best_epoch, self.best_auroc = saved["best_epoch"], saved["best_auroc"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves: the network holds the chosen epoch's weights."""

    network: Network
    history: pd.DataFrame  # epoch, train_loss, val_loss, val_auroc, lr, seconds
    best_epoch: int  # counted from 1
    unlearnt: tuple[int, ...]  # findings that training saw one class of, after the label policies


def fit(
    run: Run,
    network: Network,
    tone: Tone,
    feed: Feed,
    train: Examples,
    val: Examples,
    device: torch.device,
    checkpoint: Path,
    progress: Progress,
) -> Trained:
    """Train `network` in place and return it with the chosen epoch's weights.

    The checkpoint is written after each epoch and read when it is there.
    Raises TrainingError when the loss becomes NaN or the labels cannot teach or choose.
    """
    config, schedule = run.config, run.config.schedule
    network.to(device=device).to(memory_format=torch.channels_last)
    check_labels(train, val)
    try:
        taught = teaching(run, train, device)
    except TeachingError as error:
        raise TrainingError(str(error)) from error
    step = Step(run, network, tone, feed, train.rows, Objective(run, taught), device)
    size = min(schedule.batch_size, len(train))
    num_steps = len(train) // size  # the few images left over differ from epoch to epoch
    record = Record()
    record.resume(checkpoint, run.id, step)
    for epoch in range(len(record.history) + 1, schedule.epochs + 1):
        if record.exhausted(schedule.patience):
            break
        began = time.perf_counter()
        order = np.random.default_rng(seed_for(config.seed, "order", epoch)).permutation(len(train))
        network.train()
        _mode(step.optimizer, "train")
        total = torch.zeros((), device=device)
        for i in range(num_steps):
            done = (epoch - 1) * num_steps + i
            step.set_lr(lr_factor(done, schedule.epochs * num_steps, schedule.warmup, schedule.kind))
            total += step(order[i * size : (i + 1) * size], epoch, i)
            progress(f"epoch {epoch}/{schedule.epochs}", done + 1, schedule.epochs * num_steps)
        row = {"epoch": epoch, "train_loss": float(total) / num_steps, "seconds": time.perf_counter() - began}
        if not math.isfinite(row["train_loss"]):
            raise TrainingError(
                f"the loss became {row['train_loss']} in epoch {epoch}; lower schedule.lr or set schedule.clip"
            )
        _mode(step.optimizer, "eval")
        logit_NK, _ = predict(network, tone, feed, val.rows, device, config.precision)
        row["val_auroc"], row["val_loss"] = validate(logit_NK, val.state_NK)
        row["lr"] = float(step.optimizer.param_groups[0]["lr"])
        record.add(row, network, config.selection)
        record.save(checkpoint, run.id, step)
    network.load_state_dict(record.best)
    return Trained(network, pd.DataFrame(record.history), record.best_epoch, taught.unlearnt())


def check_labels(train: Examples, val: Examples) -> None:
    """Raise TrainingError when there is nothing to train on or to choose an epoch by."""
    if not has_both_classes(val.state_NK):
        raise TrainingError("no finding of the validation split has both classes: no epoch can be chosen")
    if len(train) < 2:
        raise TrainingError(f"the training split has {len(train)} readable images; batch norm needs 2")


def _mode(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Switch an optimizer that has modes (schedule-free) to training or evaluation."""
    if hasattr(optimizer, name):
        getattr(optimizer, name)()


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


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Return the checkpoint of this run, {} when there is none or it is damaged or another run's."""
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  (a half-written or foreign file may raise anything; training then starts again)
        return {}
    return content if content.get("run") == run_id else {}
