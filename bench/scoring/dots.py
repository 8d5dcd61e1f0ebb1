"""Weighted sums in whole numbers, two images at a time: what a processor does fastest with weights of a byte each.

A number becomes DIGITS digits of 16 bits. Digits of two images, side by side in a word of 32 bits, are multiplied with both
weights and added to a sum in one step: 32 bits hold the sum over PAIRS pairs whatever the weights are, and it is exact. In
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
from numba.core import cgutils
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.lanes import Lanes, fused, got, load, primitive, put, real
from bench.scoring.resamples import LANES

DIGITS = 3
PAIRS = 128  # 2 x PAIRS x 255 x 2^15 < 2^31
UNIT = 2.0**46  # numbers from -1 to 1 are counted in parts of so many
UNIT_OF = tuple(2.0 ** (16 * digit) / UNIT for digit in range(DIGITS))
Words = NDArray[np.int32]
BYTES = 16  # processors interleave bytes within so many
CHUNKS = LANES // BYTES

PAIRED = Lanes("short", 2 * LANES)
BLOCK = BYTES // 4  # lanes that stay beside each other
# where lane BYTES c + BLOCK k + j stands: place LANES / 4 k + BLOCK c + j
PLACE = [LANES // 4 * k + BLOCK * c + j for c in range(CHUNKS) for k in range(4) for j in range(BLOCK)]
WIDTHS = (("avx512bw", "llvm.x86.avx512.pmaddw.d.512", 32), ("avx2", "llvm.x86.avx2.pmadd.wd", 16))
NARROW = ("llvm.x86.sse2.pmadd.wd", 8)  # that every processor of the family has


def _places(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


@primitive
def paired(typing: Any, first: Any, second: Any) -> Any:
    """Return the bytes of two rows, lane by lane, as int16."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        nothing = ir.Constant(first.vector, None)
        wide = []
        for half in (0, BYTES // 2):
            near = [BYTES * c + half + i for c in range(CHUNKS) for i in range(BYTES // 2)]
            both = builder.shuffle_vector(*args, _places([at for i in near for at in (i, LANES + i)]))
            for start in (0, BYTES // 2):
                near = [BYTES * c + start + i for c in range(CHUNKS) for i in range(BYTES // 2)]
                zeros = _places(
                    [at for i in near for at in (i, LANES + i)]
                )  # a byte and a zero are a number of 16 bits
                wide.append(builder.shuffle_vector(both, nothing, zeros))
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
    """Return total + the sum of the products of both weights and of both int16 that an int32 holds."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        two = ir.VectorType(ir.IntType(16), 2)
        digits = builder.bitcast(context.cast(builder, args[1], sig.args[1], types.int32), two)
        pair = builder.shuffle_vector(digits, digits, _places([0, 1] * LANES))
        return builder.add(args[2], _multiplied(context, builder, args[0], pair))

    return total(pairs, word, total), lower


def _multiplied(context: Any, builder: Any, x: Any, y: Any) -> Any:
    """Return the products of int16, each with its neighbour's added: one instruction where there is one."""
    whole = ir.IntType(32)
    if "x86" not in builder.module.triple:
        wide = ir.VectorType(whole, 2 * LANES)
        products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
        even, odd = (_places(list(range(start, 2 * LANES, 2))) for start in (0, 1))
        return builder.add(
            builder.shuffle_vector(products, products, even), builder.shuffle_vector(products, products, odd)
        )
    features = context.codegen().magic_tuple()[2].split(",")
    name, num = next((each[1:] for each in WIDTHS if f"+{each[0]}" in features), NARROW)
    of = ir.VectorType(ir.IntType(16), num)
    call = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VectorType(whole, num // 2), [of, of]), name
    )
    some = [_places(list(range(start, start + num))) for start in range(0, 2 * LANES, num)]
    parts = [[builder.shuffle_vector(of, of, places) for of in (x, y)] for places in some]
    return _joined(builder, [builder.call(call, each) for each in parts])


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
    """Return room for PAIRS pairs, each row on cache lines of its own."""
    raw = np.empty((PAIRS + 1) * 2 * LANES, np.int16)
    start = -raw.ctypes.data % LANES // 2
    return raw[start : start + PAIRS * 2 * LANES].reshape((PAIRS, 2 * LANES))


@compiled
def digits_of(value: float) -> tuple[Any, Any, Any]:
    """Return the digits of a number from -1 to 1, lowest first, to the nearest part of UNIT: each fits 16 bits with a sign."""
    whole = np.int64(np.floor(value * UNIT + 0.5))
    rest = (whole + 2**15) >> 16
    most = (rest + 2**15) >> 16
    return whole - (rest << 16), rest - (most << 16), most


@compiled
def words_of(first: float, second: float) -> tuple[Any, Any, Any]:
    """Return the digits of two numbers side by side, as `dotted` reads them."""
    a, b, c = digits_of(first)
    d, e, f = digits_of(second)
    return (d << 16) | (a & 0xFFFF), (e << 16) | (b & 0xFFFF), (f << 16) | (c & 0xFFFF)


@compiled
def add_digits(low: Any, middle: Any, high: Any, out: NDArray[np.float64]) -> None:
    """Add the sums of `dotted` of each digit to what they stand for [LANES]."""
    sums = fused(real(in_order(high)), UNIT_OF[2], got(out))
    sums = fused(real(in_order(middle)), UNIT_OF[1], sums)
    put(fused(real(in_order(low)), UNIT_OF[0], sums), out, 0)
