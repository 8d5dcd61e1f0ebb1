"""Golden outputs: written for a model that its owner can run, and compared before a model is tested."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.evaluation import write_golden
from bench.extensions.imported.golden_outputs import TABLE, GoldenOutputs
from bench.extensions.imported.networks import ImportedNetwork, open_model
from bench.extensions.imported.request import EvaluationRequest
from harmonize.errors import ConfigError

NAMES = ["Atelectasis", "Effusion", "Edema", "Mass"]
CPU = torch.device("cpu")
Model = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network of three channels, and golden outputs of its correct model.yaml."""
    folder = tmp_path_factory.mktemp("golden")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=4, in_chans=3)
    for module in network.modules():  # random statistics, so that the outputs depend on the scale of the input
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    save_file(network.state_dict(), folder / "w.safetensors")
    GoldenOutputs.of(opened(declared(folder))).write(folder / "golden")
    return folder


def declared(
    folder: Path, preprocessing: dict[str, Any] | None = None, names: list[str] = NAMES, **more: Any
) -> ModelDeclaration:
    content = {
        "name": "A network",
        "model": {"timm": "resnet10t", "weights": "w.safetensors"},
        "preprocessing": {"size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], **(preprocessing or {})},
        "outputs": {"kind": "logit", "names": names, "rename": {"Effusion": "Pleural Effusion"}, "drop": ["Mass"]},
        "trained_on": {"seen": "no"},
        **more,
    }  # fmt: skip
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(content))
    return ModelDeclaration.read(path)


def opened(declared: ModelDeclaration) -> ImportedNetwork:
    return open_model(declared, ["Edema"], CPU, trust=False)


def refusal(found: ModelDeclaration) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        GoldenOutputs.read(found).check(opened(found))
    return raised.value


def test_the_outputs_are_computed_without_the_rounding_of_tf32(folder: Path) -> None:
    network, allowed = opened(declared(folder)), []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda *_: allowed.append(torch.backends.cudnn.allow_tf32))
    GoldenOutputs.of(network)
    assert allowed
    assert not any(allowed)


def test_the_outputs_that_the_owner_wrote_are_accepted(folder: Path) -> None:
    found = declared(folder, golden="golden")
    golden = GoldenOutputs.read(found)
    golden.check(opened(found))
    assert golden.columns == ("Atelectasis", "Pleural Effusion", "Edema")
    assert len(golden.images) == 6
    assert len({image.shape for image in golden.images}) > 1  # so that a wrong fit is noticed


@pytest.mark.parametrize(
    "wrong",
    [
        {"preprocessing": {"mean": 0.5, "std": 0.5}},
        {"preprocessing": {"mean": [0.406, 0.456, 0.485], "std": [0.225, 0.224, 0.229]}},
        {"preprocessing": {"fit": "letterbox"}},
        {"preprocessing": {"interpolation": "bilinear_no_antialias"}},
        {"names": ["Effusion", "Atelectasis", "Edema", "Mass"]},
    ],
)
def test_a_wrong_declaration_is_refused(folder: Path, wrong: dict[str, Any]) -> None:
    error = refusal(declared(folder, **wrong, golden="golden"))
    assert "differ from the golden outputs (image " in error.what
    assert "correct model.yaml" in error.fix


@pytest.mark.slow
def test_different_levels_of_the_findings_do_not_hide_a_wrong_normalization(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "w.safetensors")
    state["fc.bias"] += torch.tensor([-200.0, 0.0, 200.0, 0.0])
    save_file(state, tmp_path / "w.safetensors")
    GoldenOutputs.of(opened(declared(tmp_path))).write(tmp_path / "golden")
    right = declared(tmp_path, golden="golden")
    GoldenOutputs.read(right).check(opened(right))
    assert "differ" in refusal(declared(tmp_path, {"mean": 0.5, "std": 0.5}, golden="golden")).what


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.rename(columns={"Edema": "Oedema"}), "no output 'Oedema'"),
        (lambda t: t.assign(Edema="x"), "not all numbers"),
        (lambda t: t.assign(image="absent.png"), "cannot be read"),
        (lambda t: t.drop(columns="image"), "cannot be read"),
    ],
)
def test_unusable_golden_outputs_are_refused(folder: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    GoldenOutputs.read(declared(folder, golden="golden")).write(tmp_path / "g")
    spoil(pd.read_csv(tmp_path / "g" / TABLE)).to_csv(tmp_path / "g" / TABLE, index=False)
    with pytest.raises(ConfigError, match=said):
        GoldenOutputs.read(declared(folder, golden=str(tmp_path / "g")))


def test_names_before_the_renaming_are_accepted_too(folder: Path, tmp_path: Path) -> None:
    found = declared(folder, golden="golden")
    GoldenOutputs.read(found).write(tmp_path / "g")
    table = pd.read_csv(tmp_path / "g" / TABLE).rename(columns={"Pleural Effusion": "Effusion"}).assign(Mass=3.0)
    table.to_csv(tmp_path / "g" / TABLE, index=False)
    GoldenOutputs.read(declared(folder, golden=str(tmp_path / "g"))).check(opened(found))


@pytest.mark.slow
def test_the_option_writes_the_folder_that_the_key_names(folder: Path, tmp_path: Path) -> None:
    declared(folder)
    request = EvaluationRequest.read(folder / "model.yaml", "tiny", None, None)
    assert write_golden(request, tmp_path / "new", "cpu", False) == tmp_path / "new" / TABLE
    assert pd.read_csv(tmp_path / "new" / TABLE).equals(pd.read_csv(folder / "golden" / TABLE))


def test_golden_outputs_need_no_data_of_the_grid(folder: Path) -> None:
    declared(folder)
    with pytest.raises(ConfigError, match="needs data"):
        EvaluationRequest.read(folder / "model.yaml", "main-study", None, None)
    EvaluationRequest.read(folder / "model.yaml", "main-study", None, None, golden=True).check_golden()


def test_predictions_have_no_golden_outputs(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "nih.csv").write_text("image_id,Edema\n")
    content = {"name": "x", "model": {"predictions": "p"}, "outputs": {"kind": "logit"}, "trained_on": {"seen": "no"}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**content, "golden": "p"}))
    with pytest.raises(ConfigError, match="predictions cannot have golden outputs"):
        ModelDeclaration.read(tmp_path / "model.yaml")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(content))
    request = EvaluationRequest.read(tmp_path / "model.yaml", "tiny", None, None)
    with pytest.raises(ConfigError, match="only a network"):
        write_golden(request, tmp_path / "g", "cpu", False)
