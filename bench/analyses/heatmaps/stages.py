"""Stages of a backbone: feature maps that every computation from the image to the head passes through.

Feature maps inside a residual block are not a stage: their heat maps would miss the evidence in the skip connection.

Shapes: N images, C channels, h and w pixels of the feature maps.
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
    """The last feature maps of one size in a backbone."""

    module: str  # name of the module that outputs the maps, "" for the backbone itself
    height: int
    width: int


def stages(network: Network, height: int, width: int) -> tuple[Stage, ...]:
    """Return the stages for images of height x width, largest maps first; the last stage is the input of the head.

    The backbone runs once on torch's meta device, which computes only shapes. A module qualifies if every path in the
    autograd graph from the features to the image passes the module's output. Of the qualified modules with maps of one
    size, the last module ends the stage. Raises ConfigError for a network without feature maps, such as a transformer.
    """
    return _trace(network, height, width)[0]


def modules_by_depth(network: Network, height: int, width: int) -> dict[str, list[nn.Module]]:
    """Return the modules with weights, grouped by depth: name of the group -> modules, from "head" to "stem".

    "after 8 x 8" has the modules between the stage with 8 x 8 maps and the next stage. "stem" has the modules up to the
    first stage.
    """
    stage_list, module_order = _trace(network, height, width)
    call_index = {name: k for k, name in enumerate(module_order)}
    ends = [call_index[stage.module] for stage in stage_list[:-1]]
    names = ["stem", *(f"after {stage.height} x {stage.width}" for stage in stage_list[:-1]), "head"]
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
    maps_by_module: dict[str, tuple[Tensor, ...]] = {}
    nodes: dict[str, list[Any]] = {}
    calls: Counter[str] = Counter()

    def record(name: str, output: object) -> None:
        calls[name] += 1
        # A dual-path block returns two tensors.
        maps = output if isinstance(output, tuple) else (output,)
        if all(isinstance(m, Tensor) and m.ndim == 4 and m.shape[2:] == maps[0].shape[2:] for m in maps):
            maps_by_module[name] = maps
            nodes[name] = [m.grad_fn for m in maps]  # read now, because in-place operations change grad_fn

    names = {module: name for name, module in network.backbone.named_modules() if name}
    hooks = [m.register_forward_hook(lambda module, _, out: record(names[module], out)) for m in names]
    try:
        with frozen(network), torch.enable_grad():
            features: Tensor = functional_call(_Features(network.backbone), shadow, (image,))
    finally:
        for hook in hooks:
            hook.remove()
    check_maps(network, features)
    paths_from_end, paths_to_image = _paths(features.grad_fn)
    stage_of_size: dict[tuple[int, int], Stage] = {}
    for name, maps in maps_by_module.items():
        num_paths = sum(paths_from_end.get(node, 0) * paths_to_image.get(node, 0) for node in nodes[name])
        if calls[name] == 1 and num_paths == paths_to_image[features.grad_fn]:
            size = (int(maps[0].shape[2]), int(maps[0].shape[3]))
            stage_of_size[size] = Stage(name, *size)
    final = (int(features.shape[2]), int(features.shape[3]))
    inner_stages = [stage for size, stage in stage_of_size.items() if size != final]
    return (*sorted(inner_stages, key=lambda s: -s.height * s.width), Stage("", *final)), list(calls)


def check_maps(network: Network, features: Tensor) -> None:
    """Raise ConfigError unless the features of a network are maps [N, C, h, w]."""
    channels = getattr(network.backbone, "num_features", None)
    if features.ndim != 4 or (isinstance(channels, int) and channels not in features.shape[1:2]):
        kind = type(network.backbone).__name__
        fix = "heat maps are made for convolutional networks; use an architecture of `bench list architectures`"
        raise ConfigError(f"{kind} has no feature maps: its features have the shape {[*features.shape]}", kind, fix)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients of its parameters, inside the `with` block.

    After the block, each module has its previous mode, and each parameter its previous gradient setting.
    """
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
    """Count paths for each node of the autograd graph: from `end` to the node, and from the node to the image."""
    paths_to_image: dict[Any, int] = {}
    todo = [end]
    while todo:
        node = todo[-1]
        if node in paths_to_image:
            todo.pop()
            continue
        below = [n for n, _ in node.next_functions if n is not None]
        unvisited = [n for n in below if n not in paths_to_image]
        if unvisited:
            todo += unvisited
        else:
            paths_to_image[todo.pop()] = sum(paths_to_image[n] for n in below) if below else 1
    paths_from_end = dict.fromkeys(paths_to_image, 0)
    paths_from_end[end] = 1
    for node in reversed(paths_to_image):  # in this order, each node comes before the nodes that it was computed from
        for below, _ in node.next_functions:
            if below is not None:
                paths_from_end[below] += paths_from_end[node]
    return paths_from_end, paths_to_image
