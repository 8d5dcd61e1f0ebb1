"""Cost of a network: parameters, multiply-accumulates and images per second.

Every number is measured at the resolution of the run, without data loading. Some networks (RepVGG: Ding et al. 2021,
arXiv:2101.03697) are trained in one form and deployed in another form with fewer operations. Parameters are counted in
both forms, operations in the deployed form (`Network.deployed`).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Self

import torch
from torch import nn

from bench.config.run_config import RunConfig
from bench.models.attentive_pooling import AttentivePooling
from bench.models.lora import Lora
from bench.models.network import Network
from bench.models.output_layers import output_layers
from bench.models.predict import images_per_pass


@dataclass(frozen=True, slots=True)
class Cost:
    """Size of a network, and operations of one forward pass with one image."""

    params: int
    macs: int  # multiply-accumulates, as counted by fvcore (which calls them flops)
    unsupported: tuple[str, ...]  # ops that fvcore cannot count, each as "name:number of calls"

    @classmethod
    def of(cls, network: Network, size: int) -> Self:
        """Return the cost of one forward pass of one image of size x size pixels. The network is not changed."""
        params = list(network.parameters())
        image = torch.zeros(1, network.in_channels, size, size, device=params[0].device)
        with _evaluating(network), _quiet():
            # imported inside the `_quiet` block, because the import also prints warnings
            from fvcore.nn import FlopCountAnalysis

            analysis = (
                FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            )
            macs = int(analysis.total())
            unsupported = analysis.unsupported_ops()
        return cls(
            params=sum(p.numel() for p in params),
            macs=macs,
            unsupported=tuple(f"{name}:{times}" for name, times in sorted(unsupported.items())),
        )

    @staticmethod
    def num_trainable(network: Network, config: RunConfig) -> int:
        """Return the number of parameters that training changes in a network of a run; 0 with prompts.

        With LoRA, these are the entries of the trained matrices, which the stored network does not have.
        """
        if config.head == "own":
            return sum(p.numel() for p in network.parameters())
        learned = [*output_layers(network), *(m for m in network.modules() if isinstance(m, AttentivePooling))]
        changes = [m.in_features + m.out_features for m in Lora.layers(network)] if config.head == "lora" else []
        return config.lora.rank * sum(changes) + sum(p.numel() for module in learned for p in module.parameters())

    @property
    def flops(self) -> int:
        """Return the floating-point operations: two for each multiply-accumulate."""
        return 2 * self.macs


def counts(network: Network, deployed: Network, size: int, config: RunConfig) -> dict[str, Any]:
    """Return the entries of cost.json that depend only on the network of a run and on the size of its input. Nothing is timed.

    Operations (macs, flops, not_counted) are those of the deployed form.
    """
    in_use = Cost.of(deployed, size)
    trained = in_use if deployed is network else Cost.of(network, size)
    return {
        "params": trained.params,
        "trainable_params": Cost.num_trainable(network, config),
        "deployed_params": in_use.params,
        "macs": in_use.macs,
        "flops": in_use.flops,
        "not_counted": list(in_use.unsupported),
        "image_size": size,
    }


def throughput(
    network: Network, size: int, device: torch.device, batch: int | None = None, precision: torch.dtype | None = None
) -> float:
    """Return images per second of inference: the median over timed passes of one fixed batch.

    The network must be on `device`. `precision` is autocast's type, None for float32. `batch` is the number of images
    in the batch; None means 64 on a GPU and 4 on a CPU, or fewer if `size` exceeds 512 pixels. On a GPU, 10 warm-up and
    30 timed passes are made, in at most about 60 s. On a CPU, the result is a rough estimate from the passes of about
    one second.
    """
    on_gpu = device.type == "cuda"
    default_batch, warmup, limit_s = (64, 10, 60.0) if on_gpu else (4, 1, 1.0)
    images = torch.zeros(batch or images_per_pass(default_batch, size), network.in_channels, size, size, device=device)
    if on_gpu:
        images = images.contiguous(memory_format=torch.channels_last)
    seconds: list[float] = []
    deadline = perf_counter() + limit_s
    autocast = torch.autocast(device.type, precision, enabled=precision is not None)
    with _evaluating(network), torch.inference_mode(), autocast:
        for done in range(warmup + 30):
            start = _now(device)
            network(images)
            end = _now(device)
            if done >= warmup or end > deadline:
                seconds.append(end - start)
            if end > deadline:
                break
    return len(images) / median(seconds)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode during the block; afterwards restore the mode of each module."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings during the block: those of fvcore, and those of torch's tracer about constant shapes and torch.jit."""
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
