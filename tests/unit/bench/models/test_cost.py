"""Costs against the measured table of the study's architectures, nine outputs, 3 x 224 x 224."""

from typing import Any

import pytest
import torch

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


def test_measuring_leaves_the_network_as_it_was(recwarn: pytest.WarningsRecorder) -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 9, in_channels=1)
    network.train()
    network.backbone.stem.eval()  # as a frozen stem would be
    network.backbone.fc.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    measured = Cost.of(network, 64)
    assert throughput(network, 64, torch.device("cpu"), batch=1) > 0
    assert not network.backbone.fc.weight.requires_grad
    assert any(op.startswith("aten::add") for op in measured.unsupported)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
    assert not network.backbone.stem.training
    assert len(recwarn) == 0
