"""The tie groups of a board: the rule of the leaderboard, on rows that have intervals but no common resamples."""

import numpy as np
import pytest

from bench.extensions.board.ranking import groups_of
from bench.extensions.board.submission import Number


def row(auroc: float, half: float) -> Number:
    return Number("r", auroc, auroc - half, auroc + half, None, None, None, ("0" * 12,))


def test_groups_begin_where_a_difference_from_the_first_row_is_clear() -> None:
    assert groups_of([row(0.9, 0.01), row(0.895, 0.01), row(0.8, 0.01), row(0.79, 0.01)]) == [1, 1, 2, 2]
    assert groups_of([row(0.9, 0.2), row(0.8, 0.2)]) == [1, 1]
    assert groups_of([]) == []
    assert groups_of([row(0.9, 0.01), Number("r", 0.5, None, None, None, None, None, ())]) == [1, 1]


def test_the_correction_counts_all_pairs_of_rows() -> None:
    # a difference of 2.33 standard errors: p = .020 alone, .040 over the two pairs with the first row, .060 over all three
    assert groups_of([row(0.83, 0.0196), row(0.7971, 0.0196)]) == [1, 2]
    assert groups_of([row(0.83, 0.0196), row(0.815, 0.0196), row(0.7971, 0.0196)]) == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("num", [2, 24])
def test_equal_independent_rows_are_separated_in_at_most_one_sample_of_twenty(num: int) -> None:
    generator = np.random.default_rng(5)
    samples = np.sort(0.8 + 0.01 * generator.normal(size=(2000, num)))[:, ::-1]
    separated = [groups_of([row(value, 0.0196) for value in sample])[-1] > 1 for sample in samples.tolist()]
    # chance of the simulation itself: 3 standard errors of a share of .05; corrected over only the pairs with the first row: .25
    assert np.mean(separated) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
