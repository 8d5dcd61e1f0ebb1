"""Label states become targets and weights."""

import pytest
import torch
from torch import Tensor

from bench.uncertainty import blank, ignore, ones, zeros
from harmonize.errors import ConfigError

STATE = torch.tensor([[-1, 0, 1, -3]], dtype=torch.int8)


def with_nan(pair: tuple[Tensor, Tensor]) -> list[float | None]:
    target, weight = pair
    return [float(t) if w else None for t, w in zip(target[0], weight[0], strict=True)]


def test_each_policy_reads_uncertain_as_its_name_says() -> None:
    assert with_nan(ones(STATE)) == [1, 0, 1, None]
    assert with_nan(zeros(STATE)) == [0, 0, 1, None]
    assert with_nan(ignore(STATE)) == [None, 0, 1, None]


def test_blank_turns_not_mentioned_into_absent_or_into_nothing() -> None:
    state = torch.tensor([[-2, -1, 1, -3]], dtype=torch.int8)
    assert blank(state, "zero").tolist() == [[0, -1, 1, -3]]
    assert blank(state, "ignore").tolist() == [[-3, -1, 1, -3]]
    assert blank(state, "zero").dtype == torch.int8


def test_an_unknown_blank_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="zero or ignore"):
        blank(STATE, "negative")
