"""Networks from elsewhere: each source, and each thing that is asserted of what was declared."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.networks import ImportedNetwork, declared_normalization, open_model, sha256_of
from harmonize.errors import ConfigError, CxrError, SetupError
from tests.networks import Flat

FINDINGS = (
    "Edema",
    "Atelectasis",
    "Pneumonia",
    "Pleural Effusion",
)  # of a grid: another order, and one that is not given
PLAIN: dict[str, Any] = {
    "name": "A network",
    "model": {"function": "tests.networks:Flat"},
    "preprocessing": {"size": 32, "channels": 1, "range": [-1024, 1024]},
    "outputs": {
        "kind": "logit",
        "names": ["Atelectasis", "Effusion", "Edema"],
        "rename": {"Effusion": "Pleural Effusion"},
    },
    "trained_on": {"cohorts": []},
}
CPU = torch.device("cpu")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write PLAIN with other blocks as model.yaml; a block of None is left out."""

    def write(**blocks: Any) -> Path:
        path = tmp_path / "model.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in (PLAIN | blocks).items() if v is not None}))
        return path

    return write


def opened(path: Path) -> ImportedNetwork:
    return open_model(ModelDeclaration.read(path), FINDINGS, CPU)


def images(num: int = 5, channels: int = 1) -> Tensor:
    return torch.rand((num, channels, 32, 32), generator=torch.Generator().manual_seed(1))


def error(path: Path, kind: type[CxrError] = ConfigError) -> CxrError:
    with pytest.raises(kind) as raised:
        opened(path)
    return raised.value


def test_outputs_come_in_the_grids_order_and_what_is_lacking_is_0(write: Write) -> None:
    found = opened(write())(images())
    plain = Flat()(images())
    assert torch.allclose(found[:, [1, 3, 0]], plain)
    assert (found[:, 2] == 0).all()


def test_probabilities_become_finite_logits(write: Write) -> None:
    names = {**PLAIN["outputs"], "kind": "probability"}
    found = opened(write(model={"function": "tests.networks:Flat", "with": {"sigmoid": True}}, outputs=names))(images())
    assert torch.allclose(found[:, [1, 3, 0]], Flat()(images()), atol=1e-3)
    sure = opened(
        write(model={"function": "tests.networks:Flat", "with": {"sigmoid": True, "scale": 1e4}}, outputs=names)
    )(images())
    assert torch.isfinite(sure).all()
    assert sure.abs().max() > 15


def test_a_safetensors_state_dict_is_loaded_into_the_function(write: Write, tmp_path: Path) -> None:
    other = Flat()
    torch.nn.init.constant_(other.head.weight, 0.25)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    model = {"function": "tests.networks:Flat", "weights": "w.safetensors"}
    assert torch.allclose(opened(write(model=model))(images())[:, 1], other(images())[:, 0])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_the_prefix_of_a_wrapped_network_is_removed(prefix: str, write: Write, tmp_path: Path) -> None:
    other = Flat()
    torch.nn.init.constant_(other.head.weight, 0.25)
    save_file({prefix + key: value for key, value in other.state_dict().items()}, tmp_path / "w.safetensors")
    model = {"function": "tests.networks:Flat", "weights": "w.safetensors"}
    assert torch.allclose(opened(write(model=model))(images())[:, 1], other(images())[:, 0])


def test_a_timm_checkpoint_has_features_and_logits(write: Write, tmp_path: Path) -> None:
    import timm

    network = timm.create_model("resnet10t", num_classes=3, in_chans=1).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    found = opened(write(model={"timm": "resnet10t", "weights": "w.safetensors"}))
    output, feature = found.outputs_and_features(images())
    assert feature.shape == (5, 512)
    assert torch.allclose(output, network(images()), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # those of torchxrayvision and what it imports
def test_torchxrayvisions_densenet_takes_its_own_range_and_its_18_outputs(write: Write, tmp_path: Path) -> None:
    xrv = pytest.importorskip("torchxrayvision")
    options = {
        "num_classes": 18,
        "in_channels": 1,
        "growth_rate": 4,
        "block_config": [1, 1, 1, 1],
        "num_init_features": 8,
    }
    torch.manual_seed(0)
    save_file(xrv.models.DenseNet(**options).state_dict(), tmp_path / "xrv.safetensors")
    names = list(xrv.datasets.default_pathologies)
    known = {"Effusion": "Pleural Effusion"}
    kept = {
        "Atelectasis",
        "Consolidation",
        "Pneumothorax",
        "Edema",
        "Effusion",
        "Pneumonia",
        "Cardiomegaly",
        "Lung Lesion",
    }
    path = write(
        model={"function": "torchxrayvision.models:DenseNet", "weights": "xrv.safetensors", "with": options},
        preprocessing={"size": 64, "fit": "smallest_crop", "channels": 1, "range": [-1024, 1024]},
        outputs={"kind": "logit", "names": names, "rename": known, "drop": [n for n in names if n not in kept]},
        trained_on={"cohorts": ["nih", "padchest", "chexpert", "mimic"], "licence": "apache-2.0"},
    )
    declared = ModelDeclaration.read(path)
    x = declared_normalization(declared.input)(
        torch.arange(256, dtype=torch.uint8).expand(2, 64, 256)[:, :, ::4].contiguous()
    )
    theirs = xrv.datasets.normalize(np.arange(0.0, 256.0, 4.0), 255)
    assert np.allclose(x[0, 0, 0].numpy(), theirs, atol=1e-3)
    found = opened(path)
    assert found(x).shape == (2, 4)
    assert found.columns[0] == names.index("Edema")


def exported(tmp_path: Path, batch: int | None = None) -> Flat:
    """Write net.onnx of a network; `batch` None: of any size."""
    import warnings

    network, example = Flat().eval(), (torch.zeros((batch or 2, 1, 32, 32)),)
    shapes = {"x_NCHW": {0: torch.export.Dim("n", max=4096)}} if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, example, dynamic_shapes=shapes)
        if "onnxscript" in sys.modules or _installed("onnxscript"):
            torch.onnx.export(program, f=tmp_path / "net.onnx", dynamo=True, verbose=False, external_data=False)
    return network


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("batch", [None, 1])
def test_torch_and_onnx_say_the_same(write: Write, tmp_path: Path, batch: int | None) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    own = exported(tmp_path, batch)(images())
    network = opened(write(model={"onnx": "net.onnx"}))
    found = network(images())[:, [1, 3, 0]]
    assert torch.allclose(found, own, atol=1e-4)
    assert found.abs().max() > 0.01
    assert len(sha256_of(network.declared, network)) == 64


def graph(tmp_path: Path, location: str = "", channels: int = 1) -> None:
    """Write net.onnx by hand: the mean over pixels times three weights, which may lie elsewhere."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = helper.make_tensor("w", kind, [channels, 3], np.float32([1, 2, 3] * channels).tobytes(), raw=True)
    if location:
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", kind, ["n", channels, 32, 32])
    y = helper.make_tensor_value_info("y", kind, ["n", 3])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret"])
def test_an_onnx_file_reads_nothing_outside_its_folder(write: Write, tmp_path: Path, location: str) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path.parent / "secret").write_bytes(np.float32([9, 9, 9]).tobytes())
    graph(tmp_path, location)
    assert "outside its folder" in error(write(model={"onnx": "net.onnx"}), SetupError).what


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_outside_are_found_in_sparse_constants_and_training_graphs(write: Write, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    external = onnx.TensorProto(dims=[1], data_type=onnx.TensorProto.FLOAT, data_location=onnx.TensorProto.EXTERNAL)
    external.external_data.add(key="location", value="../secret")
    for place in ("sparse", "training"):
        graph(tmp_path)
        model = onnx.load(tmp_path / "net.onnx")
        if place == "sparse":
            node = model.graph.node.add(op_type="Constant", output=["s"])
            node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.values.CopyFrom(external)  # fmt: skip
        else:
            model.training_info.add().initialization.initializer.add().CopyFrom(external)
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        assert "outside its folder" in error(write(model={"onnx": "net.onnx"}), SetupError).what


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_may_have_its_weights_beside_it_and_they_count_in_its_hash(write: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph(tmp_path, "w.bin")
    assert "missing" in error(write(model={"onnx": "net.onnx"}), SetupError).what
    hashes = []
    for values in ([1, 2, 3], [3, 2, 1]):
        (tmp_path / "w.bin").write_bytes(np.float32(values).tobytes())
        network = opened(write(model={"onnx": "net.onnx"}))
        assert torch.allclose(network(images())[:, 1], images().mean((1, 2, 3)) * values[0], atol=1e-5)
        hashes.append(sha256_of(network.declared, network))
    assert hashes[0] != hashes[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_for_other_channels_or_another_size_is_named(write: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph(tmp_path, channels=3)
    assert "write channels: 3" in error(write(model={"onnx": "net.onnx"})).fix
    graph(tmp_path)
    big = {**PLAIN["preprocessing"], "size": 64}
    assert "write size: 32" in error(write(model={"onnx": "net.onnx"}, preprocessing=big)).fix
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    assert "not an ONNX file" in error(write(model={"onnx": "net.onnx"}), SetupError).what


def test_without_onnxruntime_the_extra_is_named(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "unseen-cxr[onnx]" in error(write(model={"onnx": "net.onnx"}), SetupError).fix


NAMES = ["Atelectasis", "Edema", "Mass"]


@pytest.mark.parametrize(
    ("blocks", "said", "fix"),
    [
        ({"preprocessing": {**PLAIN["preprocessing"], "size": 64}}, "does not take 1 x 64 x 64 images", "size"),
        ({"preprocessing": {**PLAIN["preprocessing"], "channels": 3}}, "does not take 3 x 32 x 32 images", "channels"),
        ({"preprocessing": {"size": 32, "channels": 1}}, "scale of the gray values", "range: [low, high]"),
        (
            {"preprocessing": {"size": 32, "channels": 2, "range": [0, 1]}},
            "Invalid enum value 2 - at `$.channels`",
            "your-own-model.md",
        ),
        (
            {"preprocessing": {"size": 32, "range": [1, 0]}},
            "the first number of range must be below the second (got [1.0, 0.0])",
            "[low, high]",
        ),
        ({"preprocessing": {"size": 32, "mean": 0.5, "std": 0}}, "std must be above 0", "trained with"),
        ({"preprocessing": {"size": 32, "mean": 123.675, "std": 58.4}}, "(got 123.675)", "by 255"),
        (
            {"outputs": {"kind": "logit", "names": NAMES, "drop": 7}},
            "Expected `array`, got `int` - at `$.drop`",
            "your-own-model.md",
        ),
        ({"preprocessing": {"size": 32, "fit": "stretch", "range": [0, 1]}}, "stretch", ""),
        ({"preprocessing": {"size": 32, "ops": ["histmatch"], "range": [0, 1]}}, "histmatch", "minmax"),
        ({"outputs": {"kind": "logit", "names": ["Edema"]}}, "3 outputs, but `names` has 1", "every output"),
        ({"outputs": {"kind": "logit", "names": ["Edma", "Mass", "Atelectasis"]}}, "'Edma'", "'Edema'"),
        (
            {"outputs": {"kind": "logit", "names": ["Edema", "Edema", "Mass"]}},
            "two outputs have the name 'Edema'",
            "drop",
        ),
        ({"outputs": {"kind": "logit", "names": NAMES, "drop": ["Nodule"]}}, "has no output 'Nodule'", "Mass"),
        (
            {"outputs": {"kind": "score", "names": NAMES}},
            "Invalid enum value 'score' - at `$.kind`",
            "your-own-model.md",
        ),
        ({"outputs": {"kind": "probability", "names": NAMES}}, "are not probabilities", "kind: logit"),
        ({"model": {"function": "tests.networks:Flat", "with": {"fault": "nan"}}}, "not finite", "scaled"),
        ({"model": {"function": "tests.networks:Flat", "with": {"fault": "tuple"}}}, "returns tuple", "wrap it"),
        ({"model": {"function": "tests.networks:Flat", "with": {"width": 3}}}, "unexpected keyword", "with:"),
        ({"model": {"function": "tests.networks:not_a_network"}}, "returns str", "torch.nn.Module"),
        ({"model": {"timm": "resnet10t"}}, "a timm model needs weights", "weights:"),
        ({"model": {"timm": "a", "onnx": "b"}}, "timm and onnx", "name exactly one"),
        ({"model": {"onnx": "absent.onnx"}}, "does not exist", "relative to model.yaml"),
        ({"model": None}, "is missing", "your-own-model.md"),
        ({"trained_on": {}}, "training data of the model are missing", "cohorts: []"),
        ({"trained_on": {"cohorts": [], "license": "x"}}, "unknown key 'license'", "licence"),
        ({"name": ""}, "name must be", "name:"),
    ],
)
def test_what_does_not_fit_is_said_with_its_mend(write: Write, blocks: dict[str, Any], said: str, fix: str) -> None:
    found = error(write(**blocks))
    assert said in found.what
    assert fix in found.fix
    assert "model.yaml" in found.where or said == "stretch"


def test_weights_that_do_not_fit_and_pickles_are_refused(write: Write, tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, tmp_path / "w.safetensors")
    model = {"function": "tests.networks:Flat", "weights": "w.safetensors"}
    what = error(write(model=model), SetupError).what
    assert re.search(r"\d missing: .*conv\.weight", what)
    assert "1 unexpected: other" in what
    state = {key: value[..., :1] for key, value in Flat().state_dict().items()}
    save_file({"module." + key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors")
    assert "of another shape: " in error(write(model=model), SetupError).what
    state = {key: value * torch.nan for key, value in Flat().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    assert "have NaN or infinite values, first " in error(write(model=model), SetupError).what
    (tmp_path / "w.pt").write_bytes(b"\x80\x04")
    assert ".safetensors" in error(write(model={**model, "weights": "w.pt"}), SetupError).what


def test_a_grid_whose_findings_the_model_lacks_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="predicts no finding"):
        ModelDeclaration.read(write()).predicted(["Cardiomegaly"])


def test_a_missing_module_is_named_with_the_key_of_the_file(write: Write) -> None:
    found = error(write(model={"function": "no_such_package.nets:make"}))
    assert "cannot load 'no_such_package.nets:make'" in found.what
    assert found.where.endswith("model.yaml: model.function")
