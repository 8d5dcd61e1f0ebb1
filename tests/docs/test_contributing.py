"""The examples of docs/dev/add.md run: its files are written as they stand there and used as a user would."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.settings import Settings
from bench.models import network as models
from bench.planning.run import RunSpec
from bench.results.compare_two_runs import metric_key
from bench.scoring.across_runs.paired_runs import ScoredRun, differences
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit
from bench.training.optimizers.build import build
from harmonize.errors import ConfigError
from reports import extensions
from reports.report_data.report_data import read
from reports.sections.ranking_columns import columns_of
from reports.tables import Tables
from tests.synthetic import Invented, rescored, tables

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "dev" / "add.md"


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
    extensions._needs.cache_clear()
    yield tmp_path
    extensions._needs.cache_clear()
    for name in [m for m in sys.modules if m == "mine" or m.partition(".")[0] == "cxr_extras"]:
        del sys.modules[name]


@pytest.fixture
def registry(folder: Path) -> Registry:
    return Registry.read(folder / "mine-registry.yaml")


def test_every_block_of_code_in_the_document_belongs_to_a_file(tmp_path: Path) -> None:
    languages = re.findall(r"```(\w+)\n(?!# \S+\.\w+[:\n])", DOCUMENT.read_text())
    assert set(languages) <= {"bash"}
    names = {"mine-registry.yaml", "mine.py", "mine.yaml", "pyproject.toml"}
    assert set(write_files(tmp_path)) == names | {"cxr_extras/registry.yaml", "cxr_extras/losses.py"}


def test_the_grid_of_the_document_expands_and_each_entry_counts_in_the_ids(folder: Path, registry: Registry) -> None:
    grid = Grid.read(str(folder / "mine.yaml"), registry)
    runs = [RunSpec.of(config, registry, "internal", None) for config in grid.configs]
    assert len({run.id for run in runs}) == 4
    named = {(run.config.loss, run.config.optimizer) for run in runs}
    assert named == {("hinge", "adamw"), ("squared", "adamw"), ("bce", "signs"), ("bce", "twice")}
    squared = next(run for run in runs if run.config.loss == "squared")
    assert b'"cxr_extras.losses:squared"' in squared.document
    assert not extensions.refused


def test_the_model_of_the_document_is_built(registry: Registry) -> None:
    entry = registry.find("architectures", "resnet10", "here")
    network = models.build(entry.use, entry.options, 9)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 9)


def contract(name: str) -> list[Callable[..., None]]:
    """Return the tests of tests/contracts: what is promised there, the examples promise too."""
    path = ROOT / "tests" / "contracts" / f"test_{name}.py"
    module = ModuleType(f"contract_{name}")
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    word = name.removesuffix("es") if name == "losses" else name.removesuffix("s")
    return [
        f for key, f in vars(module).items() if key.startswith("test_") and [*f.__annotations__] == [word, "return"]
    ]


@pytest.mark.parametrize(
    ("kind", "name"), [("losses", "hinge"), ("losses", "squared"), ("optimizers", "signs"), ("optimizers", "twice")]
)
def test_the_entries_of_the_document_keep_the_contract(kind: str, name: str, registry: Registry) -> None:
    promises = contract(kind)
    assert promises
    for promise in promises:
        promise(registry.find(kind, name, "here"))


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


def two_runs() -> tuple[ScoredRun, ScoredRun]:
    """Return two runs on the same images: the second one's logits are noisier."""
    draw = np.random.default_rng(0)
    runs: tuple[list[ScoredSplit], list[ScoredSplit]] = ([], [])
    for dataset, split in (("internal", "val"), ("internal", "test"), ("nih", "all")):
        state = draw.integers(0, 2, (200, 2)).astype(np.int8)
        ids = np.array([f"{split}{i}" for i in range(200)], object)
        for run, noise in zip(runs, (1.0, 2.0), strict=True):
            logit = (draw.normal(0, noise, (200, 2)) + state).astype(np.float32)
            run.append(ScoredSplit(dataset, split, "report", ids, ids, logit, state))
    return ScoredRun(["A", "B"], "internal", runs[0]), ScoredRun(["A", "B"], "internal", runs[1])


def test_the_metric_of_the_document_is_scored_with_an_interval(registry: Registry) -> None:
    splits = two_runs()[0].scored_splits
    plain = Settings()
    scores = score_run("r", ["A", "B"], "internal", splits, with_metric(registry)).scores
    row = scores.query("metric == 'separation' and split == 'test' and finding == 'A'").iloc[0]
    label, logit = splits[1].state[:, 0], splits[1].logit[:, 0]
    distance = logit[label == 1].mean(dtype=np.float64) - logit[label == 0].mean(dtype=np.float64)
    assert np.isclose(row["value"], distance / logit.std(dtype=np.float64), atol=1e-5)
    assert row["low"] < row["value"] < row["high"]
    mean = scores.query("metric == 'separation' and split == 'test' and finding == 'macro'")["value"].item()
    single = scores.query("metric == 'separation' and split == 'test' and finding in ['A', 'B']")["value"]
    assert np.isclose(mean, single.mean())
    assert "separation" in set(scores.query("dataset == 'external'")["metric"])
    others = scores[scores["metric"] != "separation"].reset_index(drop=True)
    assert others.equals(score_run("r", ["A", "B"], "internal", splits, plain).scores)


def with_metric(registry: Registry) -> Settings:
    return Settings(custom_metrics=registry.custom_metrics)


def test_two_runs_are_compared_by_the_metric_of_the_document(registry: Registry) -> None:
    settings = with_metric(registry)
    key = metric_key("separation", "f1_max", "none", settings)
    table = differences(*two_runs(), key, settings)
    row = table.query("dataset == 'nih' and finding == 'macro'").iloc[0]
    assert row["first"] > row["second"]
    assert row["low"] < row["difference"] < row["high"]
    with pytest.raises(ConfigError, match="no metric 'separation'"):
        metric_key("separation", "f1_max", "none", Settings())


def test_the_metric_of_the_document_is_a_hidden_column_of_the_ranking() -> None:
    made = tables(Invented(runs=3))
    rows = made["scores"].query("metric == 'auroc'").assign(metric="separation")
    frames = {**made.frames, "scores": pd.concat([made["scores"], rows], ignore_index=True)}
    named = {"name": "separation", "title": "Separation", "facts": {}}
    board = read(rescored(Tables(made.meta, frames), custom_metrics=[named]))
    column = next(column for column in columns_of(board) if column.head == "Separation")
    assert not column.first
    assert [column.value(run) for run in board.ranked] == [run.external.value for run in board.ranked]
    assert f".no-{column.key} .c-{column.key}" in (ROOT / "reports/templates/ranking.css").read_text()
