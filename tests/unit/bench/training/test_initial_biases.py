"""Training starts at the loss of the best constant prediction."""

import numpy as np
import pytest
import torch

from bench.models.network import build
from bench.models.output_layers import output_layers
from bench.training.losses import bce, three_states
from bench.training.training_loss import TrainingTargets

SE_RESNET = "bench.models.se_resnet:se_resnet"


def targets(state: np.ndarray, weight: np.ndarray | None = None) -> TrainingTargets:
    target_NK = torch.tensor(state, dtype=torch.float32)
    weight_NK = torch.ones_like(target_NK) if weight is None else torch.tensor(weight, dtype=torch.float32)
    return TrainingTargets(target_NK, weight_NK, torch.empty(len(target_NK), 0))


def test_the_bias_of_a_finding_is_the_logit_of_its_prevalence() -> None:
    draw = np.random.default_rng(0)
    state = (draw.random((5000, 3)) < [0.02, 0.3, 0.9]).astype(float)
    bias_K = targets(state).initial_biases(1)
    assert torch.sigmoid(bias_K).numpy() == pytest.approx(state.mean(0), abs=0.001)
    loss = bce(bias_K.expand(5000, 3), torch.tensor(state, dtype=torch.float32), torch.ones(5000, 3))
    p = state.mean(0)
    assert float(loss) == pytest.approx(float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()), abs=0.001)


def test_pairs_without_weight_do_not_count_and_a_missing_class_has_a_finite_bias() -> None:
    state = np.array([[1.0, np.nan], [0.0, 1.0], [0.0, np.nan], [1.0, 1.0]])
    weight = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    bias_K = targets(state, weight).initial_biases(1)
    assert bias_K.numpy() == pytest.approx(np.log([2 / 3, 3 / 1]))


def test_three_states_start_at_their_shares() -> None:
    state = np.random.default_rng(1).choice([0.0, 0.5, 1.0], (4000, 2), p=[0.7, 0.1, 0.2])
    bias_X = targets(state).initial_biases(3)
    shares = torch.softmax(bias_X.reshape(2, 3), 1).numpy()
    assert shares == pytest.approx(np.stack([(state == s).mean(0) for s in (0.0, 0.5, 1.0)], 1), abs=0.002)
    loss = three_states(bias_X.expand(4000, 6), torch.tensor(state, dtype=torch.float32), torch.ones(4000, 2))
    assert float(loss) == pytest.approx(float(-(shares * np.log(shares)).sum(1).mean()), abs=0.01)


def test_only_the_outputs_of_findings_get_biases() -> None:
    network = build(SE_RESNET, {"depths": [1, 1], "widths": [8, 16]}, 5, 1)
    network.set_biases(torch.tensor([-2.0, 1.0, 3.0]))
    [layer] = output_layers(network)
    assert layer.bias.tolist() == [-2.0, 1.0, 3.0, 0.0, 0.0]
