"""Stages of a backbone: feature maps that every computation from the image to the head passes through.

Feature maps inside a residual block are not a stage: their heat maps would miss the evidence in the skip connection.

The feature maps of a transformer are its patch tokens, arranged like the patches in the image. Prefix tokens (class
token, registers) have no position and are left out. If the head reads only the class token, the patch tokens of the last
block do not affect the logits. The last stage is then the output of the last block whose patch tokens do.

Shapes: N images, C channels, h and w pixels of the feature maps, T tokens.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from re import fullmatch
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bench.models.network import Network
from harmonize.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stage:
    """The last feature maps of one size in a backbone."""

    module: str  # name of the module that outputs the maps, "" for the backbone itself
    height: int
    width: int
    layout: Literal["NCHW", "NHWC", "tokens"] = "NCHW"  # of the module's output

    def maps(self, output: Tensor, backbone: nn.Module) -> Tensor:
        """Return the module's output, or its gradient, as maps [N, C, h, w]."""
        if self.layout == "NCHW":
            return output
        if self.layout == "NHWC":
            return output.permute(0, 3, 1, 2)
        patches_NTC = output[:, output.shape[1] - self.height * self.width :]
        if hasattr(backbone, "reroll"):  # Hiera sorts its tokens by mask units
            block = int(self.module.rpartition(".")[2]) if self.module else len(backbone.blocks) - 1  # type: ignore[arg-type]
            arranged: Tensor = backbone.reroll(patches_NTC, block)  # type: ignore[operator]
            return arranged.permute(0, 3, 1, 2)
        return patches_NTC.transpose(1, 2).reshape(len(output), output.shape[2], self.height, self.width)


_known: "WeakKeyDictionary[Network, dict[tuple[int, int], tuple[Stage, ...]]]" = WeakKeyDictionary()


def stages(network: Network, height: int, width: int) -> tuple[Stage, ...]:
    """Return the stages for images of height x width, largest maps first; the last stage is the input of the head.

    The backbone runs once, on a random image. A module qualifies if every path in the autograd graph from the features
    to the image passes the module's output. Of the qualified modules with maps of one size, the last module ends the
    stage. In a backbone with tokens, a module qualifies only if its patch tokens also affect the input of the last linear
    layer. Raises ConfigError for a network without feature maps. The stages of maps are kept as long as the network exists:
    they do not depend on its weights.
    """
    known = _known.setdefault(network, {})
    if (height, width) in known:
        return known[height, width]
    found = _trace(network, height, width)
    if all(stage.layout == "NCHW" for stage in found):
        known[height, width] = found
    return found


def _trace(network: Network, height: int, width: int) -> tuple[Stage, ...]:
    """Run the backbone once and return its stages."""
    backbone, parameter = network.backbone, next(network.parameters(), torch.empty(0))
    image = torch.randn(1, network.in_channels, height, width, generator=torch.Generator().manual_seed(0))
    with frozen(network), torch.enable_grad():
        with _recorded(backbone) as record:
            features: Tensor = backbone.forward_features(image.to(parameter).requires_grad_())  # type: ignore[operator]
        if not isinstance(features, Tensor) or features.grad_fn is None:
            raise _no_maps(network, features)
        if is_maps(network, features):
            return _trace_maps(features, record, height, width)
        return _trace_tokens(network, features, record, height, width)


def _trace_maps(features: Tensor, record: "_Record", height: int, width: int) -> tuple[Stage, ...]:
    """Return the stages of a backbone with feature maps, from its forward pass."""
    paths_from_end, paths_to_image = _paths(features.grad_fn)
    stage_of_size: dict[tuple[int, int], Stage] = {}
    for name, maps in record.outputs.items():
        if not all(m.ndim == 4 and m.shape[2:] == maps[0].shape[2:] for m in maps):
            continue
        num_paths = sum(paths_from_end.get(node, 0) * paths_to_image.get(node, 0) for node in record.nodes[name])
        rows, columns = int(maps[0].shape[2]), int(maps[0].shape[3])
        # some blocks of convolutional transformers return [1, h, w, C], so their last sizes have another aspect ratio
        is_image = abs(rows * width - columns * height) <= max(height, width)
        if record.calls[name] == 1 and num_paths == paths_to_image[features.grad_fn] and is_image:
            stage_of_size[rows, columns] = Stage(name, rows, columns)
    return _by_size(stage_of_size, Stage("", int(features.shape[2]), int(features.shape[3])))


def _trace_tokens(network: Network, features: Tensor, record: "_Record", height: int, width: int) -> tuple[Stage, ...]:
    """Return the stages of a backbone with tokens, from its forward pass and one backward pass."""
    backbone = network.backbone
    pooled: Tensor = backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
    paths_from_end, paths_to_image = _paths(features.grad_fn)
    cuts: list[tuple[Stage, Tensor]] = []
    for name, outputs in record.outputs.items():
        node = record.nodes[name][0]
        # a cut must lie on every path from the image to the end: the paths through it are then all paths
        num_paths = paths_from_end.get(node, 0) * paths_to_image.get(node, 0)
        stage = _token_stage(name, outputs[0], backbone, height, width) if len(outputs) == 1 else None
        if record.calls[name] == 1 and num_paths == paths_to_image[features.grad_fn] and stage is not None:
            cuts.append((stage, outputs[0]))
    final = _token_stage("", features, backbone, height, width)
    if final is not None:
        cuts.append((final, features))
    # in a random direction, a gradient is zero only if the maps have no effect on the end
    direction = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(pooled)
    gradients = torch.autograd.grad(pooled, [t for _, t in cuts], direction, allow_unused=True) if cuts else ()
    usable = [
        stage
        for (stage, _), gradient in zip(cuts, gradients, strict=True)
        if gradient is not None and bool(stage.maps(gradient, backbone).any())
    ]
    if not usable:
        raise _no_maps(network, features)
    last = usable[-1]
    stage_of_size = {(stage.height, stage.width): stage for stage in usable}
    return _by_size(stage_of_size, last)


def _by_size(stage_of_size: dict[tuple[int, int], Stage], last: Stage) -> tuple[Stage, ...]:
    inner = [stage for size, stage in stage_of_size.items() if size != (last.height, last.width)]
    return (*sorted(inner, key=lambda s: -s.height * s.width), last)


def _token_stage(module: str, output: Tensor, backbone: nn.Module, height: int, width: int) -> Stage | None:
    """Return the stage with this output of a module; None if the output is not one token for each patch."""
    reductions = {int(info["reduction"]) for info in getattr(backbone, "feature_info", ()) if "reduction" in info}

    def is_grid(rows: int, columns: int) -> bool:
        if reductions:
            return any(
                (rows, columns) in {(height // r, width // r), (-(-height // r), -(-width // r))} for r in reductions
            )
        return rows * width == columns * height

    if len(output) != 1:
        return None
    if output.ndim == 4:
        layout: Literal["NCHW", "NHWC"] = "NHWC" if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else "NCHW"
        rows, columns = output.shape[1:3] if layout == "NHWC" else output.shape[2:]
        return Stage(module, int(rows), int(columns), layout) if is_grid(int(rows), int(columns)) else None
    if output.ndim != 3 or (hasattr(backbone, "reroll") and module and not fullmatch(r"blocks\.\d+", module)):
        return None
    for prefix in dict.fromkeys((int(getattr(backbone, "num_prefix_tokens", 0) or 0), 0, 1)):
        num = output.shape[1] - prefix
        rows = round((max(num, 0) * height / width) ** 0.5)
        if rows and num % rows == 0 and is_grid(rows, num // rows):
            return Stage(module, rows, num // rows, "tokens")
    return None


@dataclass(frozen=True, slots=True)
class _Record:
    """Outputs of the modules of a backbone in one forward pass; a dual-path block returns two tensors."""

    outputs: dict[str, tuple[Tensor, ...]]
    nodes: dict[str, list[Any]]  # of the autograd graph
    calls: Counter[str]


@contextmanager
def _recorded(backbone: nn.Module) -> Iterator[_Record]:
    """Record the tensors that the modules return inside the `with` block.

    Later layers get copies of single tensors, so that in-place operations do not hide the recorded tensors' gradients.
    """
    record = _Record({}, {}, Counter())
    names = {module: name for name, module in backbone.named_modules() if name}

    def note(module: nn.Module, _inputs: object, output: object) -> object:
        name = names[module]
        record.calls[name] += 1
        outputs = output if isinstance(output, tuple) else (output,)
        if all(isinstance(o, Tensor) for o in outputs):
            record.outputs[name] = outputs
            record.nodes[name] = [o.grad_fn for o in outputs]  # read now, because in-place operations change grad_fn
            return output.clone() if isinstance(output, Tensor) else None
        return None

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        yield record
    finally:
        for hook in hooks:
            hook.remove()


def is_maps(network: Network, features: object) -> bool:
    """Return whether the features of a backbone are maps [N, C, h, w]; they may also be tokens."""
    if not isinstance(features, Tensor) or features.ndim != 4:
        return False
    channels = getattr(network.backbone, "num_features", None)
    return not isinstance(channels, int) or channels == features.shape[1]


def _no_maps(network: Network, features: object) -> ConfigError:
    kind = type(network.backbone).__name__
    shown = f"the shape {[*features.shape]}" if isinstance(features, Tensor) else f"the type {type(features).__name__}"
    fix = "use an architecture of `bench list architectures`, or a timm model with feature maps or patch tokens"
    return ConfigError(f"{kind} has no feature maps and no patch tokens: its features have {shown}", kind, fix)


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
