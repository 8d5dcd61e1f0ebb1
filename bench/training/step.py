"""One optimizer step on one batch, with all that the next step depends on.

Legend: N images, O outputs, C channels, H height, W width.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from bench.config.preprocessing_ops import READ_BYTES
from bench.inputs.batches import Feed
from bench.inputs.device_transfer import seed_device, to_device
from bench.inputs.normalize import Tone
from bench.models.network import Network
from bench.models.predict import autocast_dtype
from bench.planning.run import Run
from bench.training.batch_sampling import passes
from bench.training.data_parallel import ALONE, Norms, Team
from bench.training.lr_schedule import phase
from bench.training.objective import Objective
from bench.training.optimizers.build import build as build_optimizer
from bench.training.optimizers.build import take_up
from bench.training.train_modes import learn_only_the_head, recalibrate, train_mode
from harmonize.seeds import seed_for

RECALIBRATION = 50  # batches that batch norm is measured on after a schedule-free epoch
_log = logging.getLogger(__name__)


class TooLargeError(RuntimeError):
    """Memory runs out with the fewest images that a forward pass can have."""


class Step:
    """Takes optimizer steps on the cached images at `rows`; the optimizer may ask for loss and gradients more than once (SAM asks twice).

    When memory runs out in a forward or backward pass, `micro`, the images of a pass, is halved and the step is taken
    again, from the same weights, buffers and random streams; the batch stays what it is. Batch norm sees fewer images then.
    """

    def __init__(
        self,
        run: Run,
        network: Network,
        tone: Tone,
        feed: Feed,
        rows: NDArray[np.int64],
        objective: Objective,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        config, schedule = run.config, run.config.schedule
        self.run, self.schedule = run, schedule
        self.network, self.tone, self.feed, self.rows, self.device = network, tone, feed, rows, device
        self.objective = objective.to(device)
        self.seed = config.seed
        self.team, self.norms = team, Norms(network, team)
        self.micro = self.asked = schedule.micro_batch or schedule.batch_size  # images of a forward pass
        self.dtype = autocast_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        augment = run.entries["augmentation"]
        self.augment: Callable[..., Tensor] | None = augment.load() if augment.use else None
        self.augment_options = dict(augment.options)
        self.of_bytes = augment.use in READ_BYTES
        self.average = ModelEmaV3(network, schedule.ema) if schedule.ema else None
        self.gradient_evaluations = 0  # forward and backward passes over a batch
        learns_N = self.objective.learns()
        self.learns_N = None if learns_N.all() else learns_N  # None: every image
        self.buffers = [*network.buffers(), *self.objective.buffers()]
        self.saved = [buffer.clone() for buffer in self.buffers]  # as they were before the step
        self.passing = False  # whether a forward or backward pass is under way
        self.forward: Callable[[Tensor], Tensor] = (
            network.outputs
        )  # or a compiled one, see bench.training.torch_compile
        self._begin(1)

    def rehearse(self) -> None:
        """Do a forward and backward pass over the first images, as a step does, without taking one."""
        train_mode(self.network)
        place_N = to_device(torch.arange(min(self.micro, len(self.rows))), self.device)
        image_NHW = self.feed(self.rows[: len(place_N)])
        loss = self.objective(self._outputs(image_NHW, seed_for(self.seed, "augment", 0)), place_N)
        loss.backward()
        self.forget()

    def forget(self) -> None:
        """Drop all gradients."""
        self.network.zero_grad(set_to_none=True)
        self.objective.zero_grad(set_to_none=True)

    def _begin(self, first: int) -> None:
        """Begin the phase whose first epoch is `first`: the weights that learn in it get an optimizer of their own."""
        chosen, schedule = self.run.entries["optimizer"], self.schedule
        decay = schedule.weight_decay if schedule.weight_decay >= 0 else None
        learn_only_the_head(self.network, first <= schedule.freeze_epochs)
        self.objective.pretraining = pretraining = first <= schedule.pretrain_epochs
        own = [] if pretraining else list(self.objective.parameters())
        self.optimizer = build_optimizer(chosen.use, chosen.options, self.network, schedule.lr or None, decay, own)
        self.phase = first
        self.peak_lr = [float(group["lr"]) * schedule.lr_scale for group in self.optimizer.param_groups]

    def begin_epoch(self, epoch: int) -> None:
        """Get ready to train: in the phase of `epoch`, in training mode."""
        first = phase(self.schedule, epoch)[0]
        if first != self.phase:
            self._begin(first)
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
            seed_device(seed_for(self.seed, "recalibrate", epoch), self.device)
            parts = list(passes(min(len(order), RECALIBRATION * size), size, self.micro))
            seeds = [seed_for(self.seed, "recalibrate", epoch, part.start) for part in parts]
            recalibrate(
                self.network,
                (
                    lambda p=p, s=s: self._outputs(self.feed(self.rows[order[p]]), s)  # type: ignore[misc]
                    for p, s in zip(parts, seeds, strict=True)
                ),
            )
        return cast("Network", self.average.module) if self.average else self.network

    @property
    def _has_modes(self) -> bool:
        """Whether the optimizer trains other weights than it answers for (schedule-free)."""
        return hasattr(self.optimizer, "eval")

    @property
    def halved(self) -> bool:
        """Whether memory did not suffice for the passes asked for."""
        return self.micro < self.asked

    def set_lr(self, factor: float) -> None:
        """Set each group's learning rate to a share of its peak."""
        for group, lr in zip(self.optimizer.param_groups, self.peak_lr, strict=True):
            group["lr"] = lr * factor

    def __call__(self, places: NDArray[np.int64], epoch: int, step: int) -> Tensor:
        """Take the step on the images at `places`; return the mean loss, still on the device.

        Raises TooLargeError when memory runs out however few images a pass has.
        """
        own = self.own(places)
        image_NHW, place_N = self.feed(self.rows[own]), to_device(torch.from_numpy(own), self.device)
        every_N = place_N if own is places else to_device(torch.from_numpy(places), self.device)
        surely = self.learns_N is None or bool(self.learns_N[places].any())
        while (loss := self._attempt(image_NHW, place_N, every_N, surely, epoch, step)) is None:
            self._halve(len(places), epoch, step)
        self.objective.after_step()
        if self.average:
            self.average.update(self.network)
        return loss

    def own(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which images of a batch this member of the team looks at."""
        if self.team.size == 1:
            return places
        return np.concatenate([places[part] for part in self.team.mine(self._parts(len(places)))])

    def _parts(self, size: int) -> list[slice]:
        """Return the passes that a batch is cut into."""
        return [slice(start, min(start + self.micro, size)) for start in range(0, size, self.micro)]

    def _attempt(
        self, image_NHW: Tensor, place_N: Tensor, every_N: Tensor, surely: bool, epoch: int, step: int
    ) -> Tensor | None:
        """Return the loss of the step, None when memory ran out in a pass: then all is as before it."""
        evaluations = self.gradient_evaluations
        if self.buffers:
            torch._foreach_copy_(self.saved, self.buffers)
        member = () if self.team.first else (self.team.rank,)
        seed_device(seed_for(self.seed, "dropout", epoch, step, *member), self.device)
        try:
            return self._take(image_NHW, place_N, every_N, surely, epoch, step)
        except torch.OutOfMemoryError:
            if not self.passing:
                raise  # the optimizer's own state does not fit: it may have moved some weights already
        self.passing, self.gradient_evaluations = False, evaluations
        self.optimizer.zero_grad(set_to_none=True)
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.saved)
        return None

    def _take(self, image_NHW: Tensor, place_N: Tensor, every_N: Tensor, surely: bool, epoch: int, step: int) -> Tensor:
        """Take the step; place_N and image_NHW are this member's, one pass behind the other, every_N the whole batch."""
        parts = self._parts(len(every_N))
        # losses are means over weights: parts count as they weigh; one part is all, unless nothing weighs anything
        whole = None if surely and len(parts) == 1 else self.objective.weight(every_N).clamp(min=1e-8)

        def passes() -> Tensor:
            total: Tensor | None = None
            done = 0
            for number, part in enumerate(parts):
                if number % self.team.size != self.team.rank:
                    self.norms.skip()
                    continue
                seed = seed_for(self.seed, "augment", epoch, step, part.start) if self.augment else 0
                here = slice(done, done + part.stop - part.start)
                done = here.stop
                image, place = (image_NHW, place_N) if len(parts) == 1 else (image_NHW[here], place_N[here])
                loss = cast("Tensor", self.objective(self._outputs(image, seed), place))
                if whole is not None:
                    loss = loss * (self.objective.weight(place) / whole)
                (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
                total = loss.detach() if total is None else total + loss.detach()
            return cast("Tensor", total)

        def closure() -> Tensor:
            self.passing = True
            self.gradient_evaluations += 1
            self.optimizer.zero_grad(set_to_none=True)
            with self.norms.shared():
                total = passes()
            learnt = (weight for group in self.optimizer.param_groups for weight in group["params"])
            self.team.add([*(weight.grad for weight in learnt if weight.grad is not None), total])
            if self.scaler is None:
                self._clip()
            self.passing = False
            return total

        if self.scaler is None:
            return cast("Tensor", self.optimizer.step(closure))  # type: ignore[arg-type]  # a loss tensor, never synchronised
        loss = closure()
        self.scaler.unscale_(self.optimizer)
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _halve(self, size: int, epoch: int, step: int) -> None:
        """Halve the images of a pass; no pass of a batch of `size` may have one image, which has no variance."""
        before = min(self.micro, size)
        if self.team.size > 1:
            raise TooLargeError(f"memory ran out in a forward pass of {before} images; lower schedule.micro_batch")
        smaller = [micro for micro in range(before // 2, 1, -1) if size % micro != 1]
        if self.schedule.sampling == "balanced" or not smaller:
            why = "passes were balanced for it" if smaller else "a batch cannot be cut smaller"
            raise TooLargeError(
                f"memory ran out in a forward pass of {before} images, and {why}; lower schedule.micro_batch or the image size"
            )
        self.micro = smaller[0]
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        what = (
            "memory ran out in epoch %d, step %d: forward passes of %d images from here on, not %d; the batch stays %d"
        )
        _log.warning(what, epoch, step + 1, self.micro, before, size)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "phase": self.phase,
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "average": self.average.module.state_dict() if self.average else {},
            "gradient_evaluations": self.gradient_evaluations,
            "micro": self.micro,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if state["phase"] != self.phase:
            self._begin(state["phase"])
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        take_up(self.optimizer, state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.gradient_evaluations, self.micro = state["gradient_evaluations"], state["micro"]

    def _clip(self) -> None:
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)

    def _outputs(self, image_NHW: Tensor, augment_seed: int) -> Tensor:
        changed = partial(self.augment, seed=augment_seed, **self.augment_options) if self.augment else None
        x_NCHW = self.tone(image_NHW, changed, of_bytes=self.of_bytes).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
            return self.forward(x_NCHW)
