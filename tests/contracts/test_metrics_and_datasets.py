"""What registry.yaml says of metrics and datasets is what the code does."""

import numpy as np
import pytest

from bench.config.registry import Registry
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit, Settings
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


def test_the_scores_hold_the_metrics_of_the_registry_and_no_others() -> None:
    scores = score_run("r", ["A"], "internal", [drawn("val"), drawn("test")], Settings(num_resamples=20)).scores
    assert set(scores["metric"]) == set(METRICS)


@pytest.mark.parametrize("name", ["auroc", "auprc", "brier", "ece", "mce", "ace", "nll", "brier_resolution"])
def test_the_function_of_a_metric_gives_the_value_that_is_scored(name: str) -> None:
    part = drawn("test")
    scores = score_run("r", ["A"], "internal", [drawn("val"), part], Settings(num_resamples=20)).scores
    row = scores.query("split == 'test' and finding == 'A' and calibrator == 'none' and metric == @name")
    label, logit = part.state[:, 0], part.logit[:, 0]
    probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
    given = logit if name in {"auroc", "auprc"} else probability
    expected = METRICS[name].load()(label, given, **METRICS[name].options)
    assert np.isclose(row["value"].item(), expected, atol=1e-7)


def test_every_layout_has_an_entry_whose_module_reads_and_writes_it() -> None:
    entries = REGISTRY.sections["datasets"]
    assert set(entries) == set(LAYOUTS)
    for name, entry in entries.items():
        assert adapter(name).__name__ == entry.use
        assert entry.facts["headline_split"] in {"all", "test"}
