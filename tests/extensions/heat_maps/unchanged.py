"""Heat maps of a network that stays as it was."""

import torch
from torch import Tensor

from bench.extensions.heat_maps.gradcam import HeatMaps, heat_maps
from bench.models.network import Network


def maps_of_unchanged(network: Network, x_NCHW: Tensor) -> HeatMaps:
    """Return the maps, and check that weights, mode, gradients and hooks of the network have not changed."""
    before = {key: (value.data_ptr(), value._version) for key, value in network.state_dict().items()}
    with torch.inference_mode():
        found = heat_maps(network, x_NCHW)
    assert {key: (value.data_ptr(), value._version) for key, value in network.state_dict().items()} == before
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    return found
