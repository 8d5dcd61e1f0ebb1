"""Muon: momentum made orthogonal, for the matrices inside a network (Jordan et al. 2024; Liu et al., arXiv:2502.16982)."""

from collections.abc import Iterable
from typing import Any

from timm.optim.muon import Muon
from torch import nn
from torch.optim import Optimizer

from bench.training.optimizers.parameter_groups import hidden_matrices


def muon(params: Iterable[dict[str, Any]], network: nn.Module, **options: Any) -> Optimizer:
    """Return timm's Muon on the hidden matrices of `network`, and its AdamW on all other weights, with the same options.

    Others are stem, classifier, depthwise and grouped convolutions, norms, biases, and what is not the network's. A
    convolution is one matrix, output channels x the rest. timm left alone would choose by shape, and so take the stem
    and the classifier, too.
    """
    hidden = {id(weight) for weight in hidden_matrices(network)}
    groups: list[dict[str, Any]] = []
    for group in params:
        inside = [p for p in group["params"] if id(p) in hidden]
        outside = [p for p in group["params"] if id(p) not in hidden]
        groups += [{**group, "params": inside, "use_muon": True}] if inside else []
        groups += [{**group, "params": outside, "use_fallback": True}] if outside else []
    made: Optimizer = Muon(groups, **options)
    return made
