"""Attentive pooling: values against torch's own attention, and training of nothing but the query and the output layer."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from bench.models.attentive_pooling import AttentivePooling
from bench.models.network import Network, build
from bench.training.train_modes import freeze_backbone

SMALL = {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 3}
TRANSFORMERS = {
    "class token": {"name": "vit_small_patch16_224", **SMALL},
    "registers": {"name": "vit_small_patch14_reg4_dinov2", "patch_size": 16, **SMALL},
    "mean of patches": {"name": "vit_medium_patch16_gap_256", **SMALL},
    "own attentive pooling": {"name": "vit_base_patch16_siglip_224", **SMALL},
    "EVA": {"name": "eva02_tiny_patch14_224", "patch_size": 16, "ref_feat_shape": (4, 4), **SMALL},
}


def network_of(options: dict[str, Any]) -> tuple[Network, AttentivePooling]:
    network = build("bench.models.network:timm_model", options, 9, 1)
    AttentivePooling.replacing(network.backbone)
    pooling = network.backbone.attn_pool
    assert isinstance(pooling, AttentivePooling)
    return network.eval(), pooling


def test_values_and_gradients_are_those_of_torchs_attention() -> None:
    torch.manual_seed(0)
    pooling, tokens = AttentivePooling(12, 2), torch.randn(3, 2 + 7, 12)
    with torch.no_grad():
        pooling.query_F.normal_(std=3.0)
    query = pooling.query_F.detach().clone().requires_grad_()
    patches = tokens[:, 2:]
    expected = scaled_dot_product_attention(query.expand(3, 1, 12), patches, patches)[:, 0]
    found = pooling(tokens)
    torch.testing.assert_close(found, expected)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(pooling.query_F.grad, query.grad)


@pytest.mark.parametrize("options", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_features_are_the_pooled_patches_and_the_first_query_gives_their_mean(options: dict[str, Any]) -> None:
    network, pooling = network_of(options)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        tokens = network.backbone.forward_features(images)  # type: ignore[operator]
        patches = tokens[:, -16:]  # 4 x 4 patches come last
        norm = network.backbone.fc_norm
        torch.testing.assert_close(network.embed(images), norm(patches.mean(1)))  # type: ignore[operator]
        pooling.query_F.normal_(std=3.0)
        weights = torch.stack([(patch @ pooling.query_F / 48**0.5).exp() for patch in patches.unbind(1)], 1)
        pooled = (weights[..., None] * patches).sum(1) / weights.sum(1, keepdim=True)
        torch.testing.assert_close(network.embed(images), norm(pooled))  # type: ignore[operator]
        torch.testing.assert_close(network(images), network.backbone.head(network.embed(images)))  # type: ignore[operator]


@pytest.mark.parametrize("options", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_only_the_query_and_the_output_layer_learn(options: dict[str, Any]) -> None:
    network, _ = network_of(options)
    freeze_backbone(network, frozen=False)
    start = deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad], 0.1)
    network.outputs(torch.rand(4, 1, 64, 64)).square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, start[name])}
    assert changed == {"backbone.attn_pool.query_F", "backbone.head.weight", "backbone.head.bias"}


@pytest.mark.parametrize("name", ["resnet10t", "swinv2_tiny_window8_256", "deit_tiny_distilled_patch16_224"])
def test_other_networks_are_refused(name: str) -> None:
    with torch.device("meta"):
        network = build("bench.models.network:timm_model", {"name": name}, 9).backbone
    with pytest.raises(ValueError, match="is not a vision transformer with one output layer"):
        AttentivePooling.replacing(network)
