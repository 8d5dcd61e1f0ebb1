"""Take optimizer steps on batches, and keep all state that the next step depends on.

Legend: N images, O outputs, C channels, H height, W width.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.preprocessing_ops import READ_BYTES
from bench.inputs.batches import BatchReader
from bench.inputs.device_transfer import seed_device, to_device
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.output_layers import output_layers
from bench.models.predict import autocast_dtype, predict
from bench.planning.run import RunSpec
from bench.training.algorithms.batch import Algorithm, Batch
from bench.training.algorithms.build import build_algorithm
from bench.training.batch_sampling import micro_batches
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup, SharedBatchNorm
from bench.training.lr_schedule import lr_multiplier
from bench.training.optimizers.build import build as build_optimizer
from bench.training.optimizers.build import load_optimizer_state
from bench.training.saved_tensors import SavedTensors
from bench.training.train_modes import freeze_backbone, recalibrate_batch_norm, train_mode
from bench.training.training_loss import TrainingLoss
from harmonize.progress import Progress
from harmonize.seeds import seed_for

if TYPE_CHECKING:
    from timm.utils.model_ema import ModelEmaV3

RECALIBRATION_BATCHES = 50  # number of batches that recompute batch-norm statistics after a schedule-free epoch
_log = logging.getLogger(__name__)


def _moving_average(network: torch.nn.Module, decay: float) -> "ModelEmaV3 | None":
    """Return the exponential moving average of the weights; None without a decay. It alone imports timm."""
    if not decay:
        return None
    from timm.utils.model_ema import ModelEmaV3

    return ModelEmaV3(network, decay)


class TooLargeError(RuntimeError):
    """Error: memory runs out even with the smallest possible micro-batch."""


class Step:
    """Take optimizer steps on the cached images with the indices `rows`.

    A phase is a range of epochs with the same loss, in which the same weights learn.

    In one step, an optimizer may evaluate the gradients several times (SAM: twice).

    When memory runs out in a forward or backward pass, `micro` (the images per pass) is halved. The step is then repeated
    from the same weights, buffers and random state. The batch stays the same, but batch norm sees fewer images.
    """

    def __init__(
        self,
        run: RunSpec,
        network: Network,
        normalizer: Normalizer,
        reader: BatchReader,
        rows: NDArray[np.int64],
        training_loss: TrainingLoss,
        device: torch.device,
        processes: DataParallelGroup = SINGLE_PROCESS,
    ) -> None:
        config, schedule = run.config, run.config.schedule
        self.run, self.schedule = run, schedule
        self.network, self.normalizer, self.reader, self.rows, self.device = network, normalizer, reader, rows, device
        self.training_loss = training_loss.to(device)
        self.seed = config.seed
        self.processes, self.batch_norm = processes, SharedBatchNorm(network, processes)
        self.micro = self.configured_micro = schedule.micro_batch or schedule.batch_size  # images per forward pass
        self.dtype = autocast_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type) if self.dtype == torch.float16 else None
        augment = run.entries["augmentation"]
        self.augment: Callable[..., Tensor] | None = augment.load() if augment.use else None
        self.augment_options = dict(augment.options)
        self.augments_bytes = augment.use in READ_BYTES
        self.ema = _moving_average(network, schedule.ema)
        self.gradient_evaluations = 0  # number of forward and backward passes over a batch
        has_weight_N = self.training_loss.has_weight()
        self.has_weight_N = None if has_weight_N.all() else has_weight_N  # mask [N]; None if all are True
        self.algorithm: Algorithm | None = None  # None: ERM
        # index of the group of each training image; None for an algorithm without groups
        self.group_N: Tensor | None = None
        if "algorithm" in run.entries:
            self.group_N = self.training_loss.targets.group_N
            num_groups = 0 if self.group_N is None else int(self.group_N.max()) + 1
            layer = output_layers(network)[0]
            self.algorithm = build_algorithm(
                run.entries["algorithm"], num_groups, layer, seed_for(self.seed, "algorithm")
            ).to(device)
        restarts = self.algorithm is not None and self.algorithm.restarts
        self.start = deepcopy(network.state_dict()) if restarts else None  # weights of the first step
        self.buffers = SavedTensors([*network.buffers(), *self.training_loss.buffers()])  # saved before each step
        self.in_pass = False  # whether a forward or backward pass is running
        self.forward: Callable[[Tensor], Tensor] = network.outputs  # `compile_if_faster` may replace it
        self._begin_phase(1)

    def trial_pass(self) -> None:
        """Run a forward and backward pass over the first images as in training, without an optimizer step."""
        train_mode(self.network)
        index_N = to_device(torch.arange(min(self.micro, len(self.rows))), self.device)
        image_NHW = self.reader(self.rows[: len(index_N)])
        loss = self._loss(image_NHW, index_N, seed_for(self.seed, "augment", 0), 0, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Delete all gradients."""
        self.network.zero_grad(set_to_none=True)
        self.training_loss.zero_grad(set_to_none=True)
        if self.algorithm is not None:
            self.algorithm.zero_grad(set_to_none=True)

    def _begin_phase(self, first: int) -> None:
        """Begin the phase whose first epoch is `first`: make a new optimizer for the weights that learn in this phase."""
        schedule = self.schedule
        freeze_backbone(self.network, frozen=first <= schedule.freeze_epochs)
        self.training_loss.pretraining = first <= schedule.pretrain_epochs
        self.optimizer = self._new_optimizer()
        self.phase = first
        self.peak_lr = [float(group["lr"]) * schedule.lr_scale for group in self.optimizer.param_groups]

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return a new optimizer for the weights that learn in this phase."""
        entry, schedule = self.run.entries["optimizer"], self.schedule
        decay = schedule.weight_decay if schedule.weight_decay >= 0 else None
        parameters = [] if self.training_loss.pretraining else list(self.training_loss.parameters())
        if self.algorithm is not None:
            parameters += self.algorithm.parameters()
        return build_optimizer(entry.use, entry.options, self.network, schedule.lr or None, decay, parameters)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch: switch to training mode, and begin the phase of this epoch if it is a new phase."""
        first = self.schedule.phase(epoch)[0]
        if first != self.phase:
            if self.start is not None and first == self.schedule.pretrain_epochs + 1:
                self._restart()
            self._begin_phase(first)
        train_mode(self.network)
        if self._is_schedule_free:
            self.optimizer.train()  # type: ignore[attr-defined]

    def _restart(self) -> None:
        """Give the logits of the training images to the algorithm, change the loss weights, and reset the network."""
        assert self.algorithm is not None
        assert self.start is not None
        logit_NK, _ = predict(
            self.network, self.normalizer, self.reader, self.rows, self.device, self.run.config.precision
        )
        targets = self.training_loss.targets
        self.algorithm.end_pretraining(torch.from_numpy(logit_NK), targets.target_NK.cpu())
        self._multiply_weights()
        self.network.load_state_dict(self.start)
        if self.ema:
            self.ema.set(self.network)  # type: ignore[no-untyped-call]

    def _multiply_weights(self) -> None:
        """Multiply the loss weights by the factors of the algorithm."""
        if self.algorithm is not None and self.algorithm.loss_factors is not None:
            self.training_loss.multiply_weights(self.algorithm.loss_factors)

    def train_epoch(
        self,
        epoch: int,
        batches: Sequence[NDArray[np.int64]],
        history: Sequence[Mapping[str, float]],
        progress: Progress,
        limit_reached: Callable[[], bool],
        between_steps: Callable[[int, Tensor], None],
        num_done: int = 0,
        loss: float = 0.0,
    ) -> Tensor | None:
        """Take the steps of an epoch; return the sum of their losses, or None if the time limit was reached.

        `num_done`: steps that were taken before an interruption. `loss`: the sum of their losses. `between_steps` gets both
        after each step.
        """
        schedule, num_steps = self.schedule, len(batches)
        self.begin_epoch(epoch)
        total = torch.tensor(loss, device=self.device)
        # The text shows results of the previous epoch, because reading the loss of this epoch would make a GPU wait.
        so_far = ", loss {train_loss:.3f}, val AUROC {val_auroc:.3f}".format_map(history[-1]) if history else ""
        left = batches[num_done:]
        with self.reader.prefetch(self.rows[self.own_indices(batch)] for batch in left):
            for i, batch in enumerate(left, num_done):
                if limit_reached():
                    return None
                self.set_lr(lr_multiplier(schedule, epoch, i, num_steps, history))
                total += self(batch, epoch, i)
                done = (epoch - 1) * num_steps + i + 1
                progress(f"epoch {epoch}/{schedule.epochs}{so_far}", done, schedule.epochs * num_steps)
                between_steps(i + 1, total)
        return total

    def end_epoch(self, order: NDArray[np.int64], size: int, epoch: int) -> Network:
        """Return the network to validate and store after the epoch: the network with averaged weights if `ema` is set.

        A schedule-free optimizer first switches to its evaluation weights. The batch-norm statistics of these weights are
        computed on the first batches of the epoch, augmented as in training. `order`: indices of the training images in the
        order of the epoch. `size`: images per batch.
        """
        if self._is_schedule_free:
            self.optimizer.eval()  # type: ignore[attr-defined]
            self._recalibrate(self.network, self.forward, order, size, epoch)
        if self.algorithm is not None:
            averaged = self.algorithm.end_epoch(self.network, (epoch - 1) / self.schedule.epochs)
            if averaged is not None:
                network = cast("Network", averaged)
                self._recalibrate(network, network.outputs, order, size, epoch)
                return network
        return cast("Network", self.ema.module) if self.ema else self.network

    def _recalibrate(
        self, network: Network, forward: Callable[[Tensor], Tensor], order: NDArray[np.int64], size: int, epoch: int
    ) -> None:
        """Compute the batch-norm statistics of a network, whose forward pass is `forward`, on the first batches of an epoch."""
        seed_device(seed_for(self.seed, "recalibrate", epoch), self.device)
        slices = list(micro_batches(min(len(order), RECALIBRATION_BATCHES * size), size, self.micro))
        seeds = [seed_for(self.seed, "recalibrate", epoch, rows.start) for rows in slices]
        recalibrate_batch_norm(
            network,
            (
                lambda rows=rows, seed=seed: self._forward(
                    self._inputs(self.reader(self.rows[order[rows]]), seed), forward
                )  # type: ignore[misc]
                for rows, seed in zip(slices, seeds, strict=True)
            ),
        )

    @property
    def is_selectable(self) -> bool:
        """Return whether the algorithm allows that the epoch which has just ended is selected."""
        return self.algorithm is None or self.algorithm.is_selectable

    @property
    def _is_schedule_free(self) -> bool:
        """Return whether the optimizer uses different weights for training and for evaluation."""
        return hasattr(self.optimizer, "eval")

    @property
    def halved(self) -> bool:
        """Return whether memory was too small for the configured micro-batch."""
        return self.micro < self.configured_micro

    def set_lr(self, factor: float) -> None:
        """Set the learning rate of each parameter group to `factor` times the group's peak learning rate."""
        for group, lr in zip(self.optimizer.param_groups, self.peak_lr, strict=True):
            group["lr"] = lr * factor

    def __call__(self, indices: NDArray[np.int64], epoch: int, step: int) -> Tensor:
        """Take the step on the training images at `indices`; return the mean loss, still on the device.

        Raises TooLargeError when memory runs out with the smallest micro-batch.
        """
        own = self.own_indices(indices)
        image_NHW = self.reader(self.rows[own])
        own_N = to_device(torch.from_numpy(own), self.device)
        batch_N = own_N if own is indices else to_device(torch.from_numpy(indices), self.device)
        has_weight = self.has_weight_N is None or bool(self.has_weight_N[indices].any())
        while (loss := self._try_step(image_NHW, own_N, batch_N, has_weight, epoch, step)) is None:
            self._halve(len(indices), epoch, step)
        self.training_loss.after_step()
        if self.algorithm is not None and self.algorithm.after_step(self.network):
            self._reset_optimizer()
        if self.ema:
            self.ema.update(self.network)
        return loss

    def _reset_optimizer(self) -> None:
        """Replace the optimizer by a new one with the same learning rates."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer = self._new_optimizer()
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        if self._is_schedule_free:
            self.optimizer.train()  # type: ignore[attr-defined]

    def own_indices(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those `indices` of a batch that this process of the data-parallel group handles."""
        if self.processes.size == 1:
            return indices
        slices = self.processes.own_items(self._micro_batches(len(indices)))
        return np.concatenate([indices[rows] for rows in slices])

    def _micro_batches(self, size: int) -> list[slice]:
        """Return the micro-batches of a batch of `size` images."""
        return [slice(start, min(start + self.micro, size)) for start in range(0, size, self.micro)]

    def _try_step(
        self, image_NHW: Tensor, own_N: Tensor, batch_N: Tensor, has_weight: bool, epoch: int, step: int
    ) -> Tensor | None:
        """Return the loss of the step; if memory runs out in a pass, restore the state before the step and return None."""
        evaluations = self.gradient_evaluations
        self.buffers.save()
        rank = () if self.processes.is_main else (self.processes.rank,)
        seed_device(seed_for(self.seed, "dropout", epoch, step, *rank), self.device)
        try:
            return self._take_step(image_NHW, own_N, batch_N, has_weight, epoch, step)
        except torch.OutOfMemoryError:
            if not self.in_pass:
                # memory ran out in the optimizer, which may have changed some weights, so the step cannot be repeated
                raise
        self.in_pass, self.gradient_evaluations = False, evaluations
        self.optimizer.zero_grad(set_to_none=True)
        self.buffers.restore()
        return None

    def _take_step(
        self, image_NHW: Tensor, own_N: Tensor, batch_N: Tensor, has_weight: bool, epoch: int, step: int
    ) -> Tensor:
        """Return the loss of one optimizer step.

        `image_NHW` and `own_N` are the images of this process and their indices, ordered by micro-batch. `batch_N` has
        the indices of the entire batch.
        """
        slices = self._micro_batches(len(batch_N))
        # the loss of a micro-batch is multiplied by its share of the total weight; a single micro-batch has share 1
        total_weight = None
        if not has_weight or len(slices) > 1:
            total_weight = self.training_loss.weight(batch_N).clamp(min=1e-8)

        def forward_backward() -> Tensor:
            total: Tensor | None = None
            num_done = 0
            for number, rows in enumerate(slices):
                if number % self.processes.size != self.processes.rank:
                    self.batch_norm.skip()
                    continue
                seed = seed_for(self.seed, "augment", epoch, step, rows.start) if self.augment else 0
                own_rows = slice(num_done, num_done + rows.stop - rows.start)
                num_done = own_rows.stop
                image, index_N = (image_NHW, own_N) if len(slices) == 1 else (image_NHW[own_rows], own_N[own_rows])
                loss = self._loss(image, index_N, seed, epoch, step)
                if total_weight is not None:
                    loss = loss * (self.training_loss.weight(index_N) / total_weight)
                (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
                total = loss.detach() if total is None else total + loss.detach()
            return cast("Tensor", total)

        def closure() -> Tensor:
            self.in_pass = True
            self.gradient_evaluations += 1
            self.optimizer.zero_grad(set_to_none=True)
            with self.batch_norm.shared():
                total = forward_backward()
            weights = (weight for group in self.optimizer.param_groups for weight in group["params"])
            self.processes.all_reduce([*(weight.grad for weight in weights if weight.grad is not None), total])
            if self.scaler is None:
                self._clip()
            self.in_pass = False
            return total

        if self.scaler is None:
            # the loss is not copied to the CPU, so that a GPU does not have to wait
            return cast("Tensor", self.optimizer.step(closure))  # type: ignore[arg-type]
        loss = closure()
        self.scaler.unscale_(self.optimizer)
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _halve(self, size: int, epoch: int, step: int) -> None:
        """Halve the micro-batch for batches of `size` images, so that no micro-batch has only one image.

        Batch norm cannot compute a variance from one image. Raises TooLargeError if a smaller micro-batch is impossible.
        """
        before = min(self.micro, size)
        if self.processes.size > 1:
            raise TooLargeError(f"memory ran out in a forward pass of {before} images; lower schedule.micro_batch")
        smaller = [micro for micro in range(before // 2, 1, -1) if size % micro != 1]
        if self.schedule.sampling == "balanced" or self.group_N is not None or not smaller:
            fixed = "the algorithm needs whole batches"
            if self.group_N is None:
                fixed = "balanced sampling fixes the micro-batch"
            why = fixed if smaller else "the batch cannot be split further"
            raise TooLargeError(
                f"memory ran out in a forward pass of {before} images, and {why}; "
                "lower schedule.micro_batch or the image size"
            )
        self.micro = smaller[0]
        torch.cuda.empty_cache()
        message = (
            "memory ran out in epoch %d, step %d: forward passes now have %d images instead of %d; the batch stays %d"
        )
        _log.warning(message, epoch, step + 1, self.micro, before, size)

    def state_dict(self) -> dict[str, Any]:
        """Return all state that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "objective": self.training_loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "phase": self.phase,
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "average": self.ema.module.state_dict() if self.ema else {},
            "gradient_evaluations": self.gradient_evaluations,
            "micro": self.micro,
            **({} if self.algorithm is None else {"algorithm": self.algorithm.state_dict()}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        if state["phase"] != self.phase:
            self._begin_phase(state["phase"])
        self.network.load_state_dict(state["network"])
        self.training_loss.load_state_dict(state["objective"])
        load_optimizer_state(self.optimizer, state["optimizer"])
        if self.algorithm is not None:
            self.algorithm.load_state_dict(state["algorithm"])
            self._multiply_weights()
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(state["average"])
        self.gradient_evaluations, self.micro = state["gradient_evaluations"], state["micro"]

    def _clip(self) -> None:
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)

    def _loss(self, image_NHW: Tensor, index_N: Tensor, augment_seed: int, epoch: int, step: int) -> Tensor:
        """Return the loss of the training images at the indices `index_N`, as the algorithm of the run computes it."""
        x_NCHW = self._inputs(image_NHW, augment_seed)
        if self.algorithm is None:
            return cast("Tensor", self.training_loss(self._forward(x_NCHW), index_N))
        batch = Batch(
            x_NCHW,
            index_N,
            None if self.group_N is None else self.group_N[index_N],
            self._forward,
            output_layers(self.network)[0],
            self.training_loss,
            seed_for(self.seed, "algorithm", epoch, step),
        )
        return cast("Tensor", self.algorithm(batch))

    def _inputs(self, image_NHW: Tensor, augment_seed: int) -> Tensor:
        """Return the augmented and normalized images [N, C, H, W]."""
        changed = partial(self.augment, seed=augment_seed, **self.augment_options) if self.augment else None
        return self.normalizer(image_NHW, changed, of_bytes=self.augments_bytes).contiguous(
            memory_format=torch.channels_last
        )

    def _forward(self, x_NCHW: Tensor, forward: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the outputs of the trained network, or of another with the forward pass `forward`."""
        with torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
            return (forward or self.forward)(x_NCHW)
