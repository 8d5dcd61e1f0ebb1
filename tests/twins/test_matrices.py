"""Sums over patients by the processor's matrices of bytes, against whole numbers of Python and the usual compiled sums."""

from fractions import Fraction

import numpy as np
import pytest

from bench.scoring.bootstrap import amx_sums as matrices
from bench.scoring.bootstrap.calibration_errors import Apart
from bench.scoring.bootstrap.kernels import NINE, sum_nine
from bench.scoring.bootstrap.resamples import LANES, Resamples

pytestmark = pytest.mark.skipif(
    not matrices.has_matrices(), reason="this processor does not multiply matrices of bytes"
)


def summed(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return what `add_up` finds, [T, K, V, LANES]."""
    out = np.full((len(weight), value.shape[0], value.shape[2], LANES), np.nan)
    matrices.add_up(value, value.sum(1), weight, int(weight.max(initial=0)), len(weight), out)
    return out


@pytest.mark.parametrize("num_patients", [1, 63, 64, 513, 1000])
@pytest.mark.parametrize("num_columns", [1, 2, 9])
def test_sums_are_those_of_the_other_way(num_patients: int, num_columns: int) -> None:
    draw = np.random.default_rng(num_patients)
    value = draw.exponential(size=(num_columns, num_patients, NINE)) * 10.0 ** draw.integers(-6, 3, NINE)
    value[draw.random(value.shape) < 0.2] = 0
    weight = draw.poisson(1, (3, num_patients, LANES)).astype(np.uint8)
    expected = np.zeros((3, num_columns, NINE, LANES))
    sum_nine(value, weight, expected)
    np.testing.assert_allclose(summed(value, weight), expected, rtol=1e-13, atol=0)


def test_every_patient_counts_and_no_other() -> None:
    """One patient at a time has a weight: what comes out is the value of that patient."""
    draw = np.random.default_rng(0)
    num_patients = 5 * LANES + 3
    value = draw.random((1, num_patients, NINE))
    weight = np.zeros((6, num_patients, LANES), np.uint8)
    for p in range(num_patients):
        weight[p // LANES, p, p % LANES] = 255
    found = summed(value, weight).transpose(0, 3, 1, 2).reshape(6 * LANES, NINE)
    step = value[0].sum(0).max() * 255 * 2.0**-61  # of which each value is a whole number
    np.testing.assert_allclose(found[:num_patients], 255 * value[0], rtol=0, atol=255 * step)
    assert not found[num_patients:].any()


@pytest.mark.parametrize("same", [True, False])
def test_sums_are_right_to_the_last_digit(same: bool) -> None:
    """Equal values are rounded alike: what is lost adds up, and is little all the same."""
    draw = np.random.default_rng(1)
    value = np.full((1, 20_000, NINE), 0.3) if same else draw.random((1, 20_000, NINE))
    weight = draw.poisson(1, (1, 20_000, LANES)).astype(np.uint8)
    found = summed(value, weight)
    for lane in (0, 17, 63):
        exact = sum(Fraction(x) * int(w) for x, w in zip(value[0, :, 4].tolist(), weight[0, :, lane], strict=True))
        assert abs(found[0, 0, 4, lane] - float(exact)) <= 100 * np.spacing(float(exact))


@pytest.mark.parametrize("value", [0.0, 1e-310, 1e-300, 1e300])
def test_numbers_may_be_as_small_and_as_large_as_there_are(value: float) -> None:
    found = summed(np.full((2, 5, NINE), value), np.ones((1, 5, LANES), np.uint8))
    np.testing.assert_allclose(found, 5 * value, rtol=1e-13, atol=1e-290)
    assert not summed(np.full((2, 5, NINE), value), np.zeros((1, 5, LANES), np.uint8)).any()


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
        apart.value[:], apart.total[:] = value, value.sum(1)
        for part in range(3):
            apart.fill(part, 3)
        found.append(apart.sums)
    np.testing.assert_allclose(*found, rtol=1e-13)
    assert found[1][2:, :, 0].all()
    assert not found[1][2:, :, 1:].any()
