"""fit_probe(): train the output layer of a frozen encoder by logistic regression with an L2 penalty.

Each finding has its own regression over the images with a label of this finding. The loss is convex, so the result does
not depend on a start, an order of images or a learning rate.

Legend: N images, K findings, D features.
"""

import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from bench.inputs.examples import Examples
from bench.models.network import Network
from bench.models.output_layers import output_layers
from bench.planning.run import RunSpec
from bench.training import TrainingError
from bench.training.fit import TrainingResult, check_labels, validate_hospitals
from bench.training.logistic_regression import Regression, logistic_regressions
from bench.training.training_loss import TrainingTargets
from harmonize.seeds import stream

# Candidates, strongest first, because each solution is the start of the next. The penalty of a finding with n labels
# equals scikit-learn's C = 1 / (penalty n), for features with mean 0 and standard deviation 1.
PENALTIES = (0.1, 0.01, 0.001)


def fit_probe(
    run: RunSpec,
    network: Network,
    train: Examples,
    feature_ND: NDArray[np.float32],
    watched: Mapping[str, tuple[Examples, NDArray[np.float32]]],
) -> TrainingResult:
    """Set the output layer of `network` to the regression with the highest AUROC on the split `val`.

    `feature_ND`: features of the images `train`. `watched`: {split: (images, their features)}. A finding that
    lacks present or absent images gets weights 0 and a constant logit. Raises TrainingError for a network without a single linear output layer on these
    features, and when no finding can be trained or validated with the labels.
    """
    began = time.perf_counter()
    check_labels(train, {split: examples for split, (examples, _) in watched.items()}, run.config)
    targets = TrainingTargets.of(run, train, torch.device("cpu"))
    target_NK, weight_NK = targets.target_NK.numpy(), targets.weight_NK.numpy()
    if run.config.shots:
        weight_NK = weight_NK * few_shots(target_NK, weight_NK, run.config.shots, run.config.seed)
    regressions = logistic_regressions(feature_ND, target_NK, weight_NK, PENALTIES)
    scores = [
        {
            split: validate_hospitals(r.logits(feature), examples, run.config)
            for split, (examples, feature) in watched.items()
        }
        for r in regressions
    ]
    best = max(
        range(len(regressions)), key=lambda i: scores[i]["val"][0]
    )  # if several are equal, the one with the strongest penalty
    chosen = regressions[best]
    _set_output_layer(network, chosen)
    passes = sum(r.passes for r in regressions)
    row: dict[str, float] = {"epoch": 1, "train_loss": mean_loss(chosen.logits(feature_ND), target_NK, weight_NK)}
    row["seconds"] = time.perf_counter() - began
    for split, (auroc, loss) in scores[best].items():
        row[f"{split}_auroc"], row[f"{split}_loss"] = auroc, loss
    row |= {"lr": 0.0, "gradient_evaluations": passes}
    facts: dict[str, Any] = {
        "penalty": chosen.penalty,
        "val_auroc": {f"{r.penalty:g}": score["val"][0] for r, score in zip(regressions, scores, strict=True)},
        "labels": [int(n) for n in (weight_NK > 0).sum(0)],
    }
    return TrainingResult(network, pd.DataFrame([row]), 1, passes, targets.unlearnt(), probe=facts)


def few_shots(
    target_NK: NDArray[np.float32], weight_NK: NDArray[np.float32], shots: int, seed: int
) -> NDArray[np.float32]:
    """Return a mask [N, K] that keeps `shots` present and `shots` absent images of each finding, or all if there are fewer.

    A seed gives one random order of the images, the same for all findings and numbers of shots. So the images of few
    shots are among the images of more shots.
    """
    order = stream(seed, "shots").permutation(len(target_NK))
    keep_NK = np.zeros(target_NK.shape, np.float32)
    for k in range(target_NK.shape[1]):
        labeled = order[weight_NK[order, k] > 0]
        present = target_NK[labeled, k] > 0.5
        for chosen in (labeled[present], labeled[~present]):
            keep_NK[chosen[:shots], k] = 1.0
    return keep_NK


def _set_output_layer(network: Network, regression: Regression) -> None:
    """Write the weights and biases of a regression into the output layer of a network."""
    layer = output_layer(network)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(regression.weight_KD).view_as(layer.weight))
        layer.bias.copy_(torch.from_numpy(regression.bias_K))  # type: ignore[union-attr]  # `output_layer` checks it


def output_layer(network: Network) -> nn.Linear | nn.Conv2d:
    """Return the output layer of a network that can be probed: the only one, linear, with a bias for each finding.

    Raises TrainingError for another network.
    """
    layers = output_layers(network)
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear | nn.Conv2d) or layers[0].bias is None:
        kind = type(network.backbone).__name__
        raise TrainingError(f"{kind} has no single linear output layer with biases: use `head: own`")
    return layers[0]


def probe_logits(network: Network, feature_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits [N, K] that the output layer of a network gives for features."""
    (head,) = output_layers(network)
    if not isinstance(head, nn.Linear | nn.Conv2d):  # a head of an extension, such as prompts
        with torch.inference_mode():
            # a copy, because `cpu` moves the layer itself
            logits: NDArray[np.float32] = deepcopy(head).cpu()(torch.from_numpy(feature_ND)).numpy()
        return logits
    layer = output_layer(network)  # raises TrainingError for a layer without biases
    weight_KD = layer.weight.detach().cpu().flatten(1)
    logit_NK = torch.addmm(layer.bias.detach().cpu(), torch.from_numpy(feature_ND), weight_KD.T)  # type: ignore[union-attr]
    result: NDArray[np.float32] = logit_NK.numpy()
    return result


def mean_loss(logit_NK: NDArray[np.float32], target_NK: NDArray[np.float32], weight_NK: NDArray[np.float32]) -> float:
    """Return the weighted mean cross-entropy over all labels."""
    target_NK = np.where(weight_NK > 0, target_NK, 0)
    loss_NK = np.logaddexp(0, logit_NK) - target_NK * logit_NK
    return float((weight_NK * loss_NK).sum() / weight_NK.sum())
