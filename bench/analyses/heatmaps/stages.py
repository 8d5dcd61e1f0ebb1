"""Feature-map stages of a backbone: modules whose output all of the computation passes through.

A heat map inside a residual block would miss the evidence that passes through the shortcut, so it is not a stage.

N images, C channels, h and w sizes of the maps.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.network import Network
from harmonize.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stage:
    """The last feature maps of one size; `module` is the name of the module that outputs them, "" for the backbone."""

    module: str
    height: int
    width: int


def stages(network: Network, height: int, width: int) -> tuple[Stage, ...]:
    """Return the stages for images of this size, the largest maps first; the last stage is the input of the head.

    The backbone runs once on torch's meta device, which computes only shapes. A module ends a stage if every path of the
    autograd graph from the features to the image passes its output, and if it is the last such module of its size.
    Raises ConfigError for a network without feature maps, such as a transformer.
    """
    return _trace(network, height, width)[0]


def parts(network: Network, height: int, width: int) -> dict[str, list[nn.Module]]:
    """Return the modules with weights by depth: "head" first, then stage by stage down to "stem".

    "after 8 x 8" are the modules between the stage of that size and the next one; "stem" those before the first stage.
    """
    found_stages, called = _trace(network, height, width)
    call_index = {name: k for k, name in enumerate(called)}
    ends = [call_index[stage.module] for stage in found_stages[:-1]]
    names = ["stem", *(f"after {stage.height} x {stage.width}" for stage in found_stages[:-1]), "head"]
    by_depth: dict[str, list[nn.Module]] = {name: [] for name in reversed(names)}
    for name, module in network.backbone.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            by_depth[names[bisect_left(ends, call_index[name])] if name in call_index else "head"].append(module)
    return {name: modules for name, modules in by_depth.items() if modules}


def _trace(network: Network, height: int, width: int) -> tuple[tuple[Stage, ...], list[str]]:
    """Return the stages, and the names of the modules before the head in the order in which they finish."""
    image = torch.empty(1, network.in_channels, height, width, device="meta", requires_grad=True)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shadow = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    given: dict[str, tuple[Tensor, ...]] = {}
    nodes: dict[str, list[Any]] = {}
    calls: Counter[str] = Counter()

    def note(name: str, output: object) -> None:
        calls[name] += 1
        maps = output if isinstance(output, tuple) else (output,)  # a dual-path block returns two
        if all(isinstance(m, Tensor) and m.ndim == 4 and m.shape[2:] == maps[0].shape[2:] for m in maps):
            given[name], nodes[name] = (
                maps,
                [m.grad_fn for m in maps],
            )  # taken now, because in-place operations change grad_fn

    names = {module: name for name, module in network.backbone.named_modules() if name}
    hooks = [m.register_forward_hook(lambda module, _, out: note(names[module], out)) for m in names]
    try:
        with still(network), torch.enable_grad():
            features: Tensor = functional_call(_Features(network.backbone), shadow, (image,))
    finally:
        for hook in hooks:
            hook.remove()
    check_maps(network, features)
    towards, onwards = _paths(features.grad_fn)
    last: dict[tuple[int, int], Stage] = {}
    for name, maps in given.items():
        passing = sum(towards.get(node, 0) * onwards.get(node, 0) for node in nodes[name])
        if calls[name] == 1 and passing == onwards[features.grad_fn]:
            size = (int(maps[0].shape[2]), int(maps[0].shape[3]))
            last[size] = Stage(name, *size)
    final = (int(features.shape[2]), int(features.shape[3]))
    found = [stage for size, stage in last.items() if size != final]
    return (*sorted(found, key=lambda s: -s.height * s.width), Stage("", *final)), list(calls)


def check_maps(network: Network, features: Tensor) -> None:
    """Raise ConfigError unless the features of a network are maps [N, C, h, w]."""
    channels = getattr(network.backbone, "num_features", None)
    if features.ndim != 4 or (isinstance(channels, int) and channels not in features.shape[1:2]):
        kind = type(network.backbone).__name__
        fix = "heat maps are made for convolutional networks; use an architecture of `bench list architectures`"
        raise ConfigError(f"{kind} has no feature maps: its features have the shape {[*features.shape]}", kind, fix)


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Hold a network still for a while: evaluation mode, no parameter asks for a gradient; then all as it was."""
    modes = [(module, module.training) for module in network.modules()]
    learning = [p for p in network.parameters() if p.requires_grad]
    try:
        network.eval()
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in learning:
            parameter.requires_grad_(True)


class _Features(nn.Module):
    """A backbone without its head."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x_NCHW: Tensor) -> Tensor:
        features: Tensor = self.backbone.forward_features(x_NCHW)  # type: ignore[operator]
        return features


def _paths(end: Any) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return, for each node of the autograd graph below `end`, how many paths lead to it and from it to the image."""
    onwards: dict[Any, int] = {}
    todo = [end]
    while todo:
        node = todo[-1]
        if node in onwards:
            todo.pop()
            continue
        below = [n for n, _ in node.next_functions if n is not None]
        waiting = [n for n in below if n not in onwards]
        if waiting:
            todo += waiting
        else:
            onwards[todo.pop()] = sum(onwards[n] for n in below) if below else 1
    towards = dict.fromkeys(onwards, 0)
    towards[end] = 1
    for node in reversed(onwards):  # each node was entered after all that lies below it
        for below, _ in node.next_functions:
            if below is not None:
                towards[below] += towards[node]
    return towards, onwards
