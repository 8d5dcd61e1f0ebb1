"""What a label state teaches: Labels -> (target_NK, weight_NK), training labels only.

N images, K findings; int8 states: 1 present, 0 absent, -1 uncertain, -2 not mentioned, -3 unmapped. `blank` first
turns "not mentioned" into absent or unmapped, then a policy turns "uncertain" into something. Weight 0 takes a pair
out of the loss. Both are meant for the whole training table at once.

Source of the policies, where none is named: Irvin et al. 2019, arXiv:1901.07031, section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harmonize.errors import ConfigError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, UNMAPPED_CODE
from harmonize.seeds import seed_for

Taught = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The label states of the training images, and the names by which a policy can draw or choose."""

    state_NK: Tensor
    image_id: Sequence[str]  # [N]
    findings: Sequence[str]  # [K]
    seed: int = 0


def blank(state_NK: Tensor, policy: str) -> Tensor:
    """Return states without -2: `zero` makes them absent (CheXpert's convention), `ignore` takes them out.

    >>> blank(torch.tensor([[1, -1, -2]]), "zero").tolist()
    [[1, -1, 0]]
    """
    if policy not in ("zero", "ignore"):
        raise ConfigError(f"no blank policy {policy!r}", "blank", "choose zero or ignore")
    meaning = ABSENT if policy == "zero" else UNMAPPED_CODE
    return torch.where(state_NK == NOT_MENTIONED, torch.full_like(state_NK, meaning), state_NK)


def ignore(labels: Labels) -> Taught:
    """U-Ignore: uncertain pairs take no part. With `blank: ignore`, explicit labels alone teach."""
    return _known(labels.state_NK)


def ones(labels: Labels) -> Taught:
    """U-Ones: uncertain counts as present."""
    return _uncertain_as(labels, PRESENT)


def zeros(labels: Labels) -> Taught:
    """U-Zeros: uncertain counts as absent."""
    return _uncertain_as(labels, ABSENT)


def smooth(labels: Labels, low: float, high: float) -> Taught:
    """Uncertain is a chance drawn from U(low, high), once for each image and finding.

    The draw depends on the seed and the two names alone: neither on the order of rows nor on who else is there.
    Source: Pham et al. 2021, arXiv:1911.06475: U(.55, .85) for U-Ones, U(0, .3) for U-Zeros.
    """
    target_NK, weight_NK = _known(labels.state_NK)
    uncertain_NK = labels.state_NK == UNCERTAIN
    names = ((labels.image_id[n], labels.findings[k]) for n, k in torch.nonzero(uncertain_NK).tolist())
    draws = [low + (high - low) * seed_for(labels.seed, "uncertain", *pair) / 2**63 for pair in names]
    target_NK[uncertain_NK], weight_NK[uncertain_NK] = torch.tensor(draws, dtype=torch.float32), 1.0
    return target_NK, weight_NK


def multiclass(labels: Labels) -> Taught:
    """U-MultiClass: uncertain is a class of its own, target 0.5. Learnt by `bench.training.losses.three_states` alone."""
    target_NK, weight_NK = _known(labels.state_NK)
    uncertain_NK = labels.state_NK == UNCERTAIN
    return torch.where(uncertain_NK, 0.5, target_NK), torch.where(uncertain_NK, 1.0, weight_NK)


def mixed(labels: Labels, of: Mapping[str, str], otherwise: str = "zeros") -> Taught:
    """Each finding by its own policy: `of` names ignore, ones or zeros by finding, `otherwise` the rest's.

    Raises ConfigError for another name.
    """
    simple = {"ignore": ignore, "ones": ones, "zeros": zeros}
    parts = []
    for k, finding in enumerate(labels.findings):
        name = of.get(finding, otherwise)
        if name not in simple:
            raise ConfigError(f"no policy {name!r} for {finding}", "uncertainty", f"choose {', '.join(simple)}")
        parts.append(simple[name](replace(labels, state_NK=labels.state_NK[:, k : k + 1], findings=[finding])))
    return torch.cat([target for target, _ in parts], 1), torch.cat([weight for _, weight in parts], 1)


def _uncertain_as(labels: Labels, state: int) -> Taught:
    uncertain_NK = labels.state_NK == UNCERTAIN
    return _known(torch.where(uncertain_NK, torch.full_like(labels.state_NK, state), labels.state_NK))


def _known(state_NK: Tensor) -> Taught:
    """Return float32 targets and weights: weight 1 where the state is present or absent."""
    if bool((state_NK == NOT_MENTIONED).any()):
        raise ValueError("states hold -2 (not mentioned): apply `blank` first")
    known_NK = (state_NK == PRESENT) | (state_NK == ABSENT)
    return (state_NK == PRESENT).float(), known_NK.float()
