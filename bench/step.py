"""One optimizer step on one batch, and the learning rate at a step.

Legend: N images, O outputs, C channels, H height, W width.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import Feed
from bench.models import Network
from bench.objective import Objective
from bench.optim.build import build as build_optimizer
from bench.predict import autocast_dtype
from bench.preprocess import Tone, unit
from bench.run import Run
from harmonize.seeds import seed_for


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
        chosen = run.entries["optimizer"]
        decay = schedule.weight_decay if schedule.weight_decay >= 0 else None
        self.optimizer = build_optimizer(chosen.use, chosen.options, network, schedule.lr or None, decay)
        if own := list(objective.parameters()):
            self.optimizer.add_param_group({"params": own, "weight_decay": 0.0})
        self.network, self.tone, self.feed, self.rows, self.device = network, tone, feed, rows, device
        self.objective = objective.to(device)
        self.seed, self.clip = config.seed, schedule.clip
        self.micro = schedule.micro_batch or schedule.batch_size
        self.dtype = autocast_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        self.peak_lr = [float(group["lr"]) for group in self.optimizer.param_groups]
        augment = run.entries["augmentation"]
        self.augment: Callable[..., Tensor] | None = augment.load() if augment.use else None
        self.augment_options = dict(augment.options)

    def set_lr(self, factor: float) -> None:
        """Set each group's learning rate to a share of its peak."""
        for group, lr in zip(self.optimizer.param_groups, self.peak_lr, strict=True):
            group["lr"] = lr * factor

    def __call__(self, places: NDArray[np.int64], epoch: int, step: int) -> Tensor:
        """Take the step on the images at `places`; return the mean loss, still on the device."""
        torch.manual_seed(seed_for(self.seed, "dropout", epoch, step))

        whole = self._weight(places).clamp(min=1e-8)

        def closure() -> Tensor:
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
        self.objective.after_step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _weight(self, places: NDArray[np.int64]) -> Tensor:
        return self.objective.weight(torch.from_numpy(places).to(self.device))

    def _clip(self) -> None:
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)

    def _loss(self, part: NDArray[np.int64], augment_seed: int) -> Tensor:
        x_N1HW = unit(self.feed(self.rows[part]))
        if self.augment is not None:
            x_N1HW = self.augment(x_N1HW, augment_seed, **self.augment_options)
        x_NCHW = self.tone.normalise(x_N1HW).contiguous(memory_format=torch.channels_last)
        place = torch.from_numpy(part).to(self.device)
        with torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
            output_NO = self.network.outputs(x_NCHW)
        return cast("Tensor", self.objective(output_NO, place))


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
