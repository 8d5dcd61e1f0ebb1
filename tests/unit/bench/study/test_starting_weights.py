"""Files of starting weights: listed, checked, mapped to a network's names, and refused before anything trains."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as STD
from torch import nn

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.planning.run import RunSpec, parse_run
from bench.runs.networks import initial_network
from bench.study import starting_weights
from bench.study.request import Request
from bench.study.starting_weights import fetch, needed
from harmonize.errors import RegistryError, SetupError

REGISTRY = """
schema: 1
include: shipped
architectures:
  small: {use: "tests.unit.bench.study.test_starting_weights:small", title: Small}
weights:
  radiographs: {file: mine.safetensors, corpus: our radiographs, licence: cc-by-4.0, keys: {"encoder.": "", "decoder.": null}}
"""
GRID = """
name: mine
evaluate_on: [mimic]
analyses: false
phantom: {source: 100, external: 30, size: 64}
base: {train_on: chexpert, architecture: small, weights: radiographs, optimizer: adamw, loss: bce, uncertainty: u_ignore,
       preprocessing: imagenet_64, channels: 1}
"""


class Small(nn.Module):
    """An architecture of a user: one convolution and a linear layer."""

    def __init__(self, num_outputs: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_outputs)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        feature = maps.mean((2, 3))
        return feature if pre_logits else self.head(feature)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def small(num_outputs: int, in_channels: int) -> nn.Module:
    return Small(num_outputs, in_channels)


def tensors(names: str = "encoder.") -> dict[str, torch.Tensor]:
    """Return the weights of a network with another head, three channels and a decoder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = Small(7, 3).state_dict()
    renamed = {f"{names}{name}": value + 1 for name, value in state.items() if not name.endswith("tracked")}
    return renamed | {"decoder.weight": torch.zeros(2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    (tmp_path / "grid.yaml").write_text(GRID)
    save_file(tensors(), tmp_path / "mine.safetensors")
    return tmp_path


def request(folder: Path) -> Request:
    return Request.read(str(folder / "grid.yaml"), folder / "registry.yaml", None, None)


def test_a_file_starts_an_architecture_of_one_s_own_and_the_output_layer_stays_random(folder: Path) -> None:
    keys = {"encoder.": "", "decoder.": None}
    made = build(small, {}, 5, 1, folder / "mine.safetensors", keys=keys)
    random = build(small, {}, 5, 1)
    stored = tensors()
    state = made.backbone.state_dict()
    assert torch.equal(state["bn.weight"], stored["encoder.bn.weight"])
    assert torch.allclose(state["conv.weight"], stored["encoder.conv.weight"].sum(1, keepdim=True))  # one channel
    assert torch.equal(state["head.weight"], random.backbone.state_dict()["head.weight"])


@pytest.mark.parametrize(
    ("keys", "what"),
    [({}, "missing: conv.weight"), ({"encoder.": ""}, "1 unexpected: decoder.weight"), ({"encoder.": "", "decoder.": "conv."}, "used twice: conv.weight")],
)  # fmt: skip
def test_names_that_do_not_fit_are_listed(folder: Path, keys: dict[str, str | None], what: str) -> None:
    with pytest.raises(SetupError, match="do not fit the network") as error:
        build(small, {}, 5, 1, folder / "mine.safetensors", keys=keys)
    assert what in error.value.what
    assert "`keys:`" in error.value.fix


def test_the_run_id_depends_on_the_content_of_the_file_and_on_the_keys(folder: Path) -> None:
    ids = set()
    for names in ("encoder.", "model."):
        save_file(tensors(names), folder / f"{names}safetensors")
        for dropped in ("null", "unused."):
            text = REGISTRY.replace("mine.safetensors", f"{names}safetensors").replace("null", dropped)
            (folder / "registry.yaml").write_text(text)
            asked = request(folder)
            run = RunSpec.of(asked.grid.configs[0], asked.registry, "c" * 12, None)
            assert run.weights_file == folder / f"{names}safetensors"
            assert not run.starts_from_hub
            ids.add(run.id)
    assert len(ids) == 4


def test_declared_mean_and_std_scale_the_input_and_are_part_of_the_run_id(folder: Path) -> None:
    def run_of(text: str) -> RunSpec:
        (folder / "registry.yaml").write_text(text)
        asked = request(folder)
        return RunSpec.of(asked.grid.configs[0], asked.registry, "c" * 12, None)

    plain = run_of(REGISTRY)
    declared = run_of(REGISTRY.replace("corpus:", "mean: [0.25, 0.5, 0.75], std: [0.5, 0.5, 0.5], corpus:"))
    assert plain.id != declared.id
    gray = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    inputs = []
    for run in (plain, parse_run(json.loads(declared.document), declared.id, "run.json")):  # as a stored run is read
        network = initial_network(run, None)
        inputs.append(Normalizer.of(run.preprocessing, network.mean, network.std, 1)(gray))
    assert inputs[1].unique().tolist() == [(1 - 0.5) / 0.5]
    assert inputs[0].unique().tolist() == pytest.approx([(1 - sum(MEAN) / 3) / (sum(STD) / 3)])


def test_a_missing_file_is_refused_before_cohorts_are_read(folder: Path) -> None:
    (folder / "mine.safetensors").unlink()
    with pytest.raises(SetupError, match="1 of 1 files of starting weights in the registry are missing") as error:
        request(folder)
    assert error.value.where == str(folder / "mine.safetensors")
    (row,) = needed(*grid_and_registry(folder), None)
    assert (row.state, row.corpus, row.licence) == ("missing", "our radiographs", "cc-by-4.0")


def grid_and_registry(folder: Path) -> tuple[Grid, Registry]:
    registry = Registry.read(folder / "registry.yaml")
    return Grid.read(str(folder / "grid.yaml"), registry), registry


def test_files_are_listed_with_their_hash_and_damage(folder: Path) -> None:
    (row,) = needed(*grid_and_registry(folder), None)
    assert (row.state, len(row.sha256), row.exact) == ("present", 64, True)
    path = folder / "mine.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert needed(*grid_and_registry(folder), None)[0].state == "damaged"
    save_file(tensors(), path)
    text = REGISTRY.replace("corpus:", f"sha256: {'0' * 64}, corpus:")
    (folder / "registry.yaml").write_text(text)
    assert needed(*grid_and_registry(folder), None)[0].state == "damaged"
    asked = request(folder)
    with pytest.raises(SetupError, match="does not have the SHA-256"):
        RunSpec.of(asked.grid.configs[0], asked.registry, "c" * 12, None)


def test_missing_files_of_the_hub_are_fetched_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GRID.replace("small", "resnet18").replace("radiographs", "imagenet")
    (folder / "grid.yaml").write_text(text + "sweeps: [{seed: [0, 1]}]\n")
    cache: dict[str, Path] = {}
    monkeypatch.setattr(starting_weights, "cached_path", lambda repository, _: cache.get(repository))
    (row,) = needed(*grid_and_registry(folder), None)
    assert (row.name, row.state, row.num_bytes, row.exact) == ("resnet18.a1_in1k", "missing", 44_724_000, False)
    assert row.path == "https://huggingface.co/timm/resnet18.a1_in1k"

    def download(repository: str, _: str) -> None:
        assert repository not in cache
        cache[repository] = folder / "mine.safetensors"

    monkeypatch.setattr(starting_weights, "download", download)
    (fetched,) = fetch([row], lambda *_: None)
    assert (fetched.state, fetched.path) == ("present", str(folder / "mine.safetensors"))
    assert fetch([fetched], lambda *_: None) == [fetched]
    cache.clear()
    monkeypatch.setattr(starting_weights, "download", lambda *_: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(SetupError, match="1 of 1 files cannot be downloaded: no route"):
        fetch([row], lambda *_: None)


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("{corpus: x}", "file of these starting weights is missing"),
        ("{file: a.safetensors}", "corpus of these starting weights is missing"),
        ("{file: a.pt, corpus: x}", "must be a .safetensors file"),
        ("{file: a.safetensors, corpus: x, keys: [a]}", "keys must map"),
        ("{file: a.safetensors, corpus: x, mean: [0.5, 0.5, 0.5]}", "mean needs both"),
        ("{file: a.safetensors, corpus: x, mean: [0.5, 0.5], std: [1, 1, 1]}", "mean must be three numbers"),
        ("{file: a.safetensors, corpus: x, mean: [0, 0, 0], std: [58.4, 57.1, 57.4]}", "std must be three numbers"),
        ("{file: a.safetensors, corpus: x, mean: [0, 0, 0], std: [0, 1, 1]}", "std must be three numbers"),
    ],
)
def test_an_incomplete_entry_is_refused(tmp_path: Path, block: str, what: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(f"schema: 1\ninclude: shipped\nweights:\n  mine: {block}\n")
    with pytest.raises(RegistryError, match=what):
        Registry.read(path)


def test_the_command_lists_files_and_its_exit_code_tells_whether_any_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.cli.main import app

    arguments = ["weights", str(folder / "grid.yaml"), "--registry", str(folder / "registry.yaml"), "--offline"]
    app([*arguments, "--json"], standalone_mode=False)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["state"]) == ("radiographs", "present")
    (folder / "mine.safetensors").unlink()
    assert app(arguments, standalone_mode=False) == 1
    assert "1 missing" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_dry_run_names_missing_files_of_the_hub_and_succeeds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: list[str]
) -> None:
    from bench.cli.main import app

    text = GRID.replace("small", "resnet18").replace("radiographs", "imagenet")
    (folder / "grid.yaml").write_text(text + "sweeps: [{seed: [0, 1]}]\n")
    cache: dict[str, Path] = {}
    monkeypatch.setattr(starting_weights, "cached_path", lambda repository, _: cache.get(repository))
    command = ["run", "--grid", str(folder / "grid.yaml"), "--store", str(folder / "runs"), "--dry-run", *form]
    assert app(command, standalone_mode=False) is None
    notes = capsys.readouterr().err
    assert "1 of 1 files of starting weights are not on this machine" in notes
    assert "resnet18.a1_in1k: https://huggingface.co/timm/resnet18.a1_in1k" in notes
    assert "bench weights" in notes
    cache["timm/resnet18.a1_in1k"] = folder / "mine.safetensors"
    assert app(command, standalone_mode=False) is None
    assert "starting weights" not in capsys.readouterr().err


def test_a_file_is_present_without_being_read_and_only_a_check_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting_weights, "cached_path", lambda *_: folder / "mine.safetensors")
    read: list[Path] = []
    monkeypatch.setattr(starting_weights, "file_sha256", lambda path: read.append(path) or "0" * 64)
    entry = Registry.read().find("architectures", "resnet18", "here")
    (listed,) = starting_weights.hub_weights([entry], check=False)
    assert (listed.state, listed.sha256, listed.num_bytes, read) == (
        "present",
        "",
        (folder / "mine.safetensors").stat().st_size,
        [],
    )
    (checked,) = starting_weights.hub_weights([entry])
    assert (checked.sha256, read) == ("0" * 64, [folder / "mine.safetensors"])
