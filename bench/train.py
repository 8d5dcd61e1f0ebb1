"""fit(): train one network on its source and choose the epoch on the source's validation split only.

Every random draw is named by (seed, purpose, epoch, step), so a run that goes on from its checkpoint takes the same steps
as one that never stopped: bit by bit on a CPU with the same number of threads.
Legend: N images, K findings, H height, W width.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config import RunConfig
from bench.data import Examples, Feed
from bench.models import Network
from bench.optim.build import build as build_optimizer
from bench.predict import autocast_dtype, predict
from bench.preprocess import Tone, unit
from bench.run import Run
from bench.scoring.metrics import auroc
from bench.store import Progress, replacing
from bench.uncertainty import blank
from harmonize.seeds import seed_for


class TrainingFailed(RuntimeError):
    """Training cannot give a model: the loss is not a number, or validation cannot choose an epoch."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves: the network holds the chosen epoch's weights."""

    network: Network
    history: pd.DataFrame  # epoch, train_loss, val_loss, val_auroc, lr, seconds
    best_epoch: int  # counted from 1


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

    checkpoint is written after each epoch and read when it is there (tensors and plain values only, no pickle).
    Raises TrainingFailed when the loss becomes NaN or no finding of `val` has both classes.
    """
    config, schedule = run.config, run.config.schedule
    if not has_both_classes(val.state_NK):
        raise TrainingFailed("no finding of the validation split has both classes, so no epoch can be chosen; give val more patients")
    if len(train) < 2:
        raise TrainingFailed(f"the training split has {len(train)} readable images; batch norm needs 2")
    state = torch.from_numpy(train.state_NK)
    target_NK, weight_NK = (t.to(device) for t in run.entries["uncertainty"].load()(blank(state, config.blank)))
    if not float(weight_NK.sum()):
        raise TrainingFailed("no training label is left after the uncertainty and blank policies")
    network.to(device, memory_format=torch.channels_last)
    chosen = run.entries["optimizer"]
    decay = schedule.weight_decay if schedule.weight_decay >= 0 else None
    optimizer = build_optimizer(chosen.use, chosen.options, network, schedule.lr or None, decay)
    batch_size = min(schedule.batch_size, len(train))
    steps = len(train) // batch_size
    peak = [float(group["lr"]) for group in optimizer.param_groups]
    step_once = Step(run, network, tone, feed, train, target_NK, weight_NK, optimizer, device)
    saved = load_checkpoint(checkpoint, run.id)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_epoch, best_auroc = 0, -math.inf
    if saved:
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        history, best, best_epoch, best_auroc = saved["history"], saved["best"], saved["best_epoch"], saved["best_auroc"]
    for epoch in range(len(history) + 1, schedule.epochs + 1):
        if schedule.patience and epoch - 1 - best_epoch >= schedule.patience and best_epoch:
            break
        began = time.perf_counter()
        order = np.random.default_rng(seed_for(config.seed, "order", epoch)).permutation(len(train))
        network.train()
        if hasattr(optimizer, "train"):
            optimizer.train()
        total = torch.zeros((), device=device)
        for step in range(steps):
            done = (epoch - 1) * steps + step
            factor = lr_factor(done, schedule.epochs * steps, schedule.warmup, schedule.kind)
            for group, lr in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = lr * factor
            total += step_once(order[step * batch_size : (step + 1) * batch_size], epoch, step)
            progress(f"epoch {epoch}/{schedule.epochs}", done + 1, schedule.epochs * steps)
        seconds = time.perf_counter() - began
        train_loss = float(total) / steps
        if not math.isfinite(train_loss):
            raise TrainingFailed(f"the loss became {train_loss} in epoch {epoch}; lower schedule.lr or set schedule.clip")
        if hasattr(optimizer, "eval"):
            optimizer.eval()
        logit_NK, _ = predict(network, tone, feed, val.rows, device, config.precision)
        val_auroc, val_loss = validate(logit_NK, val.state_NK)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss, "val_auroc": val_auroc,
             "lr": float(optimizer.param_groups[0]["lr"]), "seconds": seconds}
        )  # fmt: skip
        if config.selection == "last" or val_auroc > best_auroc:
            best_epoch, best_auroc = epoch, val_auroc
            best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        content = {"run": run.id, "network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history,
                   "best": best, "best_epoch": best_epoch, "best_auroc": best_auroc}  # fmt: skip
        with replacing(checkpoint) as temporary:
            torch.save(content, temporary)
    network.load_state_dict(best)
    return Trained(network, pd.DataFrame(history), best_epoch)


class Step:
    """One optimizer step on one batch; the optimizer may ask for loss and gradients more than once (SAM asks twice)."""

    def __init__(
        self, run: Run, network: Network, tone: Tone, feed: Feed, train: Examples, target_NK: Tensor, weight_NK: Tensor,
        optimizer: torch.optim.Optimizer, device: torch.device,
    ) -> None:  # fmt: skip
        self.network, self.tone, self.feed, self.rows, self.optimizer, self.device = network, tone, feed, train.rows, optimizer, device
        self.target_NK, self.weight_NK = target_NK, weight_NK
        config: RunConfig = run.config
        self.seed, self.clip = config.seed, config.schedule.clip
        self.micro = config.schedule.micro_batch or config.schedule.batch_size
        self.dtype = autocast_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        loss, augment = run.entries["loss"], run.entries["augmentation"]
        self.loss: Callable[..., Tensor] = loss.load()
        self.loss_options = dict(loss.options)
        self.augment: Callable[..., Tensor] | None = augment.load() if augment.use else None
        self.augment_options = dict(augment.options)

    def __call__(self, places: NDArray[np.int64], epoch: int, step: int) -> Tensor:
        """Take the step on the training images at `places`; return the mean loss, still on the device."""
        torch.manual_seed(seed_for(self.seed, "dropout", epoch, step))

        def closure() -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=self.device)
            for start in range(0, len(places), self.micro):
                part = places[start : start + self.micro]
                share = len(part) / len(places)
                loss = self._loss(part, seed_for(self.seed, "augment", epoch, step, start)) * share
                (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            if self.clip and not self.scaler:
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
            return total

        if self.scaler is None:
            return cast("Tensor", self.optimizer.step(closure))  # type: ignore[arg-type]
        loss = closure()
        self.scaler.unscale_(self.optimizer)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _loss(self, part: NDArray[np.int64], augment_seed: int) -> Tensor:
        x_N1HW = unit(self.feed(self.rows[part]))
        if self.augment is not None:
            x_N1HW = self.augment(x_N1HW, augment_seed, **self.augment_options)
        x_NCHW = self.tone.normalise(x_N1HW).contiguous(memory_format=torch.channels_last)
        place = torch.from_numpy(part).to(self.device)
        context = torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext()
        with context:
            logit_NK = self.network(x_NCHW)
        return self.loss(logit_NK.float(), self.target_NK[place], self.weight_NK[place], **self.loss_options)


def lr_factor(step: int, steps: int, warmup: float, kind: str) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine to zero or constant.

    >>> [round(lr_factor(s, 10, 0.2, "cosine"), 2) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.04]
    """
    first = round(warmup * steps)
    if step < first:
        return (step + 1) / first
    if kind == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


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
        logit = logit_NK[known, k]
        if label.min(initial=1) == label.max(initial=0):
            continue
        aurocs.append(auroc(label, logit))
        z = logit.astype(np.float64)
        losses.append(np.logaddexp(0, z) - label * z)
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


def findings_without_both_classes(state_NK: NDArray[np.int8], findings: Sequence[str]) -> list[str]:
    """Return the findings that training sees only one class of; a network cannot learn them."""
    return [f for k, f in enumerate(findings) if not has_both_classes(state_NK[:, k : k + 1])]
