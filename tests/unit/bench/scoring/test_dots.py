"""Sums in whole numbers are those of the numbers that they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.scoring.bootstrap.calibration_layout import Laid, in_pairs, spell
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.fixed_point_sums import (
    CHUNK,
    DIGIT_OF,
    DIGITS,
    PARTS,
    digits_of,
    dotted,
    got_pairs,
    in_order,
    paired,
    rows_of_pairs,
)
from bench.scoring.bootstrap.kernels import NINE, sum_runs, sum_runs_of_one
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.simd import put, real, take, whole
from bench.scoring.calibration_metrics import Judged

NUMBERS = st.floats(-1, 1) | st.sampled_from([-1.0, 1.0, 0.0, 0.5 / PARTS, -0.5 / PARTS, 2.0**-15, 1 - 2.0**-16])


@compiled
def both(weight: NDArray[np.uint8], word: int, out: NDArray[np.float64]) -> None:
    """Fill [2, LANES] with the sum of both products, at once and from kept weights."""
    near = rows_of_pairs()
    two = paired(take(weight, 0), take(weight, 1))
    put(two, near[CHUNK - 1], 0)
    put(real(in_order(dotted(two, word, whole(1)))), out[0], 0)
    put(real(in_order(dotted(got_pairs(near, CHUNK - 1), word, whole(1)))), out[1], 0)


@settings(deadline=None)  # the first example compiles
@given(st.integers(-(2**15), 2**15 - 1), st.integers(-(2**15), 2**15 - 1), st.integers(0, 2**32 - 1))
def test_both_products_are_added_in_every_lane(first: int, second: int, seed: int) -> None:
    weight, out = np.random.default_rng(seed).integers(0, 256, (2, LANES)).astype(np.uint8), np.empty((2, LANES))
    both(weight, second << 16 | first & 0xFFFF, out)
    np.testing.assert_array_equal(
        out, np.tile(weight[0].astype(int) * first + weight[1].astype(int) * second + 1, (2, 1))
    )


@settings(deadline=None)  # the first example compiles
@given(NUMBERS)
def test_digits_fit_and_stand_for_the_nearest_part(value: float) -> None:
    digits = digits_of(value)
    assert all(-(2**15) <= digit < 2**15 for digit in digits)
    assert len(digits) == DIGITS
    found = sum(int(digit) << 16 * place for place, digit in enumerate(digits))
    assert abs(found - value * PARTS) <= 0.5
    assert sum(digit * unit for digit, unit in zip(digits, DIGIT_OF, strict=True)) == found / PARTS


@pytest.mark.parametrize("lengths", [[1], [2, 1, 3], [2 * CHUNK, 2 * CHUNK + 1, 5], []])
@pytest.mark.parametrize("heavy", [True, False])
def test_runs_are_summed_whatever_the_weights_and_lengths(lengths: list[int], heavy: bool) -> None:
    draw, num, bins = np.random.default_rng(0), sum(lengths), 2
    weight = np.full((7, LANES), 255, np.uint8) if heavy else draw.integers(0, 9, (7, LANES)).astype(np.uint8)
    patient = draw.integers(0, 7, num).astype(np.int32)
    value = np.full(num, -(2**15) / PARTS) if heavy else draw.uniform(-1, 1, num)  # the least a digit can be
    place = np.arange(len(lengths)) % bins
    first = np.append(0, np.cumsum(lengths)).astype(np.int64)
    start, pair, images = in_pairs(first, patient)
    word = np.empty((DIGITS, len(pair)), np.int32)
    spell(first, start, value, word)
    out = np.zeros((bins, LANES))
    sum_runs_of_one(start, place, pair, word, weight, out)
    expected = np.zeros((bins, LANES))
    np.add.at(expected, np.repeat(place, lengths), weight[patient] * value[:, None])
    np.testing.assert_allclose(out, expected, rtol=1e-12 if heavy else 0, atol=0 if heavy else 1e-11)
    assert sum(int(each) & 0xFFFF for each in images) + sum(int(each) >> 16 for each in images) == num


@pytest.mark.parametrize("num_probs", [1, 3])
def test_runs_of_the_sample_hold_their_images_and_excess(num_probs: int) -> None:
    draw, num = np.random.default_rng(2), 301
    patient, positive = draw.integers(0, 90, num).astype(np.int32), draw.random(num) < 0.3
    judged = [Judged.of(np.sort(draw.random(num)), 5) for _ in range(num_probs)]
    laid, run, total = Laid.of(patient, positive, judged, 5, np.empty((90, NINE)))
    images = [(int(each) & 0xFFFF) + (int(each) >> 16) for each in laid.images]
    lengths = np.add.reduceat(images, laid.start[:-1])
    np.testing.assert_array_equal(run[:, num_probs], lengths)
    which = np.repeat(np.arange(len(lengths)), lengths)
    for c, each in enumerate(judged):
        np.testing.assert_allclose(run[:, c], np.bincount(which, positive - each.prob), rtol=0, atol=1e-12)
    assert total[NINE - 1] == positive.sum()


def test_bins_of_several_values_get_their_runs_and_images() -> None:
    draw, lengths = np.random.default_rng(1), [2 * CHUNK + 1, 4 * CHUNK, 5, 1]
    num, num_values, bins = sum(lengths), 3, 4
    weight, patient = draw.integers(0, 9, (50, LANES)).astype(np.uint8), draw.integers(0, 50, num).astype(np.int32)
    value, place = draw.uniform(-1, 1, (num, num_values)), draw.integers(0, bins, (len(lengths), num_values, 2))
    first = np.append(0, np.cumsum(lengths)).astype(np.int64)
    start, pair, images = in_pairs(first, patient)
    word = np.empty((num_values, DIGITS, len(pair)), np.int32)
    for v in range(num_values):
        spell(first, start, value[:, v].copy(), word[v])
    found = np.zeros((num_values, 2, bins, 2, LANES))
    sum_runs(start, place, pair, images, word, weight, found)
    expected = np.zeros_like(found)
    for c in range(num_values):
        for kind in range(2):
            where = np.repeat(place[:, c, kind], lengths)
            np.add.at(expected[c, kind, :, 0], where, weight[patient])
            np.add.at(expected[c, kind, :, 1], where, weight[patient] * value[:, c, None])
    np.testing.assert_array_equal(found[:, :, :, 0], expected[:, :, :, 0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
