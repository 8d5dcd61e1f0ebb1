"""What a label state teaches: state_NK -> (target_NK, weight_NK), training labels only.

N images, K findings; int8 states: 1 present, 0 absent, -1 uncertain, -2 not mentioned, -3 unmapped. `blank` first
turns "not mentioned" into absent or unmapped, then a policy turns "uncertain" into something. Weight 0 takes a pair
out of the loss. Both are meant for the whole training table at once.

Source of the policies: Irvin et al. 2019, arXiv:1901.07031, section 3.
"""

import torch
from torch import Tensor

from harmonize.errors import ConfigError
from harmonize.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, UNMAPPED_CODE


def blank(state_NK: Tensor, policy: str) -> Tensor:
    """Return states without -2: `zero` makes them absent (CheXpert's convention), `ignore` takes them out.

    >>> blank(torch.tensor([[1, -1, -2]]), "zero").tolist()
    [[1, -1, 0]]
    """
    if policy not in ("zero", "ignore"):
        raise ConfigError(f"no blank policy {policy!r}", "blank", "choose zero or ignore")
    meaning = ABSENT if policy == "zero" else UNMAPPED_CODE
    return torch.where(state_NK == NOT_MENTIONED, torch.full_like(state_NK, meaning), state_NK)


def ignore(state_NK: Tensor) -> tuple[Tensor, Tensor]:
    """U-Ignore: uncertain pairs take no part."""
    return _known(state_NK)


def ones(state_NK: Tensor) -> tuple[Tensor, Tensor]:
    """U-Ones: uncertain counts as present."""
    return _known(torch.where(state_NK == UNCERTAIN, torch.full_like(state_NK, PRESENT), state_NK))


def zeros(state_NK: Tensor) -> tuple[Tensor, Tensor]:
    """U-Zeros: uncertain counts as absent."""
    return _known(torch.where(state_NK == UNCERTAIN, torch.full_like(state_NK, ABSENT), state_NK))


def _known(state_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return float32 targets and weights: weight 1 where the state is present or absent."""
    if bool((state_NK == NOT_MENTIONED).any()):
        raise ValueError("states hold -2 (not mentioned): apply `blank` first")
    known_NK = (state_NK == PRESENT) | (state_NK == ABSENT)
    return (state_NK == PRESENT).float(), known_NK.float()
