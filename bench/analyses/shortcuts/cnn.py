"""Source network: a small residual network that is trained to predict the source of an image (its cohort) from pixels.

A view is a change of the images before training. For example, the view `border` keeps only the border.

Shapes: N images, C channels, H and W pixels, K sources.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.analyses.shortcuts.sample import NUM_FOLDS, Sample
from harmonize.seeds import seed_for

WIDTHS = (16, 32, 64, 128)
SIDE = 64  # maximum side of the input in pixels; larger images are reduced
BATCH = 64
RING = 0.1  # width of the border as a share of the side
CENTRE = 0.5  # side of the masked center as a share of the side
LOW = 8  # side in pixels to which the view `low_res` reduces an image


class Block(nn.Module):
    """A residual block: two 3 x 3 convolutions with batch norm, whose result is added to the input.

    Source: He 2016, doi:10.1109/CVPR.2016.90.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return feature maps with `outputs` channels; height and width are divided by `stride`."""
        y_NCHW = torch.relu(self.norms[0](self.first(x_NCHW)))
        return torch.relu(self.norms[1](self.second(y_NCHW)) + self.shortcut(x_NCHW))


def small_resnet(num_sources: int) -> nn.Module:
    """Return a small version of ResNet-18, with the same stem, one block per stage and a quarter of the channels."""
    stages = [Block(a, b, 1 if a == b else 2) for a, b in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)]
    stem = (nn.Conv2d(1, WIDTHS[0], 7, 2, 3, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_sources))


def unmasked(x_N1HW: Tensor) -> Tensor:
    """Return the images unchanged."""
    return x_N1HW


def border(x_N1HW: Tensor) -> Tensor:
    """Return the images with only their border; all other pixels are black."""
    return x_N1HW * (1 - _box(x_N1HW, 1 - 2 * RING))


def center_masked(x_N1HW: Tensor) -> Tensor:
    """Return the images with a black center, where the lungs are."""
    return x_N1HW * (1 - _box(x_N1HW, CENTRE))


def low_res(x_N1HW: Tensor) -> Tensor:
    """Return the images reduced to 8 x 8 pixels and enlarged again: gray levels without structure."""
    return functional.interpolate(functional.adaptive_avg_pool2d(x_N1HW, LOW), size=x_N1HW.shape[2:], mode="nearest")


def _box(x_N1HW: Tensor, share: float) -> Tensor:
    """Return a mask [H, W]: 1 in a central box whose sides are `share` of the image's sides, 0 elsewhere."""
    inside = torch.zeros(x_N1HW.shape[2:], device=x_N1HW.device)
    edges = [round(side * (1 - share) / 2) for side in x_N1HW.shape[2:]]
    inside[edges[0] : x_N1HW.shape[2] - edges[0], edges[1] : x_N1HW.shape[3] - edges[1]] = 1
    return inside


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": unmasked,
    "border": border,
    "centre_masked": center_masked,
    "low_res": low_res,
}


def network_probe(
    images: NDArray[np.uint8],
    sample: Sample,
    source: NDArray[np.int64],
    view: Callable[[Tensor], Tensor],
    device: torch.device,
    epochs: int,
    num_folds: int,
) -> NDArray[np.float64]:
    """Train one source network for each of the first `num_folds` folds; return out-of-fold probabilities [N, K].

    `images` [N, H, W] are uint8; `source` [N] has the class of each image. Images in folds without a network have the
    probability NaN. Training uses AdamW with a one-cycle schedule and a maximum learning rate of 3e-3. There is no
    augmentation, because the network does not have to generalize to other hospitals.
    """
    x_N1HW = torch.from_numpy(np.ascontiguousarray(images))[:, None].to(device).float() / 255
    if x_N1HW.shape[2] > SIDE:
        x_N1HW = functional.interpolate(x_N1HW, size=(SIDE, SIDE), mode="area")
    x_N1HW = ((view(x_N1HW) - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy(source).to(device)
    prob_NK = np.full((len(source), len(sample.names)), np.nan)
    for number in range(min(num_folds, NUM_FOLDS)):
        masks = (sample.fold != number, sample.fold == number)
        train, test = (torch.from_numpy(np.flatnonzero(mask)).to(device) for mask in masks)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(0, "source network", number))
            network = small_resnet(len(sample.names)).to(device).to(memory_format=torch.channels_last)
            _fit(network, x_N1HW, target, train, epochs)
        with torch.inference_mode():
            logit_NK = network.eval()(x_N1HW[test])
        prob_NK[test.cpu().numpy()] = torch.softmax(logit_NK.double(), 1).cpu().numpy()
    return prob_NK


def _fit(network: nn.Module, x_N1HW: Tensor, target: Tensor, train: Tensor, epochs: int) -> None:
    steps = -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * steps)
    network.train()
    for _ in range(epochs):
        order = train[torch.randperm(len(train)).to(train.device)]
        for rows in torch.tensor_split(order, steps):
            loss = functional.cross_entropy(network(x_N1HW[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
