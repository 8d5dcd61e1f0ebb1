"""The order in which a walk over images by falling score takes them: found once per finding, walked once per tile.

Most images are negatives alone at their scores. A walk adds up so many of them at a time, without a question in between,
and then takes what comes next.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE

MOST_OF_BYTE = 255
NOTHING, LONE_POSITIVE, TIED, CUT = 0, 1, 2, 3  # what comes after negatives


class Steps(NamedTuple):
    """Negatives alone at their scores up to `stop` [S], as many as a byte holds the weights of, then what `after` [S] says."""

    stop: NDArray[np.int32]
    after: NDArray[np.uint8]


def steps_of(kind: NDArray[np.uint8], cut: NDArray[np.int64], most: int) -> Steps:
    """Return the steps over images of these kinds [n] of which none weighs more than `most`; cuts [Q] rise and part no tie."""
    ends = [0, *cut.tolist(), len(kind)]
    assert ends == sorted(ends), "cuts rise, and lie among the images"  # compiled code would go on without end
    num = len(kind) + len(cut)
    stop, after = np.empty(num, np.int32), np.empty(num, np.uint8)
    used = _fill(kind, cut, at_once(most), stop, after)
    return Steps(stop[:used].copy(), after[:used].copy())


def steps_of_groups(
    start: NDArray[np.int64], kind: NDArray[np.uint8], first: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], Steps]:
    """Return where the steps of each group begin [G + 1], and the steps, in images from the group's first one.

    Group g are the images start[g] to start[g + 1]; a walk is cut after its `first` [G] images and after all of them.
    """
    num = len(kind) + 2 * len(first)
    stop, after = np.empty(num, np.int32), np.empty(num, np.uint8)
    begin = _fill_groups(start, kind, first, at_once(most), stop, after)
    return begin, Steps(stop[: begin[-1]].copy(), after[: begin[-1]].copy())


def at_once(most: int) -> int:
    """Return how many weights, bytes of at most so many, a byte holds the sum of."""
    assert most <= MOST_OF_BYTE, "a weight is a byte"
    return MOST_OF_BYTE // max(most, 1)


@compiled
def _fill(
    kind: NDArray[np.uint8],
    cut: NDArray[np.int64],
    together: int,
    stop: NDArray[np.int32],
    after: NDArray[np.uint8],
) -> int:
    """Fill steps and return how many there are: no more than images and cuts."""
    num, num_cuts = kind.shape[0], cut.shape[0]
    i, q, used, in_tie = 0, 0, 0, False
    while i < num or q < num_cuts:
        limit = cut[q] if q < num_cuts else num
        if not in_tie:
            end = min(limit, i + together)
            while i < end and kind[i] == LAST_OF_TIE:
                i += 1
        stop[used] = i
        if i == limit and q < num_cuts:
            after[used] = CUT
            q += 1
        elif i == limit or (not in_tie and kind[i] == LAST_OF_TIE):
            after[used] = NOTHING
        else:
            after[used] = LONE_POSITIVE if not in_tie and kind[i] == LAST_OF_TIE | POSITIVE else TIED
            in_tie = kind[i] & LAST_OF_TIE == 0
            i += 1
        used += 1
    return used


@compiled
def _fill_groups(
    start: NDArray[np.int64],
    kind: NDArray[np.uint8],
    first: NDArray[np.int64],
    together: int,
    stop: NDArray[np.int32],
    after: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Fill the steps of each group, one after the other, and return where they begin [G + 1]."""
    begin, cut = np.zeros(first.shape[0] + 1, np.int64), np.empty(2, np.int64)
    for g in range(first.shape[0]):
        cut[0], cut[1] = first[g], start[g + 1] - start[g]
        some = kind[start[g] : start[g + 1]]
        begin[g + 1] = begin[g] + _fill(some, cut, together, stop[begin[g] :], after[begin[g] :])
    return begin
