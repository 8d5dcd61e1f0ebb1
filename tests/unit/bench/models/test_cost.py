"""Costs against the measured table of the study's architectures, nine outputs, 3 x 224 x 224."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from bench.models.cost import Cost, throughput
from bench.models.network import build

TINY = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use", "options", "millions", "gmacs"),
    [  # measured with torch 2.15.0, timm 1.0.31, fvcore 0.1.5
        ("bench.models.network:timm_model", {"name": "mobilenetv3_large_100"}, 4.214, 0.224),
        ("bench.models.network:timm_model", {"name": "efficientnet_b0"}, 4.019, 0.398),
        ("bench.models.network:timm_model", {"name": "resnet18"}, 11.181, 1.819),
        ("bench.models.se_resnet:se_resnet", {}, 21.446, 3.671),
    ],
    ids=["mobilenetv3_large_100", "efficientnet_b0", "resnet18", "se_resnet"],
)
def test_parameters_and_macs_are_the_measured_ones(
    use: str, options: dict[str, Any], millions: float, gmacs: float
) -> None:
    measured = Cost.of(build(use, options, 9), 224)
    assert measured.params / 1e6 == pytest.approx(millions, rel=1e-3)
    assert measured.macs / 1e9 == pytest.approx(gmacs, rel=1e-2)
    assert measured.flops == 2 * measured.macs


def transformer(tokens: int, width: int, depth: int) -> int:
    """Attention (four matrices, two products) and MLP (two matrices of four times the width), by hand."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def swin(tokens: int, width: int) -> int:
    """Swin-T: windows of 7 x 7; between stages, four tokens of a square become one of double width."""
    total = 0
    for depth in (2, 2, 6, 2):
        total += depth * (12 * tokens * width**2 + 2 * tokens * 49 * width)
        if width < 768:
            tokens, width = tokens // 4, 2 * width
            total += tokens * 2 * width * width
    return total


def densenet() -> int:
    """DenseNet-121: each layer of a block has a product of 1 x 1 into 128 channels and one of 3 x 3 into 32."""
    total, side, channels = 112**2 * 49 * 3 * 64, 56, 64
    for layers in (6, 12, 24, 16):
        for _ in range(layers):
            total += side**2 * (channels * 128 + 9 * 128 * 32)
            channels += 32
        if layers != 16:
            total += side**2 * channels * channels // 2
            side, channels = side // 2, channels // 2
    return total


VIT, DINO = "vit_tiny_patch16_224", {"img_size": 518}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "products", "largest"),
    [  # patches, then layers, then nine outputs; largest: share of normalization and pooling
        (VIT, {}, 196 * 16**2 * 3 * 192 + transformer(197, 192, 12) + 9 * 192, 0.005),
        ("vit_small_patch14_dinov2", DINO, 37**2 * 14**2 * 3 * 384 + transformer(37**2 + 1, 384, 12) + 9 * 384, 0.002),
        # RAD-DINO
        ("vit_base_patch14_dinov2", DINO, 37**2 * 14**2 * 3 * 768 + transformer(37**2 + 1, 768, 12) + 9 * 768, 0.001),
        ("swin_tiny_patch4_window7_224", {}, 56**2 * 16 * 3 * 96 + swin(56**2, 96) + 9 * 768, 0.005),
        ("densenet121", {}, densenet() + 9 * 1024, 0.012),
    ],
)
def test_the_count_is_that_of_all_matrix_products_and_of_normalization_and_pooling(
    name: str, options: dict[str, Any], products: int, largest: float
) -> None:
    size = options.get("img_size", 224)
    network: Any = timm.create_model(name, num_classes=9, **options)
    network.in_channels = 3
    measured = Cost.of(network, size)
    assert 0 < measured.macs - products <= largest * products
    assert measured.not_counted == ()


def test_an_operation_of_more_than_1_percent_that_is_not_counted_is_named() -> None:
    network: Any = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(inplace=True), nn.Flatten(), nn.Linear(512, 9))
    network.in_channels = 1
    products = 64 * 9 * 8 + 512 * 9
    assert Cost.of(network, 8).not_counted == (f"silu {100 * 512 / products:.1f} %",)


def test_measuring_leaves_the_network_as_it_was(recwarn: pytest.WarningsRecorder) -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 9, in_channels=1)
    network.train()
    network.backbone.stem.eval()  # as a frozen stem would be
    network.backbone.fc.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    Cost.of(network, 64)
    assert throughput(network, 64, torch.device("cpu"), batch=1) > 0
    assert not network.backbone.fc.weight.requires_grad
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
    assert not network.backbone.stem.training
    assert len(recwarn) == 0
