"""Lion against the paper's algorithm, timm's implementation and a hand-worked example."""

import timm.optim
import torch
from torch import nn

from bench.training.optimizers.lion import Lion


def test_lion_equals_its_twin_written_from_the_paper() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 2))
    optimizer = Lion([weight], lr=0.03, betas=(0.9, 0.99), weight_decay=0.1)
    x, m = weight.detach().clone().double(), torch.zeros(3, 2, dtype=torch.float64)
    for _ in range(100):
        g = torch.randn(3, 2)
        weight.grad = g.clone()
        optimizer.step()
        c = 0.9 * m + 0.1 * g
        x = x - 0.03 * (torch.sign(c) + 0.1 * x)
        m = 0.99 * m + 0.01 * g
    torch.testing.assert_close(weight.detach().double(), x, rtol=1e-5, atol=1e-6)


def test_lion_equals_timms_lion() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(5, 4))
    theirs = nn.Parameter(ours.detach().clone())
    pair = (Lion([ours], lr=0.01, weight_decay=0.2), timm.optim.Lion([theirs], lr=0.01, weight_decay=0.2))
    for _ in range(200):
        gradient = torch.randn(5, 4)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in pair:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_lion_takes_the_two_steps_worked_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    expected = [([0.85, -1.8], [0.005, -0.001]), ([0.9075, -1.61], [0.00295, -0.00199])]
    for gradient, (value, momentum) in zip(([0.5, -0.1], [-0.2, -0.1]), expected, strict=True):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.tensor(value))
        torch.testing.assert_close(optimizer.state[weight]["momentum"], torch.tensor(momentum))


def test_lion_leaves_weights_without_gradient_alone() -> None:
    weight = nn.Parameter(torch.ones(2))
    Lion([weight], lr=0.1, weight_decay=0.5).step()
    assert weight.tolist() == [1, 1]
