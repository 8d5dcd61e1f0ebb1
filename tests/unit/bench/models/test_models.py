"""Networks: what they cost, that seeds decide them, and that starting weights are all there or refused."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from bench.models import network as models
from bench.models.network import build, check_timm
from harmonize.errors import ConfigError, SetupError
from tests.nonempty import nonempty

TINY = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128], "dropout": 0.1}
SMALL: dict[str, Any] = {"name": "resnet10t.c3_in1k"}  # 5 M parameters, a three-layer stem
TIMM, SCRATCH = "bench.models.network:timm_model", "bench.models.se_resnet:se_resnet"


def imagenet_file(folder: Path) -> Path:
    torch.manual_seed(9)
    save_file(timm.create_model("resnet10t").state_dict(), folder / "resnet10t.safetensors")
    return folder / "resnet10t.safetensors"


def test_a_seed_decides_the_weights_and_no_global_state_is_touched() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (build(SCRATCH, TINY, 9, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.fc.weight"], other["backbone.fc.weight"])


def test_the_scratch_network_has_the_parameters_of_its_source() -> None:
    assert sum(p.numel() for p in build(SCRATCH, {}, 9).parameters()) == 21_446_473


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_starting_weights_fill_everything_but_the_classifier(tmp_path: Path, channels: int) -> None:
    file = imagenet_file(tmp_path)
    network = build(TIMM, SMALL, 9, channels, weights=file, seed=4).backbone.state_dict()
    random = build(TIMM, SMALL, 9, channels, seed=4).backbone.state_dict()
    for key, value in nonempty(load_file(file).items()):
        if key.startswith("fc."):
            assert torch.equal(network[key], random[key])  # and the same seed gives the same classifier
        else:
            expected = value.sum(1, keepdim=True) if key == "conv1.0.weight" and channels == 1 else value
            torch.testing.assert_close(network[key], expected)


def drop(state: dict[str, Tensor]) -> None:
    del state["layer1.0.conv1.weight"]


def add(state: dict[str, Tensor]) -> None:
    state["layer9.weight"] = torch.zeros(1)


def reshape(state: dict[str, Tensor]) -> None:
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2, 3, 3)


@pytest.mark.parametrize(
    ("damage", "key"), [(drop, "layer1.0.conv1.weight"), (add, "layer9.weight"), (reshape, "layer1.0.conv1.weight")]
)
def test_weights_that_do_not_fit_are_refused_with_file_and_key(tmp_path: Path, damage: Any, key: str) -> None:
    file = imagenet_file(tmp_path)
    state = load_file(file)
    damage(state)
    save_file(state, file)
    with pytest.raises(SetupError) as caught:
        build(TIMM, SMALL, 9, weights=file)
    assert key in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt"])
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(SetupError, match=r"must be a \.safetensors file"):
        build(TIMM, SMALL, 9, weights=tmp_path / name)


def test_a_pickle_named_as_safetensors_or_an_absent_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    for name in ("w.safetensors", "absent.safetensors"):
        with pytest.raises(SetupError, match="cannot read the starting weights"):
            build(TIMM, SMALL, 9, weights=tmp_path / name)


def test_a_failed_download_raises_and_random_weights_never_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupError, match=r"cannot download timm/resnet10t\.c3_in1k"):
        build(TIMM, SMALL, 9, weights="hub")


@pytest.mark.slow
def test_a_downloaded_file_is_loaded_as_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = imagenet_file(tmp_path)
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(models, "download", lambda *names: asked.append(names) or str(file))
    from_hub = build(TIMM, SMALL, 9, weights="hub").state_dict()
    local = build(TIMM, SMALL, 9, weights=file).state_dict()
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    assert all(torch.equal(from_hub[key], local[key]) for key in local)


def test_a_model_without_weights_cannot_start_from_the_hub() -> None:
    with pytest.raises(SetupError, match="no weights"):
        build(TIMM, {"name": "test_vit", "pretrained_cfg_overlay": {"hf_hub_id": None}}, 9, weights="hub")


def test_a_network_from_scratch_has_no_starting_weights(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no pretrained weights"):
        build(SCRATCH, TINY, 9, weights=imagenet_file(tmp_path))


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        (TIMM, {"name": "resnet_18"}, "did you mean 'resnet18'"),
        (TIMM, {"name": "resnet18.b7_in1k"}, "did you mean"),
        (TIMM, {"name": "resnet18", "drop_out": 0.1}, "drop_out"),
        (SCRATCH, {"depth": [1]}, "depth"),
        (SCRATCH, {"depths": [1, 1], "widths": [8]}, "the same length"),
    ],
)
def test_names_and_options_that_do_not_exist_are_refused(use: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(use, options, 9)


def test_scaling_is_that_of_the_pretraining() -> None:
    assert build(TIMM, {"name": "resnet10t"}, 9).mean == (0.485, 0.456, 0.406)
    assert build(TIMM, {"name": "tf_efficientnet_lite0"}, 9).mean == (0.5, 0.5, 0.5)
    assert build(SCRATCH, TINY, 9).std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "name", ["legacy_xception", "dpn68b", "repvgg_b0", pytest.param("tresnet_m", marks=pytest.mark.slow)]
)
def test_networks_of_other_stems_and_heads_start_from_their_file(tmp_path: Path, name: str) -> None:
    torch.manual_seed(3)
    original = timm.create_model(name).eval()
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    gray = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        maps = original.forward_features(gray.expand(-1, 3, -1, -1))
        expected = original.forward_head(maps, pre_logits=True).flatten(1)
        for channels in (1, 3):
            network = build(TIMM, {"name": name}, 9, channels, weights=tmp_path / "w.safetensors").eval()
            feature = network.embed(gray.expand(-1, channels, -1, -1))
            torch.testing.assert_close(feature, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_weights_of_a_release_are_checked_by_their_hash_and_loaded_without_running_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    state = load_file(imagenet_file(tmp_path))
    torch.save(state, tmp_path / "w.pth")
    sha = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]

    def start(file: Path) -> models.Network:
        overlay = {"hf_hub_id": None, "url": file.as_uri()}
        return build(TIMM, SMALL | {"pretrained_cfg_overlay": overlay}, 9, weights="hub")

    good, wrong = tmp_path / f"w-{sha}.pth", tmp_path / "w-00000000.pth"
    for path in (good, wrong):
        shutil.copy(tmp_path / "w.pth", path)
    assert torch.equal(start(good).state_dict()["backbone.conv1.0.weight"], state["conv1.0.weight"])
    torch.save(state | {"evil": print}, tmp_path / "evil.pth")
    sha = hashlib.sha256((tmp_path / "evil.pth").read_bytes()).hexdigest()[:8]
    evil = (tmp_path / "evil.pth").rename(tmp_path / f"evil-{sha}.pth")
    for path in (wrong, evil, tmp_path / "absent-00000000.pth"):
        with pytest.raises(SetupError, match=f"cannot download .*{path.name}"):
            start(path)


@pytest.mark.slow
def test_a_timm_model_is_looked_at_before_anything_trains() -> None:
    check_timm({"name": "resnet18"}, 1, 64, "here")
    check_timm({"name": "vit_tiny_patch16_224"}, 3, 224, "here")
    check_timm({"name": "vit_tiny_patch16_224", "img_size": 64}, 3, 64, "here")
    with pytest.raises(ConfigError, match="only takes images of 224 pixels, not 64"):
        check_timm({"name": "vit_tiny_patch16_224"}, 3, 64, "here")
    with pytest.raises(ConfigError, match="did you mean 'resnet18"):
        check_timm({"name": "resnet_18"}, 3, 64, "here")
    with pytest.raises(ConfigError, match="mobilenetv5_300m_enc has no classifier, so it cannot learn findings"):
        check_timm({"name": "mobilenetv5_300m_enc"}, 3, 64, "here")


@pytest.mark.skipif("UNSEEN_WEIGHTS" not in os.environ, reason="set UNSEEN_WEIGHTS to a folder of real weights")
@pytest.mark.parametrize("size", [0, 1, 2])
def test_real_imagenet_weights_load_and_give_the_original_features(size: int) -> None:
    name = f"tf_efficientnet_lite{size}"
    file = Path(os.environ["UNSEEN_WEIGHTS"]) / f"{name}_imagenet.safetensors"
    original = timm.create_model(name)
    original.load_state_dict(load_file(file))
    original.eval()
    network = build(TIMM, {"name": f"{name}.in1k"}, 9, weights=file).eval()
    one = build(TIMM, {"name": f"{name}.in1k"}, 9, in_channels=1, weights=file).eval()
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = original.forward_head(original.forward_features(gray.expand(-1, 3, -1, -1)), pre_logits=True)
        torch.testing.assert_close(network.embed(gray.expand(-1, 3, -1, -1)), expected)
        torch.testing.assert_close(one.embed(gray), expected, atol=1e-4, rtol=1e-4)


def test_a_network_of_this_project_is_built_without_timm():
    code = (
        "import sys, bench.runs.make_derived, bench.runs.new_images\n"
        "from bench.models.network import build\n"
        f"build({SCRATCH!r}, {TINY!r}, 2, 1)\n"
        "print([name for name in ('timm', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_network_without_a_scale_of_its_own_has_that_of_timm():
    network = build(SCRATCH, TINY, 2, 1)
    assert (network.mean, network.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


@pytest.mark.parametrize("name", ["resnet10t", "crossvit_9_240"])  # the second has two branches
def test_in_bf16_the_last_layers_stay_in_fp32_so_that_images_do_not_share_a_logit(name: str) -> None:
    network = build(TIMM, {"name": name}, 9).eval()
    images = torch.rand(4, 3, 240, 240, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        output, feature = network.outputs_and_features(images)
        rounded = network.outputs(images)
    assert (output.dtype, feature.dtype, rounded.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    torch.testing.assert_close(output, rounded.float(), rtol=0.05, atol=0.05)
    assert len(output.unique()) == output.numel()
