"""Compute losses, step by step, with the algorithms of DomainBed, for the tests of bench/training/algorithms.

DomainBed is no package: it is imported from a checkout (https://github.com/facebookresearch/DomainBed, commit b93c22a), so
`tox -e oracles` does not run this script.

PYTHONPATH=DomainBed python scripts/oracles/training_algorithms.py --check   # compare with the committed table
PYTHONPATH=DomainBed python scripts/oracles/training_algorithms.py           # write the table again

Each case trains a small network with Adam on batches of three groups. DomainBed's networks have two outputs and a cross-entropy,
which equals the binary cross-entropy of the difference of the outputs.
"""

from typing import Any

import numpy as np
import torch
from committed_table import main
from domainbed import algorithms, networks
from domainbed.hparams_registry import default_hparams
from torch import nn

INPUTS, FEATURES, GROUPS, EACH, LR = 4, 3, 3, 6, 0.05
ANNEAL = {"irm_penalty_anneal_iters": 2}
OPTIONS = ("groupdro_", "irm_", "mmd_", "mixup_", "lambda")  # starts of the names of the algorithms' options
NAMES = {
    "groupdro": "GroupDRO",
    "irm": "IRM",
    "coral": "CORAL",
    "mixup": "Mixup",
    "dann": "DANN",
}


class Features(nn.Sequential):
    """Features tanh(x W + b) of the inputs."""

    n_outputs = FEATURES

    def __init__(self, *_: Any) -> None:
        super().__init__(nn.Linear(INPUTS, FEATURES), nn.Tanh())


def listed(module: nn.Module) -> dict[str, Any]:
    """Return the weights of a module as lists."""
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


def case(name: str, seed: int, steps: int = 5) -> dict[str, Any]:
    """Train with an algorithm of DomainBed; return start, batches, the loss of each step, and the last weights."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (DomainBed draws from it)
    hparams = default_hparams(NAMES[name], "RotatedMNIST") | {
        "lr": LR,
        "lr_g": LR,
        "lr_d": LR,
        "beta1": 0.9,
        "mlp_width": 5,
    }
    hparams |= {key: value for key, value in ANNEAL.items() if key in hparams}
    algorithm = algorithms.get_algorithm_class(NAMES[name])((INPUTS,), 2, GROUPS, hparams)
    start = {"features": listed(algorithm.featurizer), "classifier": listed(algorithm.classifier)}
    if name == "dann":
        start["discriminator"] = listed(algorithm.discriminator)
    x = torch.randn(steps, GROUPS, EACH, INPUTS) * torch.arange(1, GROUPS + 1)[:, None, None]
    y = (x.sum(-1) + torch.randn(steps, GROUPS, EACH) > 0).long()
    draws: list[dict[str, Any]] = []
    if name == "mixup":
        record_draws(draws)
    results = [algorithm.update([(x[s, g], y[s, g]) for g in range(GROUPS)]) for s in range(steps)]
    end = {"features": listed(algorithm.featurizer), "classifier": listed(algorithm.classifier)}
    options = {key: value for key, value in hparams.items() if key.startswith(OPTIONS)}
    inputs = {"algorithm": name, "lr": LR, "options": options, "start": start, "x": x.tolist(), "y": y.tolist()}
    return inputs | {"draws": draws, "results": results, "end": end}


def record_draws(draws: list[dict[str, Any]]) -> None:
    """Let Mixup note the order of the groups and the mixing weights that it draws."""
    permutation, beta = torch.randperm, np.random.beta

    def noted_permutation(n: int) -> torch.Tensor:
        order = permutation(n)
        draws.append({"order": order.tolist(), "weights": []})
        return order

    def noted_beta(a: float, b: float) -> float:
        draws[-1]["weights"].append(float(beta(a, b)))
        return draws[-1]["weights"][-1]

    torch.randperm, np.random.beta = noted_permutation, noted_beta


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    networks.Featurizer = Features
    main("training_algorithms", {"cases": [case(name, seed) for seed, name in enumerate(NAMES)]}, tolerance=1e-9)
