"""The examples of CONTRIBUTING.md run: its files are written as they stand there and used as a user would."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.models import network as models
from bench.planning.plan import resolve
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit, Settings
from bench.training.optimizers.build import build

DOCUMENT = Path(__file__).parents[2] / "CONTRIBUTING.md"


def write_files(root: Path) -> list[str]:
    """Write every block that begins with the name of its file; blocks of one file are joined."""
    texts: dict[str, str] = {}
    for name, text in re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        texts[name] = texts.get(name, "") + text
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return list(texts)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of the document, importable, its package installed as pip would record it."""
    write_files(tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    facts = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
        for group, lines in project["entry-points"].items()
    )
    (facts / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [m for m in sys.modules if m == "mine" or m.partition(".")[0] == "cxr_extras"]:
        del sys.modules[name]


@pytest.fixture
def registry(folder: Path) -> Registry:
    return Registry.read(folder / "mine-registry.yaml")


def test_every_block_of_code_in_the_document_belongs_to_a_file(tmp_path: Path) -> None:
    languages = re.findall(r"```(\w+)\n(?!# \S+\.\w+\n)", DOCUMENT.read_text())
    assert set(languages) <= {"bash"}
    names = {"mine-registry.yaml", "mine.py", "mine.yaml", "pyproject.toml"}
    assert set(write_files(tmp_path)) == names | {"cxr_extras/registry.yaml", "cxr_extras/losses.py"}


def test_the_grid_of_the_document_expands_and_each_entry_counts_in_the_ids(folder: Path, registry: Registry) -> None:
    grid = Grid.read(str(folder / "mine.yaml"), registry)
    runs = [resolve(config, registry, "internal", None) for config in grid.configs]
    assert len({run.id for run in runs}) == 4
    named = {(run.config.loss, run.config.optimizer) for run in runs}
    assert named == {("hinge", "adamw"), ("squared", "adamw"), ("bce", "signs"), ("bce", "twice")}
    squared = next(run for run in runs if run.config.loss == "squared")
    assert b'"cxr_extras.losses:squared"' in squared.document
    assert registry.refused == {}


def test_the_model_of_the_document_is_built(registry: Registry) -> None:
    entry = registry.find("architectures", "resnet10", "here")
    network = models.build(entry.use, entry.options, 9)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 9)


def contract(name: str) -> list[Callable[..., None]]:
    """Return the tests of tests/contracts: what is promised there, the examples promise too."""
    path = DOCUMENT.parent / "tests" / "contracts" / f"test_{name}.py"
    module = ModuleType(f"contract_{name}")
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    word = name.removesuffix("es") if name == "losses" else name.removesuffix("s")
    return [
        f for key, f in vars(module).items() if key.startswith("test_") and [*f.__annotations__] == [word, "return"]
    ]


@pytest.mark.parametrize("name", ["hinge", "squared"])
def test_the_losses_of_the_document_keep_the_contract(name: str, registry: Registry) -> None:
    promises = contract("losses")
    assert promises
    for promise in promises:
        promise(registry.find("losses", name, "here"))


@pytest.mark.parametrize("name", ["signs", "twice"])
def test_the_optimizers_of_the_document_keep_the_contract(name: str, registry: Registry) -> None:
    promises = contract("optimizers")
    assert promises
    for promise in promises:
        promise(registry.find("optimizers", name, "here"))


def test_the_step_of_the_document_asks_for_gradients_twice(registry: Registry) -> None:
    entry, network = registry.find("optimizers", "twice", "here"), torch.nn.Linear(3, 2)
    optimizer, asked = build(entry.use, entry.options, network), []

    def closure() -> torch.Tensor:
        asked.append(network.weight.detach().clone())
        optimizer.zero_grad()
        loss = network(torch.ones(4, 3)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(asked) == 2
    assert not torch.equal(asked[0], asked[1])


def test_the_metric_of_the_document_is_scored_with_an_interval(registry: Registry) -> None:
    draw = np.random.default_rng(0)
    parts = []
    for split in ("val", "test"):
        state = draw.integers(0, 2, (200, 2)).astype(np.int8)
        ids = np.array([f"{split}{i}" for i in range(200)], object)
        logit = (draw.normal(0, 1, (200, 2)) + state).astype(np.float32)
        parts.append(ScoredSplit("internal", split, "report", ids, ids, logit, state))
    plain, more = (
        Settings(num_resamples=30),
        Settings(num_resamples=30, further=(registry.sections["metrics"]["separation"],)),
    )
    scores = score_run("r", ["A", "B"], "internal", parts, more).scores
    row = scores.query("metric == 'separation' and split == 'test' and finding == 'A'").iloc[0]
    label, logit = parts[1].state[:, 0], parts[1].logit[:, 0]
    gap = logit[label == 1].mean(dtype=np.float64) - logit[label == 0].mean(dtype=np.float64)
    assert np.isclose(row["value"], gap / logit.std(dtype=np.float64), atol=1e-5)
    assert row["low"] < row["value"] < row["high"]
    mean = scores.query("metric == 'separation' and split == 'test' and finding == 'macro'")["value"].item()
    each = scores.query("metric == 'separation' and split == 'test' and finding != 'macro'")["value"]
    assert np.isclose(mean, each.mean())
    others = scores[scores["metric"] != "separation"].reset_index(drop=True)
    assert others.equals(score_run("r", ["A", "B"], "internal", parts, plain).scores)
