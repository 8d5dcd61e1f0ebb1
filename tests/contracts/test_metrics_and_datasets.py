"""What registry.yaml says of metrics and datasets is what the code does."""

from importlib import import_module

import numpy as np
import pytest

from bench.config.registry import Registry
from bench.config.settings import Settings
from bench.scoring.metrics_of_split import BUILT_IN, MetricNeeds
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from harmonize.datasets import LAYOUTS, adapter

REGISTRY = Registry.read()
METRICS = REGISTRY.sections["metrics"]


def drawn(split: str, n: int = 120) -> ScoredSplit:
    draw = np.random.default_rng(len(split))
    state = draw.integers(0, 2, (n, 1)).astype(np.int8)
    ids = np.array([f"{split}{i}" for i in range(n)], object)
    return ScoredSplit(
        "internal", split, "report", ids, ids, (draw.normal(0, 1, (n, 1)) + state).astype(np.float32), state
    )


@pytest.fixture(scope="module")
def result() -> RunScores:
    """Scores by the whole registry: a metric that a new line adds is among them."""
    settings = Settings(custom_metrics=REGISTRY.custom_metrics)
    return score_run("r", ["A"], "internal", [drawn("val"), drawn("test")], settings)


def test_the_scores_hold_the_metrics_of_the_registry_and_no_others(result: RunScores) -> None:
    found = set(result.scores["metric"])
    assert found >= set(METRICS)
    assert found <= set(METRICS)


def test_a_metric_is_built_in_or_says_what_its_function_is_given() -> None:
    assert set(METRICS) == {*BUILT_IN, *(entry.name for entry in REGISTRY.custom_metrics)}
    assert not set(BUILT_IN) & {entry.name for entry in REGISTRY.custom_metrics}


@pytest.mark.parametrize("name", METRICS)
def test_the_function_of_a_metric_gives_the_value_that_is_scored(name: str, result: RunScores) -> None:
    entry, scored = METRICS[name], drawn("test")
    label, logit = scored.state[:, 0], scored.logit[:, 0]
    probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
    row = result.scores.query("split == 'test' and finding == 'A' and calibrator == 'none' and metric == @name")
    needs = BUILT_IN.get(name, MetricNeeds())
    if needs.operating_point:
        row = row[row["operating_point"] == "f1_max"]
        threshold = result.operating_points.query("rule == 'f1_max'")["threshold"].item()
        expected = entry.load()(label, logit >= threshold, **entry.options)
    else:
        given = entry.facts.get("given", "probability" if needs.calibrator else "logit")
        expected = entry.load()(label, probability if given == "probability" else logit, **entry.options)
    assert np.isclose(row["value"].item(), expected, atol=1e-7)
    if name != "mce":  # unknown where the images of one label fill its bin
        assert row["low"].item() <= row["value"].item() <= row["high"].item()


def test_every_layout_has_an_entry_whose_module_reads_and_writes_it() -> None:
    entries = REGISTRY.sections["datasets"]
    assert set(entries) == set(LAYOUTS)
    for name, entry in entries.items():
        module, _, attribute = entry.use.partition(":")
        assert adapter(name) is (getattr(import_module(module), attribute) if attribute else import_module(module))
        assert entry.facts["headline_split"] in {"all", "test"}
