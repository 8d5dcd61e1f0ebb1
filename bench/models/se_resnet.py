"""SE-ResNet: a residual network of basic blocks with squeeze-and-excitation, trained from scratch.

Source: CheXVision's scratch network (github.com/arudaev/chexvision); He et al. 2015, arXiv:1512.03385; Hu et al. 2017,
arXiv:1709.01507. The default depths 3, 4, 6, 3 are from ResNet-34. The network has 21,446,473 parameters with nine
outputs; the CheXVision authors state about 23 million.

N images, C channels, H and W pixels, K outputs, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in (0, 1) computed from all channel means."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        gate_NC = torch.sigmoid(self.excite(torch.relu(self.squeeze(x_NCHW.mean((2, 3))))))
        return x_NCHW * gate_NC[:, :, None, None]


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions, with squeeze-and-excitation before the shortcut is added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcite(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return feature maps with `outputs` channels; height and width are divided by the stride."""
        y_NCHW = torch.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.se(self.bn2(self.conv2(y_NCHW)))
        return torch.relu(y_NCHW + self.shortcut(x_NCHW))


class SEResNet(nn.Module):
    """SE-ResNet: a stem, one stage for each number in `depths`, global mean, dropout, and a linear layer.

    Each stage except the first halves the height and width of the feature maps. The class has timm's methods
    `forward_features` and `forward_head`, so the network can be used like a timm network.
    """

    def __init__(
        self, num_outputs: int, in_channels: int, depths: Sequence[int], widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 7, 2, 3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            first = BasicBlock(inputs, width, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width, stride=1) for _ in range(depth - 1))))
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.feature_info = [{"module": f"stages.{i}", "reduction": 4 * 2**i} for i in range(len(depths))]
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, num_outputs)
        self.apply(_initialize)

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        """Return the last feature maps [N, D, H/32, W/32], after a ReLU."""
        maps: Tensor = self.stages(self.stem(x_NCHW))
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logit_NK, or feature_ND with `pre_logits`."""
        feature_ND: Tensor = self.dropout(maps.mean((2, 3)))
        return feature_ND if pre_logits else self.fc(feature_ND)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logit_NK."""
        return self.forward_head(self.forward_features(x_NCHW))


def se_resnet(
    num_outputs: int,
    in_channels: int = 3,
    depths: Sequence[int] = (3, 4, 6, 3),
    widths: Sequence[int] = (64, 128, 256, 512),
    dropout: float = 0.5,
) -> SEResNet:
    """Return an SE-ResNet with random weights.

    Raises ValueError unless depths and widths are positive and of one length.
    """
    if len(depths) != len(widths) or not depths or min(*depths, *widths) < 1:
        raise ValueError(f"depths {list(depths)} and widths {list(widths)} must be positive and have the same length")
    return SEResNet(num_outputs, in_channels, depths, widths, dropout)


def _initialize(module: nn.Module) -> None:
    """Initialize as CheXVision does: Kaiming (fan out) for convolutions, Xavier for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
