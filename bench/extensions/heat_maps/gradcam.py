"""Grad-CAM of all findings at once, for convolutional networks and transformers.

The network runs once. Gradients are computed only for the layers after the chosen feature maps, for all findings in one
vectorized backward pass. So heat maps of the last stage take about as long as the prediction.

Shapes: N images, K findings; C channels, h and w pixels of the chosen feature maps. A are the feature maps; G is the
gradient of a finding's logit with respect to A. A_c and G_c belong to channel c.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, relu

from bench.extensions.heat_maps.stages import Stage, frozen, is_maps, stages
from bench.models.network import Network

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
    if chosen is not None:
        leaves = [chosen.maps(leaf, network.backbone) for leaf in leaves]
        gradients = tuple(torch.stack([chosen.maps(g_N, network.backbone) for g_N in g_KN]) for g_KN in gradients)
    A_NChw, G_KNChw = torch.cat(leaves, 1).detach(), torch.cat(gradients, 2)
    return HeatMaps(logit_NK.detach()[:, indices], gradcam(A_NChw, G_KNChw))


def upsampled(heat_NKhw: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Return the heat maps [N, K, H, W], resized by bilinear interpolation to `size`: one side, or (height, width)."""
    height_width = (size, size) if isinstance(size, int) else size
    return interpolate(heat_NKhw, height_width, mode="bilinear", align_corners=False)


def chosen_stage(network: Network, height: int, width: int) -> Stage:
    """Return the stage that `heat_maps` uses for images of height x width.

    It is the last stage with maps of at least 4 x 4 pixels, or the first stage if all maps are smaller.
    """
    available = stages(network, height, width)
    large = [stage for stage in available if min(stage.height, stage.width) >= SMALLEST]
    return large[-1] if large else available[0]


def _cut(network: Network, x_NCHW: Tensor) -> tuple[list[Tensor], Tensor, Stage | None]:
    """Run the network; return leaves of the autograd graph at the chosen stage, the logits [N, K], and the stage.

    A leaf is the output of the stage's module: feature maps (two tensors in a dual-path network) or tokens. The stage is
    None if the leaf is the output of the backbone and has the layout of feature maps.
    """
    backbone, (height, width) = network.backbone, x_NCHW.shape[2:]
    features: Tensor
    with torch.no_grad():  # common case: the last stage is the output of the backbone, so no search is needed
        features = backbone.forward_features(x_NCHW)  # type: ignore[operator]
    if is_maps(network, features) and min(features.shape[2:]) >= SMALLEST:
        leaf = _leaf(features)
        return [leaf], _logits(network, leaf), None
    chosen = chosen_stage(network, height, width)
    leaves: list[Tensor] = []

    def replace_by_leaves(
        _module: object, _inputs: object, output: Tensor | tuple[Tensor, ...]
    ) -> Tensor | tuple[Tensor, ...]:
        leaves.extend(map(_leaf, output if isinstance(output, tuple) else (output,)))
        # copies, because the following layers may change their input in place
        copies = tuple(leaf.clone() for leaf in leaves)
        return copies if isinstance(output, tuple) else copies[0]

    if not chosen.module:
        leaf = _leaf(features)
        return [leaf], _logits(network, leaf), chosen
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
