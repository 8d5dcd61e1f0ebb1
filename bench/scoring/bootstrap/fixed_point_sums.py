"""Weighted sums in whole numbers, two images at a time: what a processor does fastest with weights of a byte each.

A number becomes DIGITS digits of 16 bits. Digits of two images, side by side in a word of 32 bits, are multiplied with both
weights and added to a sum in one step: 32 bits hold the sum over CHUNK pairs whatever the weights are, and it is exact. In
a compiled function (types as in `lanes`):

    two = paired(take(weight, p), take(weight, q))    the weights of two patients per lane, in an order of lanes of its own
    total = dotted(two, word, total)                  int32: total + both products, in that order
    x = in_order(total)                               int32: the lanes where they belong
    two = got_pairs(kept, i)                          what put(two, kept[i], 0) has written
"""

# ruff: noqa: ARG001 - numba calls each function with the same arguments

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.resamples import LANES, cache_lines
from bench.scoring.bootstrap.simd import Lanes, fused, got, load, primitive, put, real

DIGITS = 3
CHUNK = 128  # pairs whose sum 32 bits hold: 2 x CHUNK x 255 x 2^15 < 2^31
PARTS = 2.0**46  # of 1: numbers from -1 to 1 are counted in whole ones
DIGIT_OF = tuple(2.0 ** (16 * digit) / PARTS for digit in range(DIGITS))  # what 1 of each digit stands for
# numba keeps kernels.py and laid.py compiled with these: empty `__pycache__` where one is changed
Words = NDArray[np.int32]
BYTES = 16  # processors interleave bytes within so many
PIECES = LANES // BYTES

PAIRED = Lanes("short", 2 * LANES)
BLOCK = BYTES // 4  # lanes that stay beside each other
# where lane BYTES c + BLOCK k + j stands: place LANES / 4 k + BLOCK c + j
PLACE = [LANES // 4 * k + BLOCK * c + j for c in range(PIECES) for k in range(4) for j in range(BLOCK)]


def _places(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


@primitive
def paired(typing: Any, first: Any, second: Any) -> Any:
    """Return the bytes of two rows, lane by lane, as int16 [2 LANES], in the order of lanes that is quickest to make."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        nothing = ir.Constant(first.vector, None)
        wide = []
        for half in (0, BYTES // 2):
            near = [BYTES * c + half + i for c in range(PIECES) for i in range(BYTES // 2)]
            both = builder.shuffle_vector(*args, _places([at for i in near for at in (i, LANES + i)]))
            for start in (0, BYTES // 2):
                near = [BYTES * c + start + i for c in range(PIECES) for i in range(BYTES // 2)]
                # a byte and a zero beside it are a number of 16 bits
                wide.append(builder.shuffle_vector(both, nothing, _places([at for i in near for at in (i, LANES + i)])))
        return builder.bitcast(_joined(builder, wide), PAIRED.vector)

    return PAIRED(first, second), lower


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Return vectors of one size as one."""
    while len(parts) > 1:
        every = _places(list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(*two, every) for two in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@primitive
def dotted(typing: Any, pairs: Any, word: Any, total: Any) -> Any:
    """Return total + the sum of the products of both weights and of both int16 that an int32 holds: one instruction of most processors."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.VectorType(ir.IntType(32), 2 * LANES)
        digits = builder.bitcast(
            context.cast(builder, args[1], sig.args[1], types.int32), ir.VectorType(ir.IntType(16), 2)
        )
        everywhere = builder.shuffle_vector(digits, digits, _places([0, 1] * LANES))
        products = builder.mul(builder.sext(args[0], wide), builder.sext(everywhere, wide))
        even, odd = (
            builder.shuffle_vector(products, products, _places([*range(first, 2 * LANES, 2)])) for first in (0, 1)
        )
        return builder.add(args[2], builder.add(even, odd))

    return total(pairs, word, total), lower


@primitive
def in_order(typing: Any, total: Any) -> Any:
    """Return the sums of `dotted` with each lane where it belongs."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.shuffle_vector(args[0], args[0], _places(PLACE))

    return total(total), lower


@primitive
def got_pairs(typing: Any, kept: Any, row: Any) -> Any:
    """Return a row of int16 [., 2 LANES]."""
    return load(PAIRED, kept, row)


@compiled
def rows_of_pairs() -> NDArray[np.int16]:
    """Return room [CHUNK, 2 LANES] for pairs, each row on cache lines of its own."""
    return cache_lines(4 * CHUNK).view(np.int16).reshape((CHUNK, 2 * LANES))


@compiled
def digits_of(value: float) -> tuple[Any, Any, Any]:
    """Return the digits of a number from -1 to 1, lowest first, to the nearest of its PARTS: each fits 16 bits with a sign."""
    whole = np.int64(np.rint(value * PARTS))
    rest = (whole + 2**15) >> 16
    high = (rest + 2**15) >> 16
    return whole - (rest << 16), rest - (high << 16), high


@compiled
def words_of(first: float, second: float) -> tuple[Any, Any, Any]:
    """Return the digits of two numbers side by side, as `dotted` reads them."""
    a, b, c = digits_of(first)
    d, e, f = digits_of(second)
    return (d << 16) | (a & 0xFFFF), (e << 16) | (b & 0xFFFF), (f << 16) | (c & 0xFFFF)


@compiled
def add_digits(low: Any, middle: Any, high: Any, out: NDArray[np.float64]) -> None:
    """Add to out [LANES] what the sums of `dotted` over each digit stand for."""
    sums = fused(real(in_order(high)), DIGIT_OF[2], got(out))
    sums = fused(real(in_order(middle)), DIGIT_OF[1], sums)
    put(fused(real(in_order(low)), DIGIT_OF[0], sums), out, 0)
