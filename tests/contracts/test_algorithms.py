"""What every training algorithm of the registry promises."""

from io import BytesIO

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Entry
from bench.training.algorithms.batch import Algorithm, Batch
from bench.training.algorithms.build import build_algorithm

GROUPS, EACH, INPUTS, FEATURES, OUTPUTS = 3, 8, 6, 5, 2


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, FEATURES), nn.Tanh(), nn.Linear(FEATURES, OUTPUTS))


def batch(network: nn.Sequential, seed: int, num_groups: int = GROUPS) -> Batch:
    """Return images whose first numbers decide their labels, in groups that differ in their second numbers."""
    draw = torch.Generator().manual_seed(seed)
    group_N = torch.arange(num_groups).repeat(EACH)
    x = torch.randn(len(group_N), INPUTS, generator=draw)
    x[:, -1] += group_N
    target = (x[:, :OUTPUTS] > 0).float()

    def loss(output_NO: Tensor, index_N: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output_NO.float(), target[index_N])

    index_N = torch.arange(len(group_N))
    return Batch(x, index_N, group_N, network, network[-1], loss, seed)  # type: ignore[arg-type]


def built(algorithm: Entry, network: nn.Sequential) -> Algorithm:
    torch.manual_seed(1)
    return build_algorithm(algorithm, GROUPS, network[-1])


def trained(algorithm: Entry, steps: int = 80) -> tuple[nn.Sequential, Algorithm, list[float]]:
    network = small_network()
    made = built(algorithm, network)
    optimizer = torch.optim.Adam([*network.parameters(), *made.parameters()], lr=0.03)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        own = batch(network, step)
        made(own).backward()
        optimizer.step()
        made.after_step(network)
        losses.append(float(own.loss(own.outputs()).detach()))
    return network, made, losses


def test_an_algorithm_learns_what_all_groups_share(algorithm: Entry) -> None:
    losses = trained(algorithm)[2]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_repeated_step_gives_the_same_loss_and_leaves_the_state_as_it_is(algorithm: Entry) -> None:
    """Training repeats a step when memory runs out."""
    network, made, _ = trained(algorithm, steps=3)
    first, again = (made(batch(network, 7)).detach() for _ in range(2))
    assert torch.equal(first, again)


def test_an_algorithm_with_a_restored_state_computes_the_same_loss(algorithm: Entry) -> None:
    network, made, _ = trained(algorithm, steps=3)
    file = BytesIO()
    torch.save(made.state_dict(), file)
    file.seek(0)
    again = built(algorithm, network)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(batch(network, 7)).detach(), made(batch(network, 7)).detach())


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_a_loss_and_its_gradients_are_finite_also_without_some_groups(algorithm: Entry, num_groups: int) -> None:
    network = small_network()
    value = built(algorithm, network)(batch(network, 0, num_groups))
    value.backward()
    assert value.ndim == 0
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value))
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())


def test_an_algorithm_names_its_source(algorithm: Entry) -> None:
    assert algorithm.paper.startswith(("arXiv:", "https://"))


def test_an_algorithm_that_compares_groups_says_so(algorithm: Entry) -> None:
    """Without the key, its batches have no groups, and its options that need them would fail in training."""
    network = small_network()
    whole = batch(network, 0)
    without = Batch(whole.x_NCHW, whole.index_N, None, network, network[-1], whole.training_loss, 0)
    if not algorithm.facts.get("groups"):
        assert bool(torch.isfinite(built(algorithm, network)(without)))
