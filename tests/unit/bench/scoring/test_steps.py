"""Steps lead over every image once, in order, and stop where something else than a negative alone comes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE
from bench.scoring.bootstrap.walk_order import (
    CUT,
    LONE_POSITIVE,
    MOST_OF_BYTE,
    NOTHING,
    TIED,
    at_once,
    steps_of,
    steps_of_groups,
)

KINDS = st.lists(st.sampled_from([LAST_OF_TIE] * 5 + [LAST_OF_TIE | POSITIVE, 0, POSITIVE]), max_size=60)


def walked(kind: np.ndarray, stop: np.ndarray, after: np.ndarray, together: int) -> list[int]:
    """Walk, and return where the cuts are met."""
    i, cuts, in_tie = 0, [], False
    for end, what in zip(stop.tolist(), after.tolist(), strict=True):
        assert 0 <= end - i <= together
        assert not in_tie or end == i
        assert (kind[i:end] == LAST_OF_TIE).all()
        i = end
        if what == CUT:
            cuts.append(i)
        elif what != NOTHING:
            alone = not in_tie and kind[i] & LAST_OF_TIE
            assert what == (LONE_POSITIVE if alone and kind[i] & POSITIVE else TIED)
            assert not (alone and kind[i] == LAST_OF_TIE)
            in_tie = not kind[i] & LAST_OF_TIE
            i += 1
    assert i == len(kind)
    return cuts


@settings(deadline=None)  # the first example compiles
@given(KINDS, st.sampled_from([0, 1, 9, 60, 100, 255]), st.integers(0, 2**32 - 1))
def test_each_image_comes_once_and_each_cut_where_it_is(kinds: list[int], most: int, seed: int) -> None:
    kind = np.array([*kinds, LAST_OF_TIE], np.uint8)
    between_ties = [0, *(np.flatnonzero(kind & LAST_OF_TIE) + 1)]
    cut = np.sort(np.random.default_rng(seed).choice(between_ties, 3)).astype(np.int64)
    assert walked(kind, *steps_of(kind, cut, most), at_once(most)) == cut.tolist()
    assert at_once(most) * max(most, 1) <= MOST_OF_BYTE


@settings(deadline=None)  # the first example compiles
@given(st.lists(KINDS, min_size=1, max_size=5))
def test_steps_of_groups_are_those_of_each_alone(groups: list[list[int]]) -> None:
    kinds = [np.array([*each, LAST_OF_TIE], np.uint8) if each else np.empty(0, np.uint8) for each in groups]
    start = np.append(0, np.cumsum([len(each) for each in kinds])).astype(np.int64)
    first = np.array([int(np.flatnonzero(each & LAST_OF_TIE)[0]) + 1 if len(each) else 0 for each in kinds])
    begin, steps = steps_of_groups(start, np.concatenate(kinds), first, 9)
    for g, kind in enumerate(kinds):
        alone = steps_of(kind, np.array([first[g], len(kind)]), 9)
        for every, own in zip(steps, alone, strict=True):
            np.testing.assert_array_equal(every[begin[g] : begin[g + 1]], own)
