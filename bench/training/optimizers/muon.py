"""Muon: orthogonalized momentum for the hidden matrices of a network (Jordan et al. 2024; Liu et al., arXiv:2502.16982)."""

from collections.abc import Iterable
from typing import Any

from timm.optim.muon import Muon
from torch import nn
from torch.optim import Optimizer

from bench.training.optimizers.parameter_groups import hidden_matrices


def muon(params: Iterable[dict[str, Any]], network: nn.Module, **options: Any) -> Optimizer:
    """Return timm's Muon for the hidden matrices of `network`; all other weights use the AdamW that is part of timm's Muon.

    Other weights are those of the stem, the classifier, depthwise and grouped convolutions, norms, biases and the loss. The
    weights of a convolution are one matrix, with one row for each output channel. By default timm selects weights by shape
    only, and would include the stem and the classifier.
    """
    hidden = {id(weight) for weight in hidden_matrices(network)}
    groups: list[dict[str, Any]] = []
    for group in params:
        muon_weights = [p for p in group["params"] if id(p) in hidden]
        adamw_weights = [p for p in group["params"] if id(p) not in hidden]
        groups += [{**group, "params": muon_weights, "use_muon": True}] if muon_weights else []
        groups += [{**group, "params": adamw_weights, "use_fallback": True}] if adamw_weights else []
    optimizer: Optimizer = Muon(groups, **options)
    return optimizer
