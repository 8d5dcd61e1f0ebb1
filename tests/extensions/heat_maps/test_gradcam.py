"""Heat maps against values worked out by hand, the class activation maps of their own head, and planted truth."""

import pytest
import torch
from torch import Tensor, nn

from bench.extensions.heat_maps.gradcam import chosen_stage, gradcam, heat_maps, upsampled
from bench.models.network import Network, build
from harmonize.errors import ConfigError

TINY = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128], "dropout": 0.1}
SCALE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def tiny(**options: int) -> Network:
    return build("bench.models.se_resnet:se_resnet", TINY, 9, **options)


def images(num: int = 3, size: int = 64) -> Tensor:
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_formula_gives_the_values_worked_out_by_hand() -> None:
    A_NChw = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]], [[0.0, 3.0], [1.0, 0.0]]]])
    G_KNChw = torch.tensor([[[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 1.0], [0.0, 0.0]]]]])
    torch.testing.assert_close(gradcam(A_NChw, G_KNChw), torch.tensor([[[[0.5, 0.0], [1.0, 0.5]]]]))


def test_at_the_last_maps_they_are_the_class_activation_map_of_the_linear_layer() -> None:
    network = tiny().eval()
    x_NCHW = images(2, 128)
    with torch.no_grad():
        maps = network.backbone.forward_features(x_NCHW)  # type: ignore[operator]
        cam = torch.einsum("kc,nchw->nkhw", network.backbone.fc.weight, maps).relu()  # type: ignore[union-attr]
    torch.testing.assert_close(heat_maps(network, x_NCHW).heat_NKhw, cam / 16, atol=1e-7, rtol=1e-5)


def test_small_images_use_an_earlier_stage_and_all_computation_passes_through_it() -> None:
    network = tiny().eval()
    assert [chosen_stage(network, size, size).module for size in (128, 64, 32)] == ["", "stages.2", "stages.1"]
    assert heat_maps(network, images(1, 64)).heat_NKhw.shape[2:] == (4, 4)
    assert heat_maps(network, images(1, 128)).heat_NKhw.shape[2:] == (4, 4)
    module = network.backbone.get_submodule("stages.2")
    hook = module.register_forward_hook(lambda _m, _i, out: torch.ones_like(out))
    first, second = network(images(2))
    hook.remove()
    torch.testing.assert_close(first, second)  # equal outputs for two images: no path bypasses the stage


class Bright(nn.Module):
    """A network whose first finding is the mean brightness and whose second is the mean darkness; the third is constant."""

    num_features = 2

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        x_N1HW = nn.functional.avg_pool2d(x_NCHW, 8).mean(1, keepdim=True)
        return torch.cat([x_N1HW, -x_N1HW], 1).relu_()

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = maps.relu_().mean((2, 3))
        return pooled if pre_logits else torch.cat([pooled, -pooled[:, :1]], 1)


def test_maps_are_high_where_the_evidence_is_and_empty_maps_stay_zero() -> None:
    x_NCHW = torch.zeros(2, 3, 64, 64)
    x_NCHW[0, :, 8:16, 40:48] = 1.0
    x_NCHW[1, :, 56:, :8] = -2.0
    maps = heat_maps(Network(Bright(), *SCALE, 3), x_NCHW)
    heat_NKHW = upsampled(maps.heat_NKhw, 64)
    assert divmod(int(heat_NKHW[0, 0].argmax()), 64)[0] in range(8, 16)
    assert int(heat_NKHW[0, 0].argmax()) % 64 in range(40, 48)
    assert maps.empty.tolist() == [[False, True, True], [True, False, True]]
    assert bool(heat_NKHW.isfinite().all())
    assert float(maps.heat_NKhw[maps.empty].abs().sum()) == 0.0


def test_three_label_states_and_further_heads_give_maps_of_present_against_absent() -> None:
    network = tiny(num_findings=2, states=3).eval()  # 9 outputs: 2 x 3 states, 3 further heads
    x_NCHW = images()
    maps = heat_maps(network, x_NCHW)
    assert maps.heat_NKhw.shape[:2] == maps.logit_NK.shape == (3, 2)
    plain = heat_maps(Network(network.backbone, *SCALE, 3), x_NCHW)
    torch.testing.assert_close(maps.logit_NK[:, 1], plain.logit_NK[:, 5] - plain.logit_NK[:, 3])


def test_selected_findings_are_returned_in_the_requested_order() -> None:
    network, x_NCHW = tiny(), images()
    all_maps, selected_maps = heat_maps(network, x_NCHW), heat_maps(network, x_NCHW, findings=[7, 2])
    torch.testing.assert_close(selected_maps.logit_NK, all_maps.logit_NK[:, [7, 2]])
    torch.testing.assert_close(selected_maps.heat_NKhw, all_maps.heat_NKhw[:, [7, 2]], atol=1e-9, rtol=1e-4)


def test_batch_norm_and_dropout_of_a_network_in_training_mode_do_not_change() -> None:
    network = tiny().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first, second = (heat_maps(network, images()).heat_NKhw for _ in range(2))
    assert torch.equal(first, second)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_that_fails_is_restored_without_hooks() -> None:
    network = tiny().train()
    with pytest.raises(RuntimeError):
        heat_maps(network, torch.randn(1, 5, 64, 64))
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


class ChannelsLast(Bright):
    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        return super().forward_features(x_NCHW).permute(0, 2, 3, 1)


class Pooled(Bright):
    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        return super().forward_features(x_NCHW).mean((2, 3))

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        return maps


def test_a_network_without_feature_maps_and_tokens_is_rejected() -> None:
    for backbone in (Pooled(), ChannelsLast()):
        with pytest.raises(ConfigError, match="has no feature maps and no patch tokens"):
            heat_maps(Network(backbone, *SCALE, 3), images(1, 64))


def test_constant_images_and_an_empty_batch_give_finite_maps() -> None:
    network = tiny()
    assert bool(heat_maps(network, torch.zeros(1, 3, 64, 64)).heat_NKhw.isfinite().all())
    assert heat_maps(network, torch.zeros(0, 3, 64, 64)).heat_NKhw.shape == (0, 9, 4, 4)


def test_upsampling_keeps_the_position_of_the_maximum() -> None:
    heat = torch.zeros(1, 1, 4, 4)
    heat[0, 0, 1, 2] = 1.0
    large = upsampled(heat, (64, 32))[0, 0]
    assert large.shape == (64, 32)
    rows, columns = (torch.arange(n) + 0.5 for n in (64, 32))
    center = float((large.sum(1) * rows).sum() / large.sum()), float((large.sum(0) * columns).sum() / large.sum())
    assert center == pytest.approx((24.0, 20.0))


def test_a_map_does_not_depend_on_the_rest_of_the_batch() -> None:
    network, x_NCHW = tiny(), images()
    single = torch.cat([heat_maps(network, x_NCHW[i : i + 1]).heat_NKhw for i in range(3)])
    torch.testing.assert_close(heat_maps(network, x_NCHW).heat_NKhw, single, atol=1e-8, rtol=1e-4)
