"""Replicates side by side in registers do what numpy does with arrays."""

import os
import platform
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import llvmlite.binding
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.simd import (
    HALF,
    QUARTER,
    at_least,
    divided,
    fetch,
    fused,
    got_half,
    got_quarter,
    inverse,
    left,
    put,
    real,
    single,
    take,
    take_half,
    whole,
)


@compiled
def joined(weight: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
    """Fill [4, LANES]: byte sum, int32 difference and product, float64 product of rows 0 and 1."""
    first, second = take(weight, 0), take(weight, 1)
    put(real(first + second), out[0], 0)
    put(real(whole(first) - whole(second)), out[1], 0)
    put(real(whole(first) * whole(second) + whole(7)), out[2], 0)
    put(real(first) * real(second) - real(0.5), out[3], 0)


@compiled
def by_pieces(weight: NDArray[np.uint8], given: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Add row 1 to what is given, half by half, the second first, then twice that, quarter by quarter."""
    for first in (HALF, 0):
        put(got_half(given, first) + real(take_half(weight, 1, first)), out, first)
    for first in range(LANES - QUARTER, -1, -QUARTER):
        put(fused(got_quarter(out, first), 2.0, got_quarter(out, first)), out, first)


@compiled
def inverses(weight: NDArray[np.uint8], scale: float, out: NDArray[np.float64]) -> None:
    """Fill [2, LANES]: of int32, then of float64 that are `scale` times as many."""
    put(inverse(at_least(whole(take(weight, 0)), 1)), out[0], 0)
    put(inverse(at_least(real(take(weight, 0)) * real(scale), 1e-30)), out[1], 0)


@compiled
def products(x: NDArray[np.float64], y: NDArray[np.float64], total: NDArray[np.float64], by: float) -> None:
    """Add x y, then x times a number."""
    for first in (0, HALF):
        sums = fused(got_half(x, first), got_half(y, first), got_half(total, first))
        put(fused(got_half(x, first), by, sums), total, first)


@compiled
def greater(given: NDArray[np.float64], least: float, out: NDArray[np.float64]) -> None:
    for first in (0, HALF):
        put(at_least(got_half(given, first), least), out, first)


@compiled
def quotients(weight: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
    """Fill [4, LANES] of float32: x / y, what its rounding cuts off, whole parts of 1,000 x / y, and x / y + 0.1 in one rounding."""
    x, y = single(whole(take(weight, 0))), single(at_least(whole(take(weight, 1)), 1))
    fetch(weight, 1)
    quotient = divided(x, y)
    put(real(quotient), out[0], 0)
    put(real(left(x, quotient, y)), out[1], 0)
    put(real(whole(quotient * single(1000))), out[2], 0)
    put(real(fused(x, divided(single(1.0), y), single(0.1))), out[3], 0)


@pytest.fixture
def weight() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 120, (2, LANES)).astype(np.uint8)


def test_operators_are_those_of_numpy(weight: NDArray[np.uint8]) -> None:
    out = np.empty((4, LANES))
    joined(weight, out)
    x, y = weight.astype(np.float64)
    np.testing.assert_array_equal(out, [x + y, x - y, x * y + 7, x * y - 0.5])


def test_halves_and_quarters_are_read_and_written_where_they_belong(weight: NDArray[np.uint8]) -> None:
    given, out = np.random.default_rng(1).normal(size=LANES), np.empty(LANES)
    by_pieces(weight, given, out)
    np.testing.assert_allclose(out, 3.0 * (given + weight[1]), rtol=1e-15)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 3.7e-9, 1e27])
def test_an_inverse_is_one_divided_by_it_to_2e_14(weight: NDArray[np.uint8], scale: float) -> None:
    out = np.empty((2, LANES))
    inverses(weight, scale, out)
    many = weight[0].astype(np.float64)
    expected = [1 / np.maximum(many, 1), 1 / np.maximum(many * scale, 1e-30)]
    np.testing.assert_allclose(out, expected, rtol=2e-14, atol=0)


def test_float32_is_rounded_as_numpy_does_and_what_that_cuts_off_is_exact(weight: NDArray[np.uint8]) -> None:
    out = np.empty((4, LANES))
    quotients(weight, out)
    x, y = weight[0].astype(np.float32), np.maximum(weight[1], 1).astype(np.float32)
    quotient = x / y
    np.testing.assert_array_equal(out[0], quotient)
    cut = [Fraction(float(a)) - Fraction(float(q)) * Fraction(float(b)) for a, q, b in zip(x, quotient, y, strict=True)]
    np.testing.assert_array_equal(out[1], [float(each) for each in cut])
    assert out[1].any()
    np.testing.assert_array_equal(out[2], np.trunc(quotient * np.float32(1000)))
    inverse_ = np.float32(1) / y
    once = [
        np.float32(float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(np.float32(0.1)))))
        for a, b in zip(x, inverse_, strict=True)
    ]
    np.testing.assert_array_equal(out[3], once)


def test_a_product_is_rounded_once_with_its_sum() -> None:
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(2, LANES))
    before = -x * y * (1 + 1e-15)  # so that most of it is cancelled and a product rounded before would show
    total = before.copy()
    products(x, y, total, 0.1)
    once = [float(Fraction(a) * Fraction(b) + Fraction(c)) for a, b, c in zip(x, y, before, strict=True)]
    expected = [float(Fraction(a) * Fraction(0.1) + Fraction(c)) for a, c in zip(x, once, strict=True)]
    np.testing.assert_array_equal(total, expected)
    assert (once != x * y + before).any()


def test_the_least_stands_for_what_is_below_it_and_for_nan() -> None:
    given, out = np.linspace(-2, 2, LANES), np.empty(LANES)
    given[5] = np.nan
    greater(given, 0.25, out)
    np.testing.assert_array_equal(out, np.where(given > 0.25, given, 0.25))


SCRIPT = """
import hashlib
import llvmlite.binding
import numpy as np
from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap import calibration_errors as judging
from bench.scoring.bootstrap import sorted_images as ranking
from bench.scoring.bootstrap import resamples
from bench.scoring.bootstrap import weighted_metrics as weighted

draw = np.random.default_rng(0)
patient = np.array([f"p{i}" for i in draw.integers(0, 90, 300)], object)
label = (draw.random((300, 1)) < 0.3).astype(np.int8)
score = (np.round(draw.normal(size=(300, 1)) * 20) / 20 + label).astype(np.float32)
drawn = resamples.Resamples.draw(patient, 100, "here")
column = ranking.Column.of(drawn.patient, label[:, 0], score[:, 0])
prob = 1 / (1 + np.exp(-column.score.astype(np.float64)))
group, place = (np.arange(300) % 7).astype(np.int32), np.minimum((prob * 15).astype(np.int64), 14)
factors = weighted.Factors.tiled(draw.random((2, 100)), draw.random((7, 100)))
found = [*bootstrap.rank_metrics(drawn, label, score)]
found += judging.calibration_metrics(drawn, label, prob[:, None]).values()
sums = draw.normal(size=(len(drawn.weight), 15, 64))
ranked = weighted.Ranked(column, group, place, column.positive - prob)
walk = weighted.WeightedWalk.over(drawn, ranked, sums, factors)
for tile in range(len(drawn.weight)):
    walk.fill(tile, drawn.tile(tile))
found += walk.walked()
print(hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in found)).hexdigest())
"""


@pytest.mark.slow
def test_a_processor_without_wide_registers_finds_the_same_bytes(tmp_path: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("names features of x86-64 processors")
    features = llvmlite.binding.get_host_cpu_features()
    here = (
        f"{features.flatten()},-prefer-256-bit,-amx-int8"  # matrices of bytes round less: tests/twins/test_matrices.py
    )
    names = {
        llvmlite.binding.get_host_cpu_name(): here,
        "nehalem": "",
        **({"haswell": ""} if features.get("avx2") else {}),
    }
    found = []
    for at, (name, of) in enumerate(names.items()):
        settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": of}
        own = {**os.environ, **settings, "NUMBA_CACHE_DIR": str(tmp_path / str(at))}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=own, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert len(set(found)) == 1
