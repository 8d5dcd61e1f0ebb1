"""One optimizer step on one batch, with all that the next step depends on.

Legend: N images, O outputs, C channels, H height, W width.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from bench.data import Feed
from bench.models import Network
from bench.modes import learn_only_the_head, recalibrate, train_mode
from bench.objective import Objective
from bench.optim.build import build as build_optimizer
from bench.predict import autocast_dtype
from bench.preprocess import Tone
from bench.run import Run
from bench.sampling import passes
from harmonize.seeds import seed_for

RECALIBRATION = 50  # batches that batch norm is measured on after a schedule-free epoch


class Step:
    """Takes optimizer steps on the cached images at `rows`; the optimizer may ask for loss and gradients more than once (SAM asks twice)."""

    def __init__(
        self,
        run: Run,
        network: Network,
        tone: Tone,
        feed: Feed,
        rows: NDArray[np.int64],
        objective: Objective,
        device: torch.device,
    ) -> None:
        config, schedule = run.config, run.config.schedule
        self.run, self.schedule = run, schedule
        self.network, self.tone, self.feed, self.rows, self.device = network, tone, feed, rows, device
        self.objective = objective.to(device)
        self.seed = config.seed
        self.micro = schedule.micro_batch or schedule.batch_size
        self.dtype = autocast_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        augment = run.entries["augmentation"]
        self.augment: Callable[..., Tensor] | None = augment.load() if augment.use else None
        self.augment_options = dict(augment.options)
        self.average = ModelEmaV3(network, schedule.ema) if schedule.ema else None
        self.gradient_evaluations = 0  # forward and backward passes over a batch
        self._begin(frozen=schedule.freeze_epochs > 0)

    def _begin(self, frozen: bool) -> None:
        """Begin a phase: the weights that learn in it get an optimizer of their own."""
        chosen, schedule = self.run.entries["optimizer"], self.schedule
        decay = schedule.weight_decay if schedule.weight_decay >= 0 else None
        learn_only_the_head(self.network, frozen)
        own = list(self.objective.parameters())
        self.optimizer = build_optimizer(chosen.use, chosen.options, self.network, schedule.lr or None, decay, own)
        self.frozen = frozen
        self.peak_lr = [float(group["lr"]) * schedule.lr_scale for group in self.optimizer.param_groups]

    def begin_epoch(self, epoch: int) -> None:
        """Get ready to train: in the phase of `epoch`, in training mode."""
        frozen = epoch <= self.schedule.freeze_epochs
        if frozen != self.frozen:
            self._begin(frozen)
        train_mode(self.network)
        if self._has_modes:
            self.optimizer.train()  # type: ignore[attr-defined]

    def end_epoch(self, order: NDArray[np.int64], size: int, epoch: int) -> Network:
        """Get ready to be measured and stored; return the network that stands for the epoch.

        It is the averaged one with `ema`. A schedule-free optimizer switches to the weights it answers for, and batch
        norm is measured for them on the first batches of the epoch, augmented as in training.
        """
        if self._has_modes:
            self.optimizer.eval()  # type: ignore[attr-defined]
            torch.manual_seed(seed_for(self.seed, "recalibrate", epoch))
            parts = list(passes(min(len(order), RECALIBRATION * size), size, self.micro))
            seeds = [seed_for(self.seed, "recalibrate", epoch, part.start) for part in parts]
            recalibrate(
                self.network,
                (lambda p=p, s=s: self._outputs(order[p], s) for p, s in zip(parts, seeds, strict=True)),  # type: ignore[misc]
            )
        return cast("Network", self.average.module) if self.average else self.network

    @property
    def _has_modes(self) -> bool:
        """Whether the optimizer trains other weights than it answers for (schedule-free)."""
        return hasattr(self.optimizer, "eval")

    def set_lr(self, factor: float) -> None:
        """Set each group's learning rate to a share of its peak."""
        for group, lr in zip(self.optimizer.param_groups, self.peak_lr, strict=True):
            group["lr"] = lr * factor

    def __call__(self, places: NDArray[np.int64], epoch: int, step: int) -> Tensor:
        """Take the step on the images at `places`; return the mean loss, still on the device."""
        torch.manual_seed(seed_for(self.seed, "dropout", epoch, step))

        whole = self._weight(places).clamp(min=1e-8)

        def closure() -> Tensor:
            self.gradient_evaluations += 1
            self.optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=self.device)
            for start in range(0, len(places), self.micro):
                part = places[start : start + self.micro]
                share = self._weight(part) / whole  # losses are means over weights: parts count as they weigh
                loss = self._loss(part, seed_for(self.seed, "augment", epoch, step, start)) * share
                (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            if self.scaler is None:
                self._clip()
            return total

        if self.scaler is None:
            loss = cast("Tensor", self.optimizer.step(closure))  # type: ignore[arg-type]  # a loss tensor, never synchronised
        else:
            loss = closure()
            self.scaler.unscale_(self.optimizer)
            self._clip()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        getattr(self.objective, "after_step", lambda: None)()
        if self.average:
            self.average.update(self.network)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "frozen": self.frozen,
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "average": self.average.module.state_dict() if self.average else {},
            "gradient_evaluations": self.gradient_evaluations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if state["frozen"] != self.frozen:
            self._begin(state["frozen"])
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.gradient_evaluations = state["gradient_evaluations"]

    def _weight(self, places: NDArray[np.int64]) -> Tensor:
        return self.objective.weight(torch.from_numpy(places).to(self.device))

    def _clip(self) -> None:
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)

    def _outputs(self, part: NDArray[np.int64], augment_seed: int) -> Tensor:
        x_N1HW = self.tone.gray(self.feed(self.rows[part]))
        if self.augment is not None:
            x_N1HW = self.augment(x_N1HW, augment_seed, **self.augment_options)
        x_NCHW = self.tone.normalise(x_N1HW).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
            return self.network.outputs(x_NCHW)

    def _loss(self, part: NDArray[np.int64], augment_seed: int) -> Tensor:
        place = torch.from_numpy(part).to(self.device)
        return cast("Tensor", self.objective(self._outputs(part, augment_seed), place))
