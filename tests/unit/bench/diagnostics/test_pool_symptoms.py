"""Symptoms of runs on pools: the AUROC on `val` is computed as in training, the mean over hospitals."""

import numpy as np
import pytest

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.training import macro_auroc
from bench.inputs.examples import Examples
from bench.scoring.scored_split import ScoredSplit
from bench.training.fit import validate, validate_hospitals

POOL = RunConfig("a", "adamw", "bce", "u_ignore", "imagenet_64", train_on="chexpert+mimic")


def test_the_auroc_of_stored_predictions_on_a_pool_is_that_of_training() -> None:
    draw = np.random.default_rng(0)
    hospital = np.repeat(["chexpert", "mimic"], (50, 30))
    of_mimic = hospital == "mimic"
    share = np.where(of_mimic, 0.7, 0.2)[:, None]
    state = (draw.random((80, len(POOL.findings))) < share).astype(np.int8)
    # the network tells the hospitals apart, which raises only the AUROC of the pooled images
    logit = (state + draw.normal(size=state.shape) + 3 * of_mimic[:, None]).astype(np.float32)
    ids = np.array([f"{name}/{i}" for i, name in enumerate(hospital)], object)
    scored = ScoredSplit("chexpert+mimic", "val", "report", ids, ids, logit, state)
    expected, _ = validate_hospitals(logit, Examples(ids, ids, np.arange(80), state), POOL)
    assert macro_auroc(scored) == pytest.approx(expected)
    assert macro_auroc(scored) < validate(logit, state)[0] - 0.1
