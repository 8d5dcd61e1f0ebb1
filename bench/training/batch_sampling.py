"""Order and batches of the training images in an epoch, which depend only on seed, epoch and label classes.

Legend: N images, K findings, C classes. A finding has two classes: its present images and its absent images.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harmonize.seeds import seed_for


def shuffled(seed: int, epoch: int, num_images: int) -> NDArray[np.int64]:
    """Return the indices of all training images in the order of an epoch."""
    return np.random.default_rng(seed_for(seed, "order", epoch)).permutation(num_images)


def micro_batches(num_images: int, batch: int, micro: int) -> Iterator[slice]:
    """Yield the micro-batches of an epoch: slices of at most `micro` images, each inside one batch of `batch` images.

    The incomplete last batch is left out.
    """
    for batch_start in range(0, num_images - num_images % batch, batch):
        for start in range(batch_start, batch_start + batch, micro):
            yield slice(start, min(start + micro, batch_start + batch))


def group_balanced(group_N: NDArray[np.int64], batch: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of an epoch in which every batch has the same number of images of each group.

    The number of batches is as in a shuffled epoch. If `batch` is no multiple of the number of groups, the groups take turns
    with the images that remain. The images of a group are drawn without replacement until all were drawn, then again; so a
    small group is shown more often than once in an epoch, and a large group not completely. Raises ValueError for a group
    without images.

    >>> group_balanced(np.array([0, 0, 0, 0, 1]), 4, 0, 1).tolist()
    [2, 3, 4, 4]
    """
    num_groups, num_batches = int(group_N.max()) + 1, len(group_N) // batch
    counts_BG = np.full((num_batches, num_groups), batch // num_groups)
    for b in range(num_batches):
        extra = batch % num_groups
        counts_BG[b, [(b * extra + i) % num_groups for i in range(extra)]] += 1
    generator = np.random.default_rng(seed_for(seed, "groups", epoch))
    drawn = [_repeated(np.flatnonzero(group_N == g), int(counts_BG[:, g].sum()), generator) for g in range(num_groups)]
    ends_BG = counts_BG.cumsum(axis=0)
    batches = [
        drawn[g][ends_BG[b, g] - counts_BG[b, g] : ends_BG[b, g]] for b in range(num_batches) for g in range(num_groups)
    ]
    return np.concatenate(batches) if batches else np.empty(0, np.int64)


def _repeated(images: NDArray[np.int64], num: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return `num` images in random order: permutations of all images, one after the other."""
    if not len(images):
        raise ValueError("a group has no training images")
    rounds = [generator.permutation(images) for _ in range(-(-num // len(images)))]
    return np.concatenate([np.empty(0, np.int64), *rounds])[:num]


def class_membership(target_NK: NDArray[np.float32], weight_NK: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask [N, C] of the classes of each image: the present classes of all findings, then the absent classes.

    A finding without images in both classes is left out.
    """
    present_NK = (weight_NK > 0) & (target_NK > 0.5)
    absent_NK = (weight_NK > 0) & (target_NK < 0.5)
    both_K = present_NK.any(axis=0) & absent_NK.any(axis=0)
    return np.concatenate([present_NK[:, both_K], absent_NK[:, both_K]], axis=1)


def balanced(
    order_N: NDArray[np.int64], batch: int, micro: int, in_class_NC: NDArray[np.bool_], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the order of an epoch, changed so that every micro-batch contains every class at least once.

    A micro-batch without a class gets the next image from the shuffled list of that class. This image replaces an image
    whose classes all occur in another image of the micro-batch. So rare classes occur more often than their share, and
    a few images are left out of the epoch. A micro-batch of at least C images can always be balanced. Raises ValueError
    when a micro-batch cannot be balanced.
    """
    order_N = order_N.copy()
    generator = np.random.default_rng(seed_for(seed, "balance", epoch))
    lists = [generator.permutation(np.flatnonzero(in_class_NC[:, c])) for c in range(in_class_NC.shape[1])]
    num_used = [0] * len(lists)
    rarest_first = sorted(range(len(lists)), key=lambda c: len(lists[c]))
    for rows in micro_batches(len(order_N), batch, micro):
        count_C = in_class_NC[order_N[rows]].sum(axis=0)
        for c in rarest_first:
            if count_C[c]:
                continue
            needed = (in_class_NC[order_N[rows]] & (count_C == 1)).any(axis=1)
            if needed.all():
                raise ValueError(
                    f"a micro-batch of {rows.stop - rows.start} images cannot contain all {len(lists)} classes; "
                    f"set schedule.micro_batch to {len(lists)} or more"
                )
            index = rows.start + int(np.argmin(needed))
            image = lists[c][num_used[c] % len(lists[c])]
            num_used[c] += 1
            count_C += in_class_NC[image].astype(count_C.dtype) - in_class_NC[order_N[index]]
            order_N[index] = image
    return order_N
