"""Construction of an optimizer over a network's weights from a registry entry."""

from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bench.config.registry import Entry
from harmonize.errors import ConfigError


def build(
    use: str | Callable[..., Optimizer],
    options: Mapping[str, Any],
    network: nn.Module,
    lr: float | None = None,
    weight_decay: float | None = None,
    loss_parameters: Sequence[nn.Parameter] = (),
) -> Optimizer:
    """Return the optimizer of an entry; `lr` and `weight_decay` override the entry's options.

    `loss_parameters` learn with the network's weights, in their own parameter group without weight decay.
    Every optimizer is used as `step(closure)`. The closure calls zero_grad, forward, backward and clipping, and returns
    the loss. An optimizer with a `network` argument gets the network. `use_fused` decides whether to use fused kernels.
    Raises ConfigError for options that the optimizer does not take.
    """
    optimizer_class = Entry("optimizers", use, use).load() if isinstance(use, str) else use
    arguments = dict(options)
    if lr is not None:
        arguments["lr"] = lr
    if weight_decay is not None:
        arguments["weight_decay"] = weight_decay
    if "network" in signature(optimizer_class).parameters:
        arguments["network"] = network
    groups = decay_groups(network, arguments.get("weight_decay"))
    if loss_parameters:
        groups.append({"params": list(loss_parameters), "weight_decay": 0.0})
    if use_fused(optimizer_class, arguments, {p.device.type for group in groups for p in group["params"]}):
        arguments["fused"] = True
    try:
        return optimizer_class(groups, **arguments)
    except (TypeError, ValueError) as error:
        name = getattr(optimizer_class, "__name__", str(use))
        raise ConfigError(f"cannot build the optimizer: {error}", name, "correct its `with:` options") from error


def use_fused(optimizer_class: Callable[..., Optimizer], options: Mapping[str, Any], devices: Collection[str]) -> bool:
    """Return whether to use torch's fused kernel: for Adam and AdamW on a GPU, unless the options choose an implementation.

    On a CPU, the fused kernel would save only 1 % of a step. In addition, torch (2.15) gives wrong results on a CPU,
    without an error, when a gradient has another memory layout than its weight. On a GPU, torch raises an error for such
    gradients.
    SGD never uses the fused kernel, which reads uninitialized momentum when the first fp16 step overflows.
    """
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(options)
    return optimizer_class in (torch.optim.Adam, torch.optim.AdamW) and set(devices) == {"cuda"} and not chosen


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load a stored state, but keep this optimizer's `fused` setting.

    The setting of the state may be wrong, because the state may come from another kind of device.
    """
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [{**stored, "fused": own["fused"]} if "fused" in own else stored for stored, own in pairs]
    optimizer.load_state_dict({**state, "param_groups": groups})


def decay_groups(network: nn.Module, weight_decay: float | None) -> list[dict[str, Any]]:
    """Return the trainable weights in one or two parameter groups: weights with decay, and weights without decay.

    Biases and norms, which have at most one axis, never decay. With `weight_decay` None, the other weights have the
    optimizer's default decay. An empty group is left out.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    with_decay: dict[str, Any] = {"params": [p for p in trainable if p.ndim > 1]}
    if weight_decay is not None:
        with_decay["weight_decay"] = weight_decay
    without_decay = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    return [group for group in (with_decay, without_decay) if group["params"]]
