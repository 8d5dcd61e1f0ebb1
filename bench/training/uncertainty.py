"""Label policies of training: functions that turn label states (`Labels`) into targets and weights (target_NK, weight_NK).

N images, K findings. States are int8: 1 present, 0 absent, -1 uncertain, -2 not mentioned, -3 null. First `blank`
turns "not mentioned" into absent or null. Then an uncertainty policy returns targets and weights. Weight 0 excludes
a pair of image and finding from the loss. Both steps take all training images at once.

Source of the policies, unless stated otherwise: Irvin et al. 2019, arXiv:1901.07031, section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harmonize.errors import ConfigError
from harmonize.labels.findings import ABSENT, ALL_FINDINGS, NOT_MENTIONED, PRESENT, UNCERTAIN, UNMAPPED_CODE
from harmonize.seeds import seed_for

Targets = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The label states of the training images, with the names and the seed that policies use."""

    state_NK: Tensor
    image_id: Sequence[str]  # [N]
    findings: Sequence[str]  # [K]
    seed: int = 0


def blank(state_NK: Tensor, policy: str) -> Tensor:
    """Return states with -2 (not mentioned) replaced: by absent (`zero`, CheXpert's convention) or by null (`ignore`).

    >>> blank(torch.tensor([[1, -1, -2]]), "zero").tolist()
    [[1, -1, 0]]
    """
    if policy not in ("zero", "ignore"):
        raise ConfigError(f"unknown blank policy {policy!r}", "blank", "choose zero or ignore")
    replacement = ABSENT if policy == "zero" else UNMAPPED_CODE
    return torch.where(state_NK == NOT_MENTIONED, torch.full_like(state_NK, replacement), state_NK)


def ignore(labels: Labels) -> Targets:
    """U-Ignore: exclude pairs of image and finding with an uncertain label.

    Together with `blank: ignore`, training uses only explicit labels.
    """
    return _certain(labels.state_NK)


def ones(labels: Labels) -> Targets:
    """U-Ones: uncertain counts as present."""
    return _uncertain_as(labels, PRESENT)


def zeros(labels: Labels) -> Targets:
    """U-Zeros: uncertain counts as absent."""
    return _uncertain_as(labels, ABSENT)


def smooth(labels: Labels, low: float, high: float) -> Targets:
    """Smoothed policies: an uncertain target is drawn from U(low, high), once for each image and finding.

    The draw depends only on the seed, the image id and the finding, not on other rows or their order.
    Source: Pham et al. 2021, arXiv:1911.06475: U(.55, .85) for U-Ones, U(0, .3) for U-Zeros.

    Raises ConfigError unless 0 <= low <= high <= 1.
    """
    if not 0 <= low <= high <= 1:
        raise ConfigError(f"low {low} and high {high} bound no target", "uncertainty", "choose 0 <= low <= high <= 1")
    target_NK, weight_NK = _certain(labels.state_NK)
    uncertain_NK = labels.state_NK == UNCERTAIN
    names = ((labels.image_id[n], labels.findings[k]) for n, k in torch.nonzero(uncertain_NK).tolist())
    draws = [low + (high - low) * seed_for(labels.seed, "uncertain", *pair) / 2**63 for pair in names]
    target_NK[uncertain_NK], weight_NK[uncertain_NK] = torch.tensor(draws, dtype=torch.float32), 1.0
    return target_NK, weight_NK


def multiclass(labels: Labels) -> Targets:
    """U-MultiClass: uncertain is a separate class with target 0.5, for the loss `bench.training.losses.three_states`."""
    target_NK, weight_NK = _certain(labels.state_NK)
    uncertain_NK = labels.state_NK == UNCERTAIN
    return torch.where(uncertain_NK, 0.5, target_NK), torch.where(uncertain_NK, 1.0, weight_NK)


def mixed(labels: Labels, of: Mapping[str, str], otherwise: str = "zeros") -> Targets:
    """U-Mixed: each finding has its own policy.

    `of` maps findings to ignore, ones or zeros. Findings that `of` does not name get the policy `otherwise`.

    Raises ConfigError for an unknown policy or finding.
    """
    for name in of:
        if name not in (known := (*labels.findings, *ALL_FINDINGS)):
            raise ConfigError(f"no finding {name!r}", "uncertainty", ConfigError.suggestion(name, known))
    policies = {"ignore": ignore, "ones": ones, "zeros": zeros}
    columns = []
    for k, finding in enumerate(labels.findings):
        name = of.get(finding, otherwise)
        if name not in policies:
            fix = f"choose one of {', '.join(policies)}"
            raise ConfigError(f"unknown policy {name!r} for {finding}", "uncertainty", fix)
        columns.append(policies[name](replace(labels, state_NK=labels.state_NK[:, k : k + 1], findings=[finding])))
    return torch.cat([target for target, _ in columns], 1), torch.cat([weight for _, weight in columns], 1)


def _uncertain_as(labels: Labels, state: int) -> Targets:
    uncertain_NK = labels.state_NK == UNCERTAIN
    return _certain(torch.where(uncertain_NK, torch.full_like(labels.state_NK, state), labels.state_NK))


def _certain(state_NK: Tensor) -> Targets:
    """Return float32 targets (1 where present, else 0) and weights (1 where present or absent, else 0).

    Raises ValueError if a state is -2 (not mentioned).
    """
    if bool((state_NK == NOT_MENTIONED).any()):
        raise ValueError("the label states contain -2 (not mentioned): apply `blank` first")
    certain_NK = (state_NK == PRESENT) | (state_NK == ABSENT)
    return (state_NK == PRESENT).float(), certain_NK.float()
