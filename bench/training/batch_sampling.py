"""Which training images make up the batches of an epoch: a function of (seed, epoch) and of what the labels teach.

Legend: N images, K findings, C classes (a finding's present or its absent images).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.config.run_config import Schedule
from harmonize.seeds import seed_for


def shuffled(seed: int, epoch: int, num_images: int) -> NDArray[np.int64]:
    """Return the places of all training images in the order of an epoch."""
    return np.random.default_rng(seed_for(seed, "order", epoch)).permutation(num_images)


def batch_of(schedule: Schedule, num_images: int) -> int:
    """Return how many images an optimizer step takes: all there are where a batch is more, but no forward pass of one.

    >>> batch_of(Schedule(batch_size=64, micro_batch=8), 17)
    16
    """
    size = min(schedule.batch_size, num_images)
    return size - (size % (schedule.micro_batch or size) == 1)  # batch norm has no variance of one image


def passes(num_images: int, batch: int, micro: int) -> Iterator[slice]:
    """Yield the forward passes of an epoch as slices of its order: each batch in parts of `micro` images."""
    for start in range(0, num_images - num_images % batch, batch):
        for part in range(start, start + batch, micro):
            yield slice(part, min(part + micro, start + batch))


def classes(target_NK: NDArray[np.float32], weight_NK: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which image shows which class, [N, C]: present and absent of each finding that the labels show both of."""
    present_NK = (weight_NK > 0) & (target_NK > 0.5)
    absent_NK = (weight_NK > 0) & (target_NK < 0.5)
    both_K = present_NK.any(axis=0) & absent_NK.any(axis=0)
    return np.concatenate([present_NK[:, both_K], absent_NK[:, both_K]], axis=1)


def balanced(
    order_N: NDArray[np.int64], batch: int, micro: int, shows_NC: NDArray[np.bool_], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the order of an epoch, changed so that every forward pass shows every class at least once.

    A pass that lacks a class gets the next image of it, from the class's own shuffled list, in the place of an image
    that it can spare. So rare classes are seen more often than their share, and a few images wait for another epoch;
    nothing else changes. It is always possible when a pass holds at least as many images as there are classes.
    Raises ValueError when it is not.
    """
    order_N = order_N.copy()
    draw = np.random.default_rng(seed_for(seed, "balance", epoch))
    lists = [draw.permutation(np.flatnonzero(shows_NC[:, c])) for c in range(shows_NC.shape[1])]
    given = [0] * len(lists)
    rarest_first = sorted(range(len(lists)), key=lambda c: len(lists[c]))
    for part in passes(len(order_N), batch, micro):
        count_C = shows_NC[order_N[part]].sum(axis=0)
        for c in rarest_first:
            if count_C[c]:
                continue
            needed = (shows_NC[order_N[part]] & (count_C == 1)).any(axis=1)
            if needed.all():
                size, most = part.stop - part.start, len(lists)
                raise ValueError(f"a forward pass of {size} images cannot show {most} classes; give it {most} images")
            place = part.start + int(np.argmin(needed))
            image = lists[c][given[c] % len(lists[c])]
            given[c] += 1
            count_C += shows_NC[image].astype(count_C.dtype) - shows_NC[order_N[place]]
            order_N[place] = image
    return order_N
