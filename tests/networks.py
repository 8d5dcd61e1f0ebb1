"""Networks from elsewhere, for tests: a model.yaml names these functions."""

import torch
from torch import Tensor, nn

from bench.models.network import build

TINY = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128], "dropout": 0.1}


class Inside(nn.Module):
    """A network without the face of timm's: what a stranger brings."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.backbone = build("bench.models.se_resnet:se_resnet", TINY, num_outputs, 1).backbone

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.backbone(x_NCHW)


def tiny(num_outputs: int = 9) -> nn.Module:
    """The network of the grid `tiny`, bare."""
    return Inside(num_outputs)


class Flat(nn.Module):
    """A convolution and a linear layer: small enough to be exported in a moment."""

    def __init__(self, num_outputs: int = 3, scale: float = 1.0, sigmoid: bool = False, fault: str = "") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.conv, self.head = nn.Conv2d(1, 4, 4, stride=4), nn.Linear(4 * 8 * 8, num_outputs)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.2
        self.scale, self.sigmoid, self.fault = scale, sigmoid, fault

    def forward(self, x_NCHW: Tensor) -> Tensor:
        z = self.head(torch.relu(self.conv(x_NCHW)).flatten(1)) * self.scale
        if self.fault == "tuple":
            return (z, z)  # type: ignore[return-value]
        if self.fault == "nan":
            return z * float("nan")
        return torch.sigmoid(z) if self.sigmoid else z


def not_a_network() -> str:
    """What cannot be asked for predictions."""
    return "nothing"
