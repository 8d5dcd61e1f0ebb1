"""From a registry entry to an optimizer over a network's weights."""

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
    others: Sequence[nn.Parameter] = (),
) -> Optimizer:
    """Return the optimizer of an entry; `lr` and `weight_decay` override its own options.

    `others` are parameters of the loss: they learn with the network's, in a group of their own, and never decay.

    torch's own are fused where `fused_on` says so, unless the options say otherwise.
    Every optimizer is driven by `step(closure)`, where the closure does zero_grad, forward, backward, clipping, and
    returns the loss. An optimizer that asks for `network` gets it. Raises ConfigError for options it does not take.
    """
    kind = Entry("optimizers", use, use).load() if isinstance(use, str) else use
    given = dict(options)
    if lr is not None:
        given["lr"] = lr
    if weight_decay is not None:
        given["weight_decay"] = weight_decay
    if "network" in signature(kind).parameters:
        given["network"] = network
    groups = decay_groups(network, given.get("weight_decay"))
    if others:
        groups.append({"params": list(others), "weight_decay": 0.0})
    if fused_on(kind, given, {p.device.type for group in groups for p in group["params"]}):
        given["fused"] = True
    try:
        return kind(groups, **given)
    except (TypeError, ValueError) as error:
        name = getattr(kind, "__name__", str(use))
        raise ConfigError(f"cannot build the optimizer: {error}", name, "correct its `with:` options") from error


def fused_on(kind: Callable[..., Optimizer], options: Mapping[str, Any], devices: Collection[str]) -> bool:
    """Whether Adam and AdamW of torch are to take their step in one kernel for all weights: on a GPU, where no option says how.

    On a CPU they are not: the optimizer's part takes half the time, which is 1 % of a step with its passes, and torch (2.15)
    then reads a gradient as if it lay in memory as its weight does, and is silently wrong where it does not; on a GPU it
    refuses such gradients. SGD is not: torch's fused one takes its momentum from memory that nobody wrote when the first
    step of fp16 overflows.
    """
    said = {"fused", "foreach", "capturable", "differentiable"} & set(options)
    return kind in (torch.optim.Adam, torch.optim.AdamW) and set(devices) == {"cuda"} and not said


def take_up(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Go on from a stored state, fused or not as this optimizer is: the state may come from another kind of device."""
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [{**stored, "fused": own["fused"]} if "fused" in own else stored for stored, own in pairs]
    optimizer.load_state_dict({**state, "param_groups": groups})


def decay_groups(network: nn.Module, weight_decay: float | None) -> list[dict[str, Any]]:
    """Return the trainable weights in one or two groups: biases and norms (at most one axis) never decay.

    With `weight_decay` None the first group is left to the optimizer's default.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    decayed: dict[str, Any] = {"params": [p for p in trainable if p.ndim > 1]}
    if weight_decay is not None:
        decayed["weight_decay"] = weight_decay
    free = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    return [group for group in (decayed, free) if group["params"]]
