"""Grad-CAM of all findings at once, for convolutional networks and transformers.

The network runs once. Gradients are computed only for the layers after the chosen feature maps, for all findings in one
vectorized backward pass. So heat maps of the last stage take about as long as the prediction.

The feature maps of a transformer are its patch tokens, arranged like the patches in the image. Prefix tokens (class token,
registers) have no position and are left out.

Shapes: N images, K findings; C channels, h and w pixels of the chosen feature maps. A are the feature maps; G is the
gradient of a finding's logit with respect to A. A_c and G_c belong to channel c.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from bench.models.network import Network
from harmonize.errors import ConfigError

SMALLEST = 4  # minimum number of rows and of columns of the feature maps; with fewer, heat maps are too coarse


@dataclass(frozen=True, slots=True)
class HeatMaps:
    """Logits and heat maps of a batch. The heat maps are >= 0, not normalized, and as large as the chosen feature maps."""

    logit_NK: Tensor
    heat_NKhw: Tensor  # zero where there is no evidence for the finding

    @property
    def empty(self) -> Tensor:
        """Return the mask [N, K] of the maps that are zero everywhere: the image has no evidence for the finding."""
        return ~(self.heat_NKhw > 0).flatten(2).any(2)


@dataclass(frozen=True, slots=True)
class Stage:
    """Feature maps of a backbone: the output of one module, or of the whole backbone."""

    module: str  # name of the module, "" for the backbone itself
    height: int
    width: int

    def maps(self, output: Tensor, backbone: nn.Module) -> Tensor:
        """Return the module's output, or its gradient, as maps [N, C, h, w]."""
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2) if getattr(backbone, "output_fmt", "NCHW") == "NHWC" else output
        patches_NTC = output[:, output.shape[1] - self.height * self.width :]
        if hasattr(backbone, "reroll"):  # Hiera sorts its tokens by mask units
            block = int(self.module.rpartition(".")[2]) if self.module else len(backbone.blocks) - 1  # type: ignore[arg-type]
            arranged: Tensor = backbone.reroll(patches_NTC, block)  # type: ignore[operator]
            return arranged.permute(0, 3, 1, 2)
        return patches_NTC.transpose(1, 2).reshape(len(output), output.shape[2], self.height, self.width)


def gradcam(A_NChw: Tensor, G_KNChw: Tensor) -> Tensor:
    """Return heat_NKhw = ReLU(sum_c w_c A_c), where the weight w_c is the mean of G_c over the pixels.

    Source: Selvaraju et al., arXiv:1610.02391, eq. 1 and 2.
    """
    return relu(torch.einsum("knc,nchw->nkhw", G_KNChw.mean((3, 4)), A_NChw))


def heat_maps(
    network: Network,
    x_NCHW: Tensor,
    findings: Sequence[int] | None = None,
) -> HeatMaps:
    """Return logits and heat maps of normalized images, on the images' device.

    `findings` are indices of findings; None means all. The feature maps are the last of at least 4 x 4 pixels. If the
    network has outputs for three label states, the logit is that of present against absent. The network stays unchanged.
    The function needs memory for K x N x C x h x w floats, so the caller must limit N. Raises ConfigError for a network
    without feature maps.
    """
    with torch.inference_mode(mode=False), frozen(network):
        leaves, logit_NK, chosen = _cut(network, x_NCHW)
        indices = list(range(logit_NK.shape[1])) if findings is None else list(findings)
        one_hot_KK = torch.eye(logit_NK.shape[1], dtype=logit_NK.dtype, device=logit_NK.device)[indices]
        direction_KNK = one_hot_KK[:, None].expand(-1, len(logit_NK), -1)
        gradients = torch.autograd.grad(logit_NK, leaves, direction_KNK, is_grads_batched=True)
    leaves = [chosen.maps(leaf, network.backbone) for leaf in leaves]
    gradients = tuple(torch.stack([chosen.maps(g_N, network.backbone) for g_N in g_KN]) for g_KN in gradients)
    heat_NKhw = gradcam(torch.cat(leaves, 1).detach(), torch.cat(gradients, 2))
    return HeatMaps(logit_NK.detach()[:, indices], heat_NKhw)


def upsampled(heat_NKhw: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the heat maps [N, K, H, W], resized by bilinear interpolation to `size`: one side, or (height, width)."""
    height_width = (size, size) if isinstance(size, int) else size
    return interpolate(heat_NKhw, height_width, mode="bilinear", align_corners=False)


def chosen_stage(network: Network, height: int, width: int) -> Stage:
    """Return the stage that `heat_maps` uses for images of height x width.

    Stages are the modules that timm's `feature_info` lists, and the output of the backbone. The chosen stage is the last with
    maps of at least 4 x 4 pixels, or the first if all maps are smaller. Stages of patch tokens that do not affect the logits
    are left out: if the head reads only the class token, these are the tokens of the last block.
    """
    backbone, parameter = network.backbone, next(network.parameters(), torch.empty(0))
    listed = [(str(i["module"]), int(i["reduction"])) for i in getattr(backbone, "feature_info", ())]
    reduction = {**dict(listed), "": listed[-1][1] if listed else 0}
    outputs: dict[str, Tensor] = {}

    def note(name: str, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs[name] = output[0] if isinstance(output, tuple) else output

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in backbone.named_modules()
        if name and name in reduction
    ]
    image = torch.randn(1, network.in_channels, height, width, generator=torch.Generator().manual_seed(0))
    with frozen(network), torch.enable_grad():
        try:
            features: Tensor = backbone.forward_features(image.to(parameter).requires_grad_())  # type: ignore[operator]
        finally:
            for hook in hooks:
                hook.remove()
        outputs[""] = features
        found = [
            stage
            for name, output in outputs.items()
            if (stage := _stage(network, name, output, (height, width), reduction[name])) is not None
        ]
        if found and features.ndim == 3:
            pooled: Tensor = backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
            direction = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(pooled)
            gradients = torch.autograd.grad(pooled, [outputs[s.module] for s in found], direction, allow_unused=True)
            found = [s for s, g in zip(found, gradients, strict=True) if g is not None and s.maps(g, backbone).any()]
    if not found:
        kind = type(backbone).__name__
        fix = "use an architecture of `bench list architectures`, or a timm model with feature maps or patch tokens"
        raise ConfigError(f"{kind} has no feature maps and no patch tokens", kind, fix)
    large = [stage for stage in found if min(stage.height, stage.width) >= SMALLEST]
    return large[-1] if large else found[0]


def _stage(network: Network, name: str, output: Tensor, size: tuple[int, int], reduction: int) -> Stage | None:
    """Return the stage with this output of a module; None if the output is neither maps nor one token for each patch."""
    if output.ndim == 4 and getattr(network.backbone, "output_fmt", "NCHW") == "NHWC":
        return Stage(name, output.shape[1], output.shape[2])
    if output.ndim == 4 and (name or is_maps(network, output)):
        return Stage(name, output.shape[2], output.shape[3])
    if output.ndim != 3 or not reduction:
        return None
    rows, columns = size[0] // reduction, size[1] // reduction
    return Stage(name, rows, columns) if 0 < rows * columns <= output.shape[1] else None


def is_maps(network: Network, features: object) -> bool:
    """Return whether the features of a backbone are maps [N, C, h, w]; they may also be tokens."""
    if not isinstance(features, Tensor) or features.ndim != 4:
        return False
    channels = getattr(network.backbone, "num_features", None)
    return not isinstance(channels, int) or channels == features.shape[1]


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


def _cut(network: Network, x_NCHW: Tensor) -> tuple[list[Tensor], Tensor, Stage]:
    """Run the network; return leaves of the autograd graph at the chosen stage, the logits [N, K], and the stage.

    A leaf is the output of the stage's module: feature maps (two tensors in a dual-path network) or tokens.
    """
    backbone, (height, width) = network.backbone, x_NCHW.shape[2:]
    features: Tensor
    with torch.no_grad():  # common case: the last stage is the output of the backbone, so no search is needed
        features = backbone.forward_features(x_NCHW)  # type: ignore[operator]
    is_last = is_maps(network, features) and min(features.shape[2:]) >= SMALLEST
    chosen = Stage("", *features.shape[2:]) if is_last else chosen_stage(network, height, width)
    if not chosen.module:
        leaf = _leaf(features)
        return [leaf], _logits(network, leaf), chosen
    leaves: list[Tensor] = []

    def replace_by_leaves(
        _module: object, _inputs: object, output: Tensor | tuple[Tensor, ...]
    ) -> Tensor | tuple[Tensor, ...]:
        leaves.extend(map(_leaf, output if isinstance(output, tuple) else (output,)))
        # copies, because the following layers may change their input in place
        copies = tuple(leaf.clone() for leaf in leaves)
        return copies if isinstance(output, tuple) else copies[0]

    hook = backbone.get_submodule(chosen.module).register_forward_hook(replace_by_leaves)
    try:
        with torch.enable_grad():
            features = backbone.forward_features(x_NCHW)  # type: ignore[operator]
    finally:
        hook.remove()
    return leaves, _logits(network, features), chosen


def _leaf(maps: Tensor) -> Tensor:
    return maps.detach().clone().requires_grad_()


def _logits(network: Network, features: Tensor) -> Tensor:
    with torch.enable_grad():
        return network.findings(network.backbone.forward_head(features.clone()))  # type: ignore[operator]
