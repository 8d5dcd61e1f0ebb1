"""Losses on the order of images, against values worked out apart and against slow twins."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.training.auc_losses import AUCM, SURROGATES, pairwise

LOGIT = torch.tensor([[2.0], [0.5], [-1.0], [1.0]])
TARGET = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
ALL = torch.ones(4, 1)


@pytest.mark.parametrize(
    ("surrogate", "margin", "expected"),
    [("squared_hinge", 1.0, 0.5625), ("hinge", 1.0, 0.375), ("logistic", 0.0, 0.3843348), ("square", 1.0, 1.625)],
)
def test_pairwise_surrogates_have_their_published_form(surrogate: str, margin: float, expected: float) -> None:
    assert float(pairwise(LOGIT, TARGET, ALL, surrogate, margin)) == pytest.approx(expected, abs=1e-6)


def twin(logit: Tensor, target: Tensor, weight: Tensor, surrogate: str, margin: float) -> float:
    """The mean over all ways the labels may be of each pair, by loops; findings without pairs are left out."""
    means = []
    for k in range(logit.shape[1]):
        total = pairs = 0.0
        for i, j in itertools.permutations(range(len(logit)), 2):
            if weight[i, k] == 0 or weight[j, k] == 0:
                continue
            share = float(weight[i, k] * target[i, k] * weight[j, k] * (1 - target[j, k]))
            d = float(logit[i, k] - logit[j, k])
            value = {
                "hinge": max(0.0, margin - d),
                "squared_hinge": max(0.0, margin - d) ** 2,
                "square": (margin - d) ** 2,
                "logistic": float(np.logaddexp(0, margin - d)),
            }[surrogate]
            total, pairs = total + share * value, pairs + share
        if pairs > 0:
            means.append(total / pairs)
    return float(np.mean(means)) if means else 0.0


@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 10_000), st.booleans(), st.sampled_from(sorted(SURROGATES)))
@settings(max_examples=60)
def test_pairwise_equals_its_twin_for_hard_and_soft_targets(
    n: int, k: int, seed: int, soft: bool, surrogate: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logit = 2 * torch.randn(n, k, generator=generator)
    target = torch.rand(n, k, generator=generator)
    target = target if soft else target.round()
    weight = torch.randint(2, (n, k), generator=generator).float()
    target = torch.where(weight > 0, target, torch.nan)
    ours = pairwise(logit, target, weight, surrogate, 0.7)
    assert float(ours) == pytest.approx(twin(logit, target, weight, surrogate, 0.7), rel=1e-4, abs=1e-5)


def test_a_finding_without_both_classes_has_no_share_in_the_mean() -> None:
    logit, target = LOGIT.repeat(1, 2), torch.cat([TARGET, torch.ones(4, 1)], 1)
    torch.testing.assert_close(pairwise(logit, target, torch.ones(4, 2)), pairwise(LOGIT, TARGET, ALL))


SHOWN = torch.tensor([[0.9], [0.6], [0.2], [0.7]]).logit()


def aucm(a: float, b: float, alpha: float) -> float:
    loss = AUCM(TARGET, ALL)
    with torch.no_grad():
        for parameter, value in zip((loss.a_K, loss.b_K, loss.alpha_K), (a, b, alpha), strict=True):
            parameter.fill_(value)
    return float(loss(SHOWN, TARGET, ALL).detach())


def test_the_auc_margin_loss_has_its_published_values() -> None:
    assert aucm(0, 0, 0) == pytest.approx(0.2125, abs=1e-6)
    assert aucm(0.75, 0.45, 0.7) == pytest.approx(0.14375, abs=1e-6)


def test_at_its_saddle_the_auc_margin_loss_is_the_mean_square_over_pairs() -> None:
    square = float(pairwise(SHOWN.sigmoid(), TARGET, ALL, "square", 1.0))
    assert square == pytest.approx(0.575, abs=1e-6)
    assert aucm(0.75, 0.45, 0.7) == pytest.approx(0.25 * square, abs=1e-6)


@pytest.mark.slow
def test_going_down_finds_the_saddle_for_the_dual_variable_goes_up() -> None:
    loss = AUCM(TARGET, ALL)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        loss(SHOWN, TARGET, ALL).backward()
        optimizer.step()
        loss.after_step()
    found = torch.cat([loss.a_K, loss.b_K, loss.alpha_K]).detach()
    torch.testing.assert_close(found, torch.tensor([0.75, 0.45, 0.7]), rtol=0, atol=1e-3)


def test_the_dual_variable_never_falls_below_zero() -> None:
    loss = AUCM(TARGET, ALL)
    with torch.no_grad():
        loss.alpha_K.fill_(-0.3)
    loss.after_step()
    assert loss.alpha_K.tolist() == [0.0]


def test_the_prior_is_that_of_training_not_of_the_batch() -> None:
    train = torch.zeros(100, 1)
    train[:10] = 1
    known = torch.ones(100, 1)
    known[50:] = 0
    loss = AUCM(torch.where(known > 0, train, torch.nan), known)
    assert loss.prior_K.tolist() == pytest.approx([0.2])
    halves = [float(loss(SHOWN[i : i + 1], TARGET[i : i + 1], ALL[:1]).detach()) for i in range(4)]
    assert np.mean(halves) == pytest.approx(float(loss(SHOWN, TARGET, ALL).detach()), abs=1e-6)
