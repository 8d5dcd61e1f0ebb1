"""scripts/convert.py turns published files into safetensors with the names of the network; what does not fit is named."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.models.network import build

ROOT = Path(__file__).parents[3]
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert", ROOT / "scripts" / "convert.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert"] = module
    spec.loader.exec_module(module)
    return module


def network(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=3, **options)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return model


def split_qkv(state: State, before: str, names: tuple[str, str, str]) -> State:
    """Undo the joint tensor of query, key and value of each block."""
    out = {}
    for name, tensor in state.items():
        if before in name:
            parts = zip(names, tensor.chunk(3), strict=True)
            out |= {name.replace(before, new): part.clone() for new, part in parts}
        else:
            out[name] = tensor
    return out


def swapped(state: State, *pairs: tuple[str, str]) -> State:
    out = {}
    for name, tensor in state.items():
        new = name
        for old, published in pairs:
            new = new.replace(old, published)
        out[new] = tensor
    return out


def without_head(model: nn.Module, *heads: str) -> State:
    return {name: t for name, t in model.state_dict().items() if not name.startswith(heads or ("head.",))}


def published_dinov2(model: nn.Module) -> State:
    """The names of transformers' Dinov2Model."""
    state = split_qkv(without_head(model), ".attn.qkv.", (".attention.attention.query.", ".attention.attention.key.", ".attention.attention.value."))  # fmt: skip
    state = swapped(
        state, ("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"), (".attn.proj.", ".attention.output.dense."),
        (".ls1.gamma", ".layer_scale1.lambda1"), (".ls2.gamma", ".layer_scale2.lambda1"), ("blocks.", "encoder.layer."),
    )  # fmt: skip
    state = {f"layer{name}" if name.startswith("norm.") else name: t for name, t in state.items()}
    return {**state, "embeddings.mask_token": torch.zeros(1, 48)}


def published_siglip(model: nn.Module) -> State:
    """The names of transformers' SiglipModel, with its text network."""
    state = dict(without_head(model))
    for kind in ("weight", "bias"):
        joint = torch.cat([state.pop(f"attn_pool.q.{kind}"), state.pop(f"attn_pool.kv.{kind}")])
        state[f"head.attention.in_proj_{kind}"] = joint
    state["pos_embed"] = state["pos_embed"][0]
    state = {"post_layernorm." + n.removeprefix("norm.") if n.startswith("norm.") else n: t for n, t in state.items()}
    state = split_qkv(state, ".attn.qkv.", (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."))
    state = swapped(
        state, ("attn_pool.latent", "head.probe"), ("attn_pool.proj.", "head.attention.out_proj."),
        ("attn_pool.norm.", "head.layernorm."), ("attn_pool.mlp.", "head.mlp."), (".attn.proj.", ".self_attn.out_proj."),
        (".norm1.", ".layer_norm1."), (".norm2.", ".layer_norm2."), ("blocks.", "encoder.layers."),
        ("patch_embed.proj.", "embeddings.patch_embedding."), ("pos_embed", "embeddings.position_embedding.weight"),
    )  # fmt: skip
    state = {f"vision_model.{name}": tensor for name, tensor in state.items()}
    return {
        **state,
        "text_model.final_layer_norm.weight": torch.ones(4),
        "logit_scale": torch.ones(1),
        "logit_bias": torch.ones(1),
    }


def published_clip(model: nn.Module) -> State:
    """The names of OpenAI's CLIP, in half precision, with its text network."""
    state = without_head(model)
    state = {name: t.half().squeeze() if name in ("cls_token", "pos_embed") else t.half() for name, t in state.items()}
    state = {"ln_post." + n.removeprefix("norm.") if n.startswith("norm.") else n: t for n, t in state.items()}
    state = swapped(
        state, ("cls_token", "class_embedding"), ("pos_embed", "positional_embedding"), ("patch_embed.proj.", "conv1."),
        ("norm_pre.", "ln_pre."), (".attn.qkv.", ".attn.in_proj_"), (".attn.proj.", ".attn.out_proj."), (".norm1.", ".ln_1."),
        (".norm2.", ".ln_2."), (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."), ("blocks.", "transformer.resblocks."),
    )  # fmt: skip
    text = {
        "transformer.resblocks.0.ln_1.weight": torch.ones(4),
        "positional_embedding": torch.ones(77, 4),
        "logit_scale": torch.ones(1),
    }
    return {**{f"visual.{name}": t for name, t in state.items()}, **text, "visual.proj": torch.ones(48, 8)}


def published_eva(model: nn.Module) -> State:
    """The names of EVA-02's masked-image pretraining, with its own output layer, rope and mask token."""
    out: State = {}
    for name, tensor in without_head(model).items():
        if ".mlp.fc1." in name:
            for part, half in zip(("w1", "w2"), tensor.chunk(2), strict=True):
                out[name.replace(".fc1.", f".{part}.")] = half.clone()
        else:
            out[name] = tensor
    pairs = (
        (".mlp.fc1_g.", ".mlp.w1."),
        (".mlp.fc1_x.", ".mlp.w2."),
        (".mlp.fc2.", ".mlp.w3."),
        (".mlp.norm.", ".mlp.ffn_ln."),
    )
    out = swapped(
        out, *pairs, ("fc_norm.", "norm."), (".attn.q_proj.bias", ".attn.q_bias"), (".attn.v_proj.bias", ".attn.v_bias")
    )
    return {
        **out,
        "mask_token": torch.zeros(1, 1, 48),
        "lm_head.weight": torch.zeros(8, 48),
        "rope.freqs_cos": torch.zeros(4, 4),
    }


def published_swin(model: nn.Module) -> State:
    """The names of timm 0.5.4, with the heads of Ark+ and buffers."""
    out = {}
    for name, tensor in without_head(model).items():
        stage = name.split(".")[1]
        out[name.replace(f"layers.{stage}.down", f"layers.{int(stage) - 1}.down") if "downsample" in name else name] = (
            tensor
        )
    heads = {"omni_heads.0.weight": torch.zeros(14, 8), "projector.weight": torch.zeros(8, 8)}
    return {**out, **heads, "layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16)}


VIT: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 56}
EVA: dict[str, Any] = {**VIT, "img_size": 64, "patch_size": 16, "ref_feat_shape": (4, 4)}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[nn.Module], State], str]] = {
    "RAD-DINO": ("vit_base_patch14_dinov2", VIT, published_dinov2, "transformers Dinov2"),
    "MedSigLIP": ("vit_so400m_patch14_siglip_384", VIT, published_siglip, "transformers SigLIP"),
    "CheXzero": ("vit_base_patch32_clip_quickgelu_224", {**VIT, "img_size": 64}, published_clip, "OpenAI CLIP"),
    "EVA-X-Ti": ("eva02_tiny_patch14_224", EVA, published_eva, "EVA"),
    "EVA-X-B": ("eva02_base_patch14_224", EVA, published_eva, "EVA"),
    "Ark+": (
        "swin_large_patch4_window12_384",
        {"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)},
        published_swin,
        "Swin of timm 0.5",
    ),
    "BiomedCLIP": (
        "vit_base_patch16_224",
        {**VIT, "img_size": 64},
        lambda m: {f"visual.trunk.{n}": t for n, t in without_head(m).items()} | {"text.x": torch.ones(1), "visual.head.proj.weight": torch.ones(1)},
        "open_clip with a timm network",
    ),
    "BioViL-T": ("resnet10t", {}, lambda m: {f"encoder.encoder.{n}": t for n, t in m.state_dict().items()}, "ResNet of hi-ml"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_published_file_gives_the_network_back(script: ModuleType, case: str, tmp_path: Path) -> None:
    name, options, published, form = CASES[case]
    model = network(name, **options)
    torch.save({"teacher" if case == "Ark+" else "state_dict": published(model)}, tmp_path / "a.pth.tar")
    tensors, found = script.converted(script.read(tmp_path / "a.pth.tar"), model)
    assert found == form
    for key, tensor in tensors.items():
        assert torch.allclose(tensor, model.state_dict()[key], rtol=2e-3, atol=2e-3), key  # CLIP: half precision
    save_file(tensors, tmp_path / "b.safetensors")  # the network of a run takes the file without further keys
    built = build(
        "bench.models.network:timm_model", {"name": name, **options}, 9, 3, tmp_path / "b.safetensors", keys={}
    )
    features = {key for key in model.state_dict() if not key.startswith(("head.", "fc."))}
    assert all(torch.allclose(built.backbone.state_dict()[key], tensors[key]) for key in features & set(tensors))


def test_a_whole_module_of_torchxrayvision_is_read_without_its_code(script: ModuleType, tmp_path: Path) -> None:
    xrv = pytest.importorskip("torchxrayvision")
    torch.manual_seed(0)
    model = xrv.models.DenseNet(
        num_classes=18, in_channels=1, growth_rate=4, block_config=(1, 1, 1, 1), num_init_features=8
    )
    model.op_threshs = torch.zeros(18)
    torch.save(model, tmp_path / "xrv.pt")
    state = script.read(tmp_path / "xrv.pt")
    assert torch.equal(state["features.conv0.weight"], model.state_dict()["features.conv0.weight"])


@pytest.mark.slow
def test_the_densenet_of_torchxrayvision_fits_the_network_of_the_registry(script: ModuleType) -> None:
    xrv = pytest.importorskip("torchxrayvision")
    torch.manual_seed(0)
    state = dict(xrv.models.DenseNet(num_classes=18, in_channels=1).state_dict())
    model = timm.create_model("densenet121", num_classes=3, in_chans=1).eval()
    tensors, form = script.converted({**state, "op_threshs": torch.zeros(18)}, model)
    assert form == "torchxrayvision"
    model.load_state_dict(tensors, strict=False)
    x = torch.randn(2, 1, 64, 64)
    theirs = xrv.models.DenseNet(num_classes=18, in_channels=1).eval()
    theirs.load_state_dict(state)
    expected = theirs.features(x).relu()
    assert torch.allclose(model.forward_features(x), expected, atol=1e-5)


def test_foreign_code_in_a_file_is_refused_and_never_run(script: ModuleType, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (marker.touch, ())

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(script.ConversionError, match="needs code to be opened"):
        script.read(tmp_path / "bomb.pt")
    assert not marker.exists()


class _Called:
    """A pickle of this object calls a class with arguments."""

    def __init__(self, called: Any, *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called, self.arguments


def test_a_class_that_a_file_may_name_is_never_called(script: ModuleType, tmp_path: Path) -> None:
    """A class of an allowed package can load a second file when it is called: torchxrayvision's networks do."""
    marker, package = tmp_path / "ran", ModuleType("torchxrayvision.models")

    class Network(torch.nn.Module):
        def __init__(self, *_: object) -> None:
            super().__init__()
            marker.touch()

    Network.__module__, Network.__qualname__ = package.__name__, "Network"
    package.Network = Network  # type: ignore[attr-defined]
    sys.modules |= {"torchxrayvision": ModuleType("torchxrayvision"), package.__name__: package}
    try:
        for called in (_Called(Network, "x"), {"model": _Called(Network)}, _Called(torch.nn.Linear, 10**6, 10**7)):
            torch.save(called, tmp_path / "file.pt")
            with pytest.raises(script.ConversionError, match=r"no tensors by name|cannot be opened"):
                script.read(tmp_path / "file.pt")
    finally:
        del sys.modules["torchxrayvision"], sys.modules[package.__name__]
    assert not marker.exists()


def test_whole_modules_give_their_state_dict_without_their_package(script: ModuleType, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 1, bias=False))
    module.register_buffer("scratch", torch.ones(1), persistent=False)
    torch.save({"model": module}, tmp_path / "whole.pt")
    found = script.read(tmp_path / "whole.pt")
    assert found.keys() == module.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.pop("blocks.1.mlp.fc2.bias"), r"blocks\.1\.mlp\.fc2\.bias of the network is missing in the file; nearest: blocks\.\d\.mlp"),
        (lambda s: s.update({"blocks.2.norm1.weight": torch.ones(48)}), r"blocks\.2\.norm1\.weight of the file has no place in the network; nearest: blocks\.\d\.norm1\.weight"),
        (lambda s: s.update({"pos_embed": torch.ones(1, 5, 48)}), r"pos_embed: shape \[1, 5, 48\] in the file, \[1, 17, 48\] in the network"),
        (lambda s: s.update({"stem.other": torch.ones(1)}), r"stem\.other of the file has no place"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named_with_the_nearest(
    script: ModuleType, spoil: Callable[[State], Any], said: str
) -> None:
    model = network("vit_base_patch14_dinov2", **VIT)
    state = dict(without_head(model))
    spoil(state)
    with pytest.raises(script.ConversionError, match=said):
        script.converted(state, model)


def test_a_tensor_that_the_user_names_is_left_out(script: ModuleType) -> None:
    model = network("vit_base_patch14_dinov2", **VIT)
    state = {**without_head(model), "decoder.weight": torch.ones(1)}
    tensors, form = script.converted(state, model, ["decoder."])
    assert form == "DINOv2"
    assert "decoder.weight" not in tensors


def test_the_command_writes_the_file_that_the_registry_names(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry.yaml").write_text("""
schema: 1
include: shipped
encoders:
  small: {timm: vit_base_patch14_dinov2, with: {depth: 2, embed_dim: 48, num_heads: 3, img_size: 56}, file: small.safetensors, corpus: x}
""")
    model = network("vit_base_patch14_dinov2", **VIT)
    torch.save(published_dinov2(model), tmp_path / "a.pt")
    arguments = [
        "small",
        str(tmp_path / "a.pt"),
        "--to",
        str(tmp_path / "w"),
        "--registry",
        str(tmp_path / "registry.yaml"),
    ]
    assert script.main(arguments) == 0
    assert "transformers Dinov2: " in capsys.readouterr().out
    assert torch.equal(load_file(tmp_path / "w" / "small.safetensors")["pos_embed"], model.state_dict()["pos_embed"])
    torch.save({"x": torch.ones(1)}, tmp_path / "a.pt")
    assert script.main(arguments) == 2
    assert "does not fit" in capsys.readouterr().err
    assert script.main(["dinov2_b14", str(tmp_path / "a.pt")]) == 2
    assert "those of timm" in capsys.readouterr().err


def test_files_that_cannot_be_opened_are_named_with_a_fix(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, old = tmp_path / "whole.pt", tmp_path / "old.pt"
    torch.save({"a": torch.zeros(1000)}, whole)
    torch.save({"a": torch.zeros(1000)}, old, _use_new_zipfile_serialization=False)
    damaged = {
        "empty.pt": b"",
        "page.pt": b"<html>not found</html>",
        "cut.pt": whole.read_bytes()[:2000],
        "old_cut.pt": old.read_bytes()[:2000],
        "old_start.pt": old.read_bytes()[:60],
        "empty.safetensors": b"",
        "damaged.safetensors": b"\xff" * 40,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        assert script.main(["eva_x_ti", str(tmp_path / name), "--to", str(tmp_path / "weights")]) == 2, name
        error = capsys.readouterr().err
        assert f"{tmp_path / name} cannot be opened: " in error
        assert "download it again" in error


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_file_is_refused_with_its_fix(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert script.main(["eva_x_ti", str(path), "--to", str(tmp_path / "weights")]) == 2
    error = capsys.readouterr().err
    assert f"{path} is a TorchScript file" in error
    assert "torch.save(model.state_dict(), FILE)" in error
