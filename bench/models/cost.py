"""Cost of a network: parameters, multiply-accumulates and images per second.

Every number is measured at the resolution of the run, without data loading. Some networks (RepVGG: Ding et al. 2021,
arXiv:2101.03697) are trained in one form and deployed in another form with fewer operations. Parameters are counted in
both forms, operations in the deployed form (`Network.deployed`).
"""

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
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
    macs: int  # multiply-accumulates, as counted by fvcore (which calls them flops), with attention
    not_counted: tuple[str, ...]  # other operations of more than 1 % of `macs`, each as "silu 1.6 %"

    @classmethod
    def of(cls, network: Network, size: int) -> Self:
        """Return the cost of one forward pass of one image of size x size pixels. The network is not changed."""
        params = list(network.parameters())
        image = torch.zeros(1, network.in_channels, size, size, device=params[0].device)
        with _evaluating(network), _quiet():
            # imported inside the `_quiet` block, because the import also prints warnings
            from fvcore.nn import FlopCountAnalysis
            from fvcore.nn.jit_handles import get_shape

            others: Counter[str] = Counter()

            class Analysis(FlopCountAnalysis):  # type: ignore[misc]  # fvcore is not typed
                def _should_ignore_node(self, node: Any) -> bool:
                    """Count the elements that an operation without a handler writes."""
                    if super()._should_ignore_node(node):
                        return True
                    shapes = filter(None, map(get_shape, node.outputs()))
                    others[node.kind().rpartition("::")[2].rstrip("_")] += sum(map(prod, shapes))
                    return False

            analysis = Analysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.set_op_handle(
                "aten::scaled_dot_product_attention", lambda inputs, _: _attention(*map(get_shape, inputs[:3]))
            )
            macs = int(analysis.total())
        return cls(
            params=sum(p.numel() for p in params),
            macs=macs,
            not_counted=tuple(
                f"{name} {100 * times / macs:.1f} %" for name, times in sorted(others.items()) if times > macs / 100
            ),
        )

    @staticmethod
    def num_trainable(network: Network, config: RunConfig) -> int:
        """Return the number of parameters that training changes in a network of a run; 0 with prompts.

        With LoRA, these are the entries of the trained matrices, which the stored network does not have.
        """
        if config.head == "own":
            return sum(p.numel() for p in network.parameters())
        learned = [*output_layers(network), *(m for m in network.modules() if isinstance(m, AttentivePooling))]
        changes = [sum(m.weight.shape) for m in Lora.layers(network)] if config.head == "lora" else []
        return config.lora.rank * sum(changes) + sum(p.numel() for module in learned for p in module.parameters())

    @property
    def flops(self) -> int:
        """Return the floating-point operations: two for each multiply-accumulate."""
        return 2 * self.macs


def counts(network: Network, deployed: Network, size: int, config: RunConfig) -> dict[str, Any]:
    """Return the entries of cost.json that depend only on the network of a run and on the size of its input. Nothing is timed.

    Operations (macs, flops, not_counted) are of the deployed form.
    """
    in_use = Cost.of(deployed, size)
    trained = in_use if deployed is network else Cost.of(network, size)
    return {
        "params": trained.params,
        "trainable_params": Cost.num_trainable(network, config),
        "deployed_params": in_use.params,
        "macs": in_use.macs,
        "flops": in_use.flops,
        "not_counted": list(in_use.not_counted),
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


def _attention(query: list[int], key: list[int], value: list[int]) -> int:
    """Return the multiply-accumulates of scaled dot-product attention, which are two matrix products.

    >>> _attention([1, 3, 197, 64], [1, 3, 197, 64], [1, 3, 197, 64])  # a layer of ViT-Ti
    14902656
    """
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


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
    """Silence warnings of fvcore, and warnings of torch's tracer about constant shapes and torch.jit, during the block."""
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
