"""Sums over patients by the processor's matrices of bytes, against whole numbers of Python and the usual compiled sums."""

from fractions import Fraction

import numpy as np
import pytest

from bench.scoring import matrices
from bench.scoring.judging import Apart
from bench.scoring.kernels import NINE, sum_nine
from bench.scoring.resamples import LANES, Resamples

pytestmark = pytest.mark.skipif(
    not matrices.has_matrices(), reason="this processor does not multiply matrices of bytes"
)


def cut(value: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values [K, P, V] cut to whole numbers of 1 / scale [K, V], and the scale, as `Apart` does."""
    scale = 2.0 ** (52 - np.frexp(value.sum(1) * int(weight.max(initial=0)))[1])
    return np.floor(value * scale[:, None] + 0.5) / scale[:, None], scale


def summed(value: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return what `add_up` finds, [T, K, V, LANES]."""
    out = np.full((len(weight), value.shape[0], value.shape[2], LANES), np.nan)
    matrices.add_up(value, scale, weight, len(weight), out)
    return out


@pytest.mark.parametrize("num_patients", [1, 63, 64, 513, 1000])
@pytest.mark.parametrize("num_columns", [1, 2, 9])
def test_sums_are_those_of_the_other_way_to_the_last_bit(num_patients: int, num_columns: int) -> None:
    draw = np.random.default_rng(num_patients)
    value = draw.exponential(size=(num_columns, num_patients, NINE)) * 10.0 ** draw.integers(-6, 3, NINE)
    value[draw.random(value.shape) < 0.2] = 0
    weight = draw.poisson(1, (3, num_patients, LANES)).astype(np.uint8)
    whole, scale = cut(value, weight)
    expected = np.zeros((3, num_columns, NINE, LANES))
    sum_nine(whole, weight, expected)
    np.testing.assert_array_equal(summed(value, scale, weight), expected)  # which cuts by itself
    np.testing.assert_array_equal(summed(whole, scale, weight), expected)


def test_every_patient_counts_and_no_other() -> None:
    """One patient at a time has a weight: what comes out is the value of that patient."""
    draw = np.random.default_rng(0)
    num_patients = 5 * LANES + 3
    weight = np.zeros((6, num_patients, LANES), np.uint8)
    for p in range(num_patients):
        weight[p // LANES, p, p % LANES] = 255
    value, scale = cut(draw.random((1, num_patients, NINE)), weight)
    found = summed(value, scale, weight).transpose(0, 3, 1, 2).reshape(6 * LANES, NINE)
    np.testing.assert_array_equal(found[:num_patients], 255 * value[0])
    assert not found[num_patients:].any()


def test_sums_are_exact() -> None:
    draw = np.random.default_rng(1)
    weight = draw.poisson(1, (1, 700, LANES)).astype(np.uint8)
    value, scale = cut(draw.random((1, 700, NINE)), weight)
    found = summed(value, scale, weight)
    for lane in (0, 17, 63):
        exact = sum(Fraction(x) * int(w) for x, w in zip(value[0, :, 4].tolist(), weight[0, :, lane], strict=True))
        assert found[0, 0, 4, lane] == exact


def test_of_nothing_is_nothing() -> None:
    for value, weight in ((0, 1), (1, 0)):
        given = np.full((2, 5, NINE), float(value)), np.full((1, 5, LANES), weight, np.uint8)
        assert not summed(*cut(*given), given[1]).any()


@pytest.mark.parametrize("num_columns", [1, 9, 11])
def test_headlines_of_later_replicates_are_those_of_the_other_way(
    num_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(num_columns)
    patient = np.array([f"p{i}" for i in draw.integers(0, 300, 400)], object)
    resamples = Resamples.draw(patient, 5 * LANES, "twin")
    value = draw.exponential(size=(num_columns, resamples.num_patients, NINE))
    found = []
    for usable in (True, False):
        monkeypatch.setattr(matrices, "usable", lambda _, usable=usable: usable)
        apart = Apart.over(resamples, num_columns, 5, 2)
        apart.value[:] = value
        for k in range(num_columns):
            apart.cut(k, value[k].sum(0))
        for part in range(3):
            apart.fill(part, 3)
        found.append(apart.sums)
    np.testing.assert_array_equal(*found)
    assert found[1][2:, :, 0].all()
    assert not found[1][2:, :, 1:].any()
