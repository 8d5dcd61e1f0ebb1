"""Sums over all patients on a processor that multiplies matrices of bytes (AMX of Intel's Xeons since 2023): half the time.

Values are cut to whole numbers, and these into bytes. Products of bytes with the weights, which are bytes too, add up to whole
numbers of 32 bits, exactly: all that is rounded is each value, to 2^-62 of what all of them may add up to.
A register of the processor holds SIDE rows of DEEP bytes: of digits, one row for each and a byte for each of DEEP patients;
of weights, four patients of each of SIDE lanes in a row; of sums, SIDE digits in SIDE lanes.
Shapes: P patients, K columns, V values of a patient, T tiles, R pairs of values, whose digits fill a register.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

# ruff: noqa: ARG001 - numba calls each function with the same arguments

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.resamples import LANES, cache_lines
from bench.scoring.bootstrap.simd import Lanes, primitive, put, take

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]

SIDE, DEEP = 16, 64
DIGITS = SIDE // 2  # of a whole number of 64 bits
AT_ONCE = 8  # registers of DEEP patients: their digits and weights stay near the processor until they are multiplied
MOST_OF_SCALE = 1000  # powers of 2: numbers that need more are 0 for any purpose
MOST_PATIENTS = 2**23  # 32 bits hold 255 times as many
SIZE, ROW = SIDE * DEEP, 4 * LANES  # bytes of a register, and from one row of weights or sums to the next
PERMIT, TILE_DATA, ARCH_PRCTL = 0x1023, 18, 158  # of Linux: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA, the call's number
BYTE = ir.IntType(8)


@cache
def has_matrices() -> bool:
    """Whether this processor multiplies matrices of bytes, and the system lets this process do so."""
    settings: Any = config
    features = {each[1:]: each[:1] for each in str(settings.CPU_FEATURES or "").split(",")}  # what is said last counts
    if not sys.platform.startswith("linux") or not features.get("amx-int8") == features.get("amx-tile") == "+":
        return False
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, PERMIT, TILE_DATA) == 0)


def _instruction(context: Any, builder: Any, name: str, *given: Any) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in given])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), given)
    return context.get_dummy_value()


def _at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Return the address of byte args[1] of the array that is the first argument."""
    start = builder.bitcast(context.make_array(sig.args[0])(context, builder, args[0]).data, BYTE.as_pointer())
    return builder.gep(start, [context.cast(builder, args[1], sig.args[1], types.int64)])


def _moves(name: str, register: int) -> Any:
    """Return what moves a register's rows: (array, first byte, bytes from one row to the next)."""

    def move(typing: Any, array: Any, first: Any, step: Any) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            rows = _at(context, builder, sig, args), context.cast(builder, args[2], sig.args[2], types.int64)
            return _instruction(context, builder, name, ir.Constant(BYTE, register), *rows)

        return types.void(array, first, step), lower

    return primitive(move)


def _acts(name: str, *register: int) -> Any:
    """Return what works on registers alone: ()."""

    def act(typing: Any) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _instruction(context, builder, name, *(ir.Constant(BYTE, each) for each in register))

        return types.void(), lower

    return primitive(act)


@primitive
def _set_up(typing: Any, form: Any, first: Any) -> Any:
    """Give registers the form that 64 bytes say."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _instruction(context, builder, "ldtilecfg", _at(context, builder, sig, args))

    return types.void(form, first), lower


# registers 0 to 3 hold the sums of as many parts of the lanes, 4 digits, 5 to 7 weights in turn
_let_go = _acts("tilerelease")
_add_0, _add_1, _add_2, _add_3 = (_acts("tdpbuud", part, 4, 5 + part % 3) for part in range(4))
_sums_0, _sums_1, _sums_2, _sums_3 = (_moves("tileloadd64", part) for part in range(4))
_keep_0, _keep_1, _keep_2, _keep_3 = (_moves("tilestored64", part) for part in range(4))
_digits, _weights_5, _weights_6, _weights_7 = (_moves("tileloadd64", register) for register in (4, 5, 6, 7))


@primitive
def _four(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return four rows of bytes, the four of each lane side by side."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def chosen(x: Any, y: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))

        every = [*range(2 * LANES)]
        first, second = chosen(args[0], args[1], every), chosen(args[2], args[3], every)
        return chosen(first, second, [row * LANES + lane for lane in range(LANES) for row in range(4)])

    return Lanes("byte", ROW)(a, b, c, d), lower


@compiled
def _spell(value: Array, scale: Array, first: int, digit: Bytes) -> None:
    """Write the digits of values [K, P, V] times their scale [K, V], lowest first: digit [R, AT_ONCE, SIDE, DEEP], of patients from `first` on."""
    whole = np.empty(DEEP, np.int64)
    for block in range(AT_ONCE):
        start = first + block * DEEP
        here = max(min(DEEP, value.shape[1] - start), 0)
        whole[here:] = 0
        for k in range(value.shape[0]):
            for v in range(value.shape[2]):
                for j in range(here):
                    whole[j] = np.int64(value[k, start + j, v] * scale[k, v] + 0.5)
                at = k * value.shape[2] + v
                for d in range(DIGITS):
                    row = digit[at // 2, block, at % 2 * DIGITS + d]
                    for j in range(DEEP):
                        row[j] = np.uint8(whole[j] >> 8 * d)


@compiled
def _bring_near(weight: Bytes, first: int, near: Bytes) -> None:
    """Write the weights [P, LANES] of patients from `first` on as registers take them, [AT_ONCE x SIDE, ROW]; beyond the last anything."""
    last = weight.shape[0] - 1
    for i in range(near.shape[0]):
        p = first + 4 * i
        a, b = take(weight, min(p, last)), take(weight, min(p + 1, last))
        c, d = take(weight, min(p + 2, last)), take(weight, min(p + 3, last))
        put(_four(a, b, c, d), near[i], 0)


@compiled
def _multiply(digit: Bytes, pairs: NDArray[np.int64], near: Bytes, sums: NDArray[np.int32]) -> None:
    """Add digits [R, AT_ONCE, SIDE, DEEP] x weights [AT_ONCE x SIDE, ROW] of some pairs of values to sums [len(pairs) x SIDE, LANES]."""
    for i in range(pairs.shape[0]):
        at = i * SIDE * ROW
        _sums_0(sums, at, ROW)
        _sums_1(sums, at + DEEP, ROW)
        _sums_2(sums, at + 2 * DEEP, ROW)
        _sums_3(sums, at + 3 * DEEP, ROW)
        for block in range(AT_ONCE):
            _digits(digit, (pairs[i] * AT_ONCE + block) * SIZE, DEEP)
            _weights_5(near, block * SIDE * ROW, ROW)
            _add_0()
            _weights_6(near, block * SIDE * ROW + DEEP, ROW)
            _add_1()
            _weights_7(near, block * SIDE * ROW + 2 * DEEP, ROW)
            _add_2()
            _weights_5(near, block * SIDE * ROW + 3 * DEEP, ROW)
            _add_3()
        _keep_0(sums, at, ROW)
        _keep_1(sums, at + DEEP, ROW)
        _keep_2(sums, at + 2 * DEEP, ROW)
        _keep_3(sums, at + 3 * DEEP, ROW)


@compiled
def _add_up(
    value: Array,
    scale: Array,
    weight: Bytes,
    num_detailed: int,
    every: NDArray[np.int64],
    some: NDArray[np.int64],
    sums: NDArray[np.int32],
) -> None:
    """Add the digits of values [K, P, V] times their scale [K, V] x weight [T, P, LANES] to sums [T, ., LANES].

    Of `every` pair of values in the first `num_detailed` tiles, of `some` in the others: SIDE rows for each.
    """
    near = cache_lines(4 * AT_ONCE * SIDE).reshape((AT_ONCE * SIDE, ROW))
    digit = cache_lines(every.shape[0] * AT_ONCE * SIDE).reshape((every.shape[0], AT_ONCE, SIDE, DEEP))
    digit[every.shape[0] - 1] = 0  # half of it has no value where their number is odd
    form = np.zeros(64, np.uint8)
    form[0] = 1
    for register in range(8):
        form[16 + 2 * register], form[48 + register] = DEEP, SIDE
    _set_up(form, 0)
    for first in range(0, weight.shape[1], AT_ONCE * DEEP):
        _spell(value, scale, first, digit)
        for tile in range(weight.shape[0]):
            _bring_near(weight[tile], first, near)
            _multiply(digit, every if tile < num_detailed else some, near, sums[tile])
    _let_go()


@compiled
def _joined(sums: NDArray[np.int32], row: int, scale: float, out: Array) -> None:
    """Fill what the sums of digits [., LANES] from `row` on stand for: out [LANES]."""
    for lane in range(LANES):
        total = np.int64(0)
        for d in range(DIGITS - 1, -1, -1):
            total = (total << 8) + sums[row + d, lane]
        out[lane] = total / scale


@compiled
def _join(sums: NDArray[np.int32], scale: Array, num_detailed: int, out: Array) -> None:
    """Fill what the sums of digits [T, ., LANES] of values times their scale [K, V] stand for: out [T, K, V, LANES]."""
    num_columns, num_values = scale.shape
    for tile in range(out.shape[0]):
        for k in range(num_columns):
            if tile < num_detailed:
                for v in range(num_values):
                    _joined(sums[tile], (k * num_values + v) * DIGITS, scale[k, v], out[tile, k, v])
            else:
                _joined(sums[tile], k * SIDE + k * num_values % 2 * DIGITS, scale[k, 0], out[tile, k, 0])


def usable(value: Array) -> bool:
    """Whether `add_up` can add up values [K, P, V] here."""
    return value.shape[1] < MOST_PATIENTS and has_matrices()


def add_up(value: Array, total: Array, weight: Bytes, most: int, num_detailed: int, out: Array) -> None:
    """Fill weight [T, P, LANES] x value [K, P, V] over all patients: out [T, K, V, LANES]; only where `usable`.

    Of all values in the first `num_detailed` tiles, in the others of the first value alone. No value is below 0; total [K, V]
    are their sums. No weight is above `most`, and those of a lane add up to P or less.
    """
    num_columns, _, num_values = value.shape
    scale = 2.0 ** np.minimum(62 - np.frexp(total * most)[1], MOST_OF_SCALE)
    every, of_first = np.arange(-(-num_columns * num_values // 2)), np.arange(num_columns) * num_values // 2
    sums = np.zeros((len(weight), max(len(every), num_columns) * SIDE, LANES), np.int32)
    _add_up(value, scale, weight, num_detailed, every, of_first, sums)
    _join(sums, scale, num_detailed, out)
