"""Heat maps of transformers: the maps are the patch tokens of the image, in the order of the image."""

import pytest
import torch
from torch import Tensor

from bench.extensions.heat_maps.gradcam import chosen_stage, gradcam, heat_maps
from bench.models.network import Network, build
from tests.extensions.heat_maps.unchanged import maps_of_unchanged

# kind of network -> timm model, its options, pixels of the image, rows of the last maps
KINDS = {
    "class token": ("test_vit", {"img_size": 64}, 64, 4),
    "class token and registers": ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3, "reg_tokens": 4}, 64, 4),
    "mean of tokens": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 3}, 56, 4),
    "rotary positions": ("vit_small_patch16_dinov3", {"img_size": 64, "depth": 2}, 64, 4),
    "attention pooling": ("vit_base_patch16_siglip_224", {"img_size": 64, "depth": 2, "embed_dim": 192}, 64, 4),
    "channels last": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 112, "window_size": 4, "depths": (1, 1, 1, 1)},
        112,
        4,
    ),
    "class attention": ("xcit_nano_12_p16_224", {"img_size": 64, "depth": 2}, 64, 4),
    "mask units": ("hiera_tiny_224", {"img_size": (128, 128), "stages": (1, 1, 1, 1)}, 128, 4),
}


def made(kind: str) -> tuple[Network, Tensor, int]:
    name, options, size, rows = KINDS[kind]
    network = build("bench.models.network:timm_model", {"name": name, **options}, num_outputs=2)
    return network, torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)), rows


@pytest.mark.parametrize("kind", KINDS)
def test_a_transformer_has_heat_maps_and_is_left_as_it_was(kind: str) -> None:
    network, x_NCHW, rows = made(kind)
    found = maps_of_unchanged(network, x_NCHW)
    logit_NK = network.eval()(x_NCHW).detach()
    assert found.heat_NKhw.shape == (2, 2, rows, rows)
    assert (found.heat_NKhw >= 0).all()
    assert found.heat_NKhw.isfinite().all()
    torch.testing.assert_close(found.logit_NK, logit_NK, atol=1e-5, rtol=1e-4)


# without class attention: its convolutions move the evidence of a token by half a patch
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "class attention"])
def test_each_cell_belongs_to_its_patch_of_the_image(kind: str) -> None:
    """In a random network, a token depends most on its own patch: its values reach the token through skip connections."""
    network, x_NCHW, _ = made(kind)
    network.eval()
    x_NCHW = x_NCHW[:1].clone().requires_grad_()
    stage = chosen_stage(network, *x_NCHW.shape[2:])
    noted: list[Tensor] = []
    if stage.module:
        module = network.backbone.get_submodule(stage.module)
        hook = module.register_forward_hook(lambda _m, _i, out: noted.append(out))
    features = network.backbone.forward_features(x_NCHW)
    if stage.module:
        hook.remove()
    maps_NChw = stage.maps(noted[0] if noted else features, network.backbone)
    assert maps_NChw.shape[2:] == (stage.height, stage.width)
    side = x_NCHW.shape[2] // stage.height
    for row, column in ((1, 1), (1, 2), (2, 1)):
        direction = torch.randn(maps_NChw.shape[1], generator=torch.Generator().manual_seed(3))
        (gradient,) = torch.autograd.grad(maps_NChw[0, :, row, column] @ direction, x_NCHW, retain_graph=True)
        energy = torch.nn.functional.avg_pool2d(gradient.square().sum(1, keepdim=True), side)[0, 0]
        assert divmod(int(energy.argmax()), stage.width) == (row, column), (row, column)


def test_the_last_stage_with_a_class_token_is_the_input_of_the_last_block() -> None:
    network, x_NCHW, _ = made("class token")
    blocks = len(network.backbone.blocks)  # type: ignore[arg-type]
    stage = chosen_stage(network, *x_NCHW.shape[2:])
    assert stage.module == f"blocks.{blocks - 2}"
    network.eval()
    noted: list[Tensor] = []
    hook = network.backbone.get_submodule(stage.module).register_forward_hook(lambda _m, _i, out: noted.append(out))
    logit_NK = network(x_NCHW)
    hook.remove()
    for k in range(2):
        (gradient,) = torch.autograd.grad(logit_NK[:, k].sum(), noted[0], retain_graph=True)
        A, G = (t[:, 1:].transpose(1, 2).reshape(2, -1, 4, 4) for t in (noted[0].detach(), gradient))
        found = heat_maps(network, x_NCHW).heat_NKhw[:, k]
        torch.testing.assert_close(found, gradcam(A, G[None])[:, 0], atol=1e-7, rtol=1e-4)
