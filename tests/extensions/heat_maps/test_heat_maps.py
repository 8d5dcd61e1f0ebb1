"""Heat maps of every architecture of the registry: right, and the network is left as it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.config.registry import Entry, Registry
from bench.extensions.heat_maps.gradcam import chosen_stage, gradcam, heat_maps
from bench.models.network import Network, build
from tests.extensions.heat_maps.unchanged import maps_of_unchanged

REGISTRY = Registry.read(Path(__file__).parents[3] / "registry.yaml")
ARCHITECTURES = REGISTRY.sections["architectures"]


def one_by_one(network: Network, x_NCHW: Tensor, module: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return logit_NK, A_NChw and G_KNChw the slow way: a hook that notes the maps, one pass backward per finding."""
    noted: list[Tensor] = []

    def note(_module: object, _inputs: object, output: object) -> object:
        maps = output if isinstance(output, tuple) else (output,)
        noted.extend(maps)
        return tuple(m.clone() for m in maps) if isinstance(output, tuple) else noted[0].clone()

    network.eval()
    if module:
        hook = network.backbone.get_submodule(module).register_forward_hook(note)
        logit_NK = network(x_NCHW)
        hook.remove()
    else:
        noted.append(network.backbone.forward_features(x_NCHW))
        logit_NK = network.findings(network.backbone.forward_head(noted[0].clone()))
    gradients = [
        torch.cat(torch.autograd.grad(logit_NK[:, k].sum(), noted, retain_graph=True), 1)
        for k in range(logit_NK.shape[1])
    ]
    return logit_NK.detach(), torch.cat(noted, 1).detach(), torch.stack(gradients)


def made(architecture: Entry) -> tuple[Network, Tensor]:
    """Return a network with two findings of three states and two further heads, and an image of the smallest size."""
    size = architecture.facts["min_px"]
    network = build(architecture.use, architecture.options, num_outputs=8, num_findings=2, states=3)
    return network, torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_architecture_has_heat_maps_and_is_left_as_it_was(architecture: Entry) -> None:
    network, x_NCHW = made(architecture)
    found = maps_of_unchanged(network, x_NCHW)
    stage = chosen_stage(network, *x_NCHW.shape[2:])
    assert found.heat_NKhw.shape == (1, 2, stage.height, stage.width)
    assert found.logit_NK.isfinite().all()
    assert found.heat_NKhw.isfinite().all()
    assert (found.heat_NKhw >= 0).all()


# one of each kind of head and of stage: dense, plain, two paths, layers after the pooling, a norm after it, from scratch
@pytest.mark.parametrize(
    "name",
    ["densenet121", "resnet18", "dpn68b", "mobilenetv3_l", "convnextv2_t", "efficientnet_lite0", "seresnet_tiny"],
)
def test_all_findings_at_once_are_each_finding_by_itself(name: str) -> None:
    network, x_NCHW = made(REGISTRY.sections["architectures"][name])
    found = heat_maps(network, x_NCHW)
    stage = chosen_stage(network, *x_NCHW.shape[2:])
    logit_NK, A_NChw, G_KNChw = one_by_one(network, x_NCHW, stage.module)
    torch.testing.assert_close(found.logit_NK, logit_NK, atol=1e-5, rtol=1e-5)
    slow = gradcam(A_NChw, G_KNChw)
    assert float((found.heat_NKhw - slow).abs().max()) <= 1e-5 * float(slow.abs().max())
