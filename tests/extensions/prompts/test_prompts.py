"""Zero-shot runs: prompts in place of an output layer, one run for each wording, and prompts that do not fit."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.training import loss_symptoms
from bench.extensions.prompts.output_layer import PromptHead
from bench.extensions.prompts.prompt_file import Prompts, metadata
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models.network import Network
from bench.models.predict import predict
from bench.models.se_resnet import se_resnet
from bench.planning.image_caches import open_images, prepare
from bench.planning.jobs import Job
from bench.planning.plan import make_plan
from bench.results.stored_runs import training_remark
from bench.runs.networks import normalization_of
from bench.runs.run_one import run_one
from bench.runs.stored_run import load
from bench.store.store import Store
from bench.study.request import Request
from bench.training.probe import probe_logits
from harmonize.errors import ConfigError, SetupError
from harmonize.labels.findings import space
from tests.tiny_grids import TINY, tiny_with

FINDINGS = space("shared-9")
D, F = 8, 128
CPU = torch.device("cpu")
WORDINGS = [{"positive": "{}", "negative": "no {}"}, {"positive": "with {}", "negative": "without {}"}]


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def write(path: Path, findings: Sequence[str] = FINDINGS, features: int = F, wordings: int = 2) -> Prompts:
    """Write random prompts with a projection."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(wordings, len(findings), 2, D)).astype(np.float32)
    arrays = {
        "text": text / np.linalg.norm(text, axis=-1, keepdims=True),
        "scale": np.array(20, np.float32),
        "bias": np.array(-1, np.float32),
        "projection": rng.normal(size=(D, features)).astype(np.float32),
    }
    save_file(arrays, path, metadata(findings, WORDINGS[:wordings], "softmax", "a test"))
    return Prompts.read(path)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    path = tmp_path / "registry.yaml"
    path.write_text(
        "schema: 1\ninclude: shipped\narchitectures:\n  clip: {use: 'bench.models.se_resnet:se_resnet', "
        "with: {widths: [16, 32, 64, 128], depths: [1, 1, 1, 1]}, prompts: p.safetensors, title: CLIP}\n"
        "weights:\n  own: {file: own.safetensors, corpus: a test}\n"
    )
    network = se_resnet(len(FINDINGS), 3, widths=[16, 32, 64, 128], depths=[1, 1, 1, 1])
    save_tensors(network.state_dict(), tmp_path / "own.safetensors")
    return Registry.read(path)


def test_given_vectors_need_no_weights_for_prompts(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(
        "schema: 1\ninclude: shipped\narchitectures:\n  theirs: {embeddings: x, prompts: p.safetensors, title: T}\n"
    )
    sweep = tiny_with(tmp_path, "prompts", "{architecture: theirs, head: prompts, weights: none}", 1)
    assert len(Grid.read(str(sweep), Registry.read(path)).configs) == 1


@pytest.mark.grid
def test_each_seed_is_a_wording_and_predictions_are_cosines_with_its_prompts(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path, registry: Registry
) -> None:
    prompts = write(tmp_path / "p.safetensors")
    path = tiny_with(tmp_path, "prompts", "{architecture: clip, weights: own, head: prompts, seed: [0, 1]}", 2, keys="")
    Request.read(str(path), registry.path, None, None)
    store = Store.open(drawn(TINY, tmp_path) / "runs")
    plan = make_plan(Grid.read(str(path), registry), registry, store, None, None, 1, "", silent)
    prepare(plan, 1, silent)
    for run in plan.runs:
        assert run_one(Job(run, store, plan.refs), silent)
        folder = store.run_dir(run.id)
        facts = json.loads((folder / "trained.json").read_text())
        seed = run.config.seed
        texts = " / ".join(WORDINGS[seed].values())
        assert facts["zero_shot"] == f"wording {seed + 1} of 2: {texts}, where {{}} is the finding"
        assert facts["unlearnt"] == []
        assert training_remark(store, run.id).startswith(f"wording {seed + 1} of 2: {WORDINGS[seed]['positive']} / ")
        history = pd.read_parquet(folder / "history.parquet")
        assert not list(loss_symptoms("run", history))
        stored = load(store, run.id)
        (head,) = [module for module in stored.network.modules() if isinstance(module, PromptHead)]
        np.testing.assert_array_equal(head.text_K2D.numpy(), prompts.arrays["text"][seed])
        external = plan.refs[1]
        cache = open_images(store, external, run.geometry)
        examples = Examples.predicted(external, run.config, cache)
        normalizer, reader = normalization_of(run, store, plan.refs[0], stored.network), BatchReader(cache.images, CPU)
        logit_NK, feature_ND = predict(
            stored.network, normalizer, reader, examples.rows, CPU, features_of=np.arange(len(examples.rows))
        )
        frame = pd.read_parquet(folder / "predictions" / f"{external.name}.parquet")
        np.testing.assert_allclose(frame[list(run.config.findings)].to_numpy(), logit_NK, atol=1e-3, rtol=1e-3)
        z_ND = feature_ND.astype(float) @ prompts.arrays["projection"].T
        z_ND /= np.linalg.norm(z_ND, axis=1, keepdims=True)
        cosine_NK2 = np.einsum("nf,kpf->nkp", z_ND, prompts.arrays["text"][seed])
        np.testing.assert_allclose(20 * (cosine_NK2[..., 0] - cosine_NK2[..., 1]), logit_NK, atol=0.05)  # float16
    before = {run.id for run in plan.runs}
    write(tmp_path / "p.safetensors", features=F)
    assert {r.id for r in make_plan(plan.grid, registry, store, None, None, 1, "", silent).runs} == before
    arrays = dict(prompts.arrays) | {"scale": np.array(21, np.float32)}
    save_file(arrays, tmp_path / "p.safetensors", metadata(FINDINGS, WORDINGS, "softmax", "a test"))
    assert before.isdisjoint(r.id for r in make_plan(plan.grid, registry, store, None, None, 1, "", silent).runs)


def test_prompts_that_do_not_fit_are_refused_before_images_are_read(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "p.safetensors"

    def refused(
        error: type[Exception],
        what: str,
        sweep: str = "{architecture: clip, weights: own, head: prompts}",
        runs: int = 1,
    ) -> None:
        with pytest.raises(error, match=what) as caught:
            Request.read(str(tiny_with(tmp_path, "prompts", sweep, runs)), registry.path, None, None)
        assert caught.value.fix  # type: ignore[attr-defined]

    refused(
        ConfigError, "features of random weights cannot be compared with prompts", "{architecture: clip, head: prompts}"
    )
    refused(SetupError, "no prompts of clip")
    write(file, FINDINGS[:-1])
    refused(ConfigError, "another label space: 1 of 9 findings are missing")
    write(file, features=F + 1)
    refused(ConfigError, f"the prompts are for {F + 1} features, but the network has {F}")
    write(file, wordings=1)
    refused(
        ConfigError,
        "seed 1 selects wording 2, but the file has 1 wording",
        "{architecture: clip, weights: own, head: prompts, seed: [0, 1]}",
        2,
    )
    write(file)
    refused(ConfigError, "the architecture has no prompts", "{weights: own, head: prompts}")
    refused(ConfigError, "shots needs `head: probe`", "{architecture: clip, weights: own, head: prompts, shots: 5}")
    refused(ConfigError, "no auxiliary heads", "{architecture: clip, weights: own, head: prompts, heads: dual}")
    file.write_bytes(b"no tensors")
    refused(SetupError, "cannot read the prompts")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"text": np.zeros((2, 9, 2), np.float32)}, "a tensor does not fit"),
        ({"text": np.zeros((2, 8, 2, D), np.float32)}, "a tensor does not fit"),
        ({"text": np.full((2, 9, 2, D), np.nan, np.float32)}, "is not finite"),
        ({"scale": np.zeros(2, np.float32)}, "a tensor does not fit"),
        ({"bias": None}, "cannot read the prompts: KeyError"),
    ],
)
def test_damaged_files_of_prompts_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], what: str) -> None:
    arrays = dict(write(tmp_path / "p.safetensors").arrays) | change
    kept = {name: array for name, array in arrays.items() if array is not None}
    save_file(kept, tmp_path / "p.safetensors", metadata(FINDINGS, WORDINGS, "softmax", ""))
    with pytest.raises(SetupError, match=what):
        Prompts.read(tmp_path / "p.safetensors")
    save_file(kept, tmp_path / "q.safetensors")
    with pytest.raises(SetupError, match="cannot read the prompts"):
        Prompts.read(tmp_path / "q.safetensors")


def test_settings_of_training_do_not_change_a_run_with_prompts() -> None:
    from bench.config.compatibility import without_training

    base = RunConfig("net", "adamw", "bce", "u_ignore", "imagenet_64", head="prompts")
    other = RunConfig("net", "sam", "focal", "u_ignore", "imagenet_64", head="prompts", augmentation="light")
    assert without_training(base) == without_training(other)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_the_output_layer_of_a_zero_shot_run_stays_where_it_is() -> None:
    shape = SimpleNamespace(rule="softmax", width=8, features=8, projected=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda:0"):
            head = PromptHead(9, shape)
            network = Network(_Backbone(head), (0.5,) * 3, (0.25,) * 3, 1, 9)
        with suppress(RuntimeError):  # fake logits are no array
            probe_logits(network, np.zeros((2, 8), np.float32))
        assert head.text_K2D.device == torch.device("cuda:0")


class _Backbone(nn.Module):
    """A network with an output layer."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), head
