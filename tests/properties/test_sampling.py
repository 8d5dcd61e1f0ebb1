"""Batches: each image once when shuffled; each class in each forward pass when balanced; a function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.training.batch_sampling import balanced, class_membership, micro_batches, shuffled
from tests.nonempty import nonempty

quick = settings(max_examples=60)


@st.composite
def taught(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets and weights of up to 60 images and 4 findings, each rare, common, or of one class only."""
    num_images, num_findings = draw(st.integers(16, 60)), draw(st.integers(1, 4))
    noise = np.random.default_rng(draw(st.integers(0, 10**6)))
    share = np.array(draw(st.lists(st.sampled_from([0.0, 0.03, 0.3, 0.97, 1.0]), min_size=num_findings, max_size=num_findings)))  # fmt: skip
    target = (noise.random((num_images, num_findings)) < share).astype(np.float32)
    return target, (noise.random((num_images, num_findings)) < 0.8).astype(np.float32)


@quick
@given(taught(), st.sampled_from([(8, 8), (16, 8), (12, 12), (16, 16)]), st.integers(0, 3), st.integers(1, 3))
def test_every_forward_pass_shows_every_class(
    labels: tuple[np.ndarray, np.ndarray], sizes: tuple[int, int], seed: int, epoch: int
) -> None:
    batch, micro = sizes
    shows = class_membership(*labels)
    order = balanced(shuffled(seed, epoch, len(labels[0])), batch, micro, shows, seed, epoch)
    for part in nonempty(micro_batches(len(order), batch, micro)):
        assert part.stop - part.start == micro
        assert shows[order[part]].any(axis=0).all()
        assert len(set(order[part])) == micro  # no image twice in one pass


@quick
@given(taught(), st.integers(0, 3), st.integers(1, 3))
def test_balancing_is_a_function_of_seed_and_epoch_and_leaves_a_good_order_alone(
    labels: tuple[np.ndarray, np.ndarray], seed: int, epoch: int
) -> None:
    shows, order = class_membership(*labels), shuffled(seed, epoch, len(labels[0]))
    once, twice = (balanced(order, 16, 8, shows, seed, epoch) for _ in range(2))
    assert np.array_equal(once, twice)
    assert np.array_equal(balanced(once, 16, 8, shows, seed, epoch), once)
    assert sorted(order) == list(range(len(order)))  # the order it was given is not changed


def test_rare_images_take_turns() -> None:
    target = np.zeros((64, 1), np.float32)
    target[:3] = 1
    shows = class_membership(target, np.ones_like(target))
    order = balanced(shuffled(0, 1, 64), 8, 8, shows, 0, 1)
    seen = np.bincount(order[order < 3], minlength=3)
    assert seen.sum() >= 8
    assert seen.max() - seen.min() <= 2


def test_images_without_weight_show_nothing() -> None:
    target, weight = np.array([[1.0], [0.0], [1.0]], np.float32), np.array([[1.0], [1.0], [0.0]], np.float32)
    assert class_membership(target, weight).tolist() == [[True, False], [False, True], [False, False]]
    assert class_membership(target[:1], weight[:1]).shape == (1, 0)  # one class only: there is no pair to rank


def test_a_pass_that_cannot_hold_the_classes_says_so() -> None:
    shows = np.eye(4, dtype=bool)
    with pytest.raises(ValueError, match="4 classes"):
        balanced(np.arange(4), 2, 2, shows, 0, 1)


def test_passes_cut_each_batch_into_parts_and_leave_the_rest_out() -> None:
    assert [(p.start, p.stop) for p in micro_batches(13, 6, 4)] == [(0, 4), (4, 6), (6, 10), (10, 12)]
