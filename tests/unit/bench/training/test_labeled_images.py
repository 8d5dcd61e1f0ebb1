"""A run on one finding, or on explicit labels only, trains only on the images that label it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.config.run_config import Schedule
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.models.predict import weights_sha256
from bench.planning.run import RunSpec
from bench.training.fit import TrainingResult, fit
from tests.unit.bench.training.test_train import CPU, a_cohort, a_run

SCHEDULE = Schedule(epochs=2, batch_size=4, lr=1e-3)
BINARY: dict[str, Any] = {"task": "binary", "finding": "Edema"}


def trained(run: RunSpec, reader: BatchReader, train: Examples, val: Examples, checkpoint: Path) -> TrainingResult:
    torch.set_num_threads(1)
    entry = run.entries["architecture"]
    network = build(entry.use, entry.options, len(run.config.findings), 1, None, 0)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    return fit(run, network, normalizer, reader, train, {"val": val}, CPU, checkpoint, lambda *_: None)


def one_finding(examples: Examples, unlabeled: slice) -> Examples:
    """Return the examples with their first finding alone, which the images in `unlabeled` do not label."""
    state_NK = examples.state_NK[:, :1].copy()
    state_NK[unlabeled] = -3
    return replace(examples, state_NK=state_NK)


def test_a_binary_run_trains_as_if_only_its_labeled_images_existed(tmp_path: Path) -> None:
    reader, train, val = a_cohort()
    run, val = a_run(schedule=SCHEDULE, **BINARY), one_finding(val, slice(0, 0))
    train = one_finding(train, slice(0, 18))
    few = train.take(np.arange(18, 28))
    result = trained(run, reader, train, val, tmp_path / "all.pt")
    alone = trained(run, reader, few, val, tmp_path / "few.pt")
    assert weights_sha256(result.network) == weights_sha256(alone.network)
    assert result.gradient_evaluations == 2 * (10 // 4)


def test_a_run_on_explicit_labels_leaves_out_images_without_one(tmp_path: Path) -> None:
    reader, train, val = a_cohort()
    state_NK = train.state_NK.copy()
    state_NK[:20] = np.where(state_NK[:20] == -1, -1, -2)  # only uncertain and not mentioned
    train = replace(train, state_NK=state_NK)
    run = a_run(schedule=SCHEDULE, uncertainty="explicit_only", blank="ignore")
    assert trained(run, reader, train, val, tmp_path / "c.pt").gradient_evaluations == 2 * (8 // 4)


@pytest.mark.slow
def test_other_runs_use_all_images(tmp_path: Path) -> None:
    reader, train, val = a_cohort()
    state_NK = train.state_NK.copy()
    state_NK[:20] = -3
    train = replace(train, state_NK=state_NK)
    assert trained(a_run(schedule=SCHEDULE), reader, train, val, tmp_path / "c.pt").gradient_evaluations == 2 * (
        28 // 4
    )
