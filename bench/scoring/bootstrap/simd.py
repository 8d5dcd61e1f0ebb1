"""Replicates side by side as one value of a compiled loop, so that running sums stay in the processor's registers.

Numba keeps an array in memory: a loop over its lanes loads and stores every running sum for each image. A value of these
types is one vector of LLVM, which spreads it over the registers that the processor has, whatever their width. In a
compiled function:

    some = take(weight, p)           a byte per lane: how often patient p comes in each replicate
    many = whole(some)               int32; also one number for all lanes
    x = real(many)                   float64; also of bytes, or one number for all lanes
    y = single(many)                 float32; also one number for all lanes
    total = fused(x, y, total)       total + x y, rounded once; y may be one number for all lanes
    rest = left(total, x, y)         total - x y, rounded once
    y = divided(x, y)                of float32; inverse(x) of int32 and float64, nearly
    fetch(weight, p)                 brings what will soon be taken nearer
    put(total, out, 0)               into an array [LANES], from lane 0 on; got(out) reads float64 from there

For loops with more running sums than the registers hold, `take_half` and `got_half` read HALF lanes from a lane on,
`got_quarter` a QUARTER of them.
Operators +, - and * join two of one type. A sum of bytes is the caller's to keep below 256, one of int32 below 2^31. Every
lane does the same sums in the same order on every processor: a product is rounded with its sum where `fused` says so, never
where it suits the machine. Values cannot leave a compiled function.
"""

# ruff: noqa: ARG001 - numba calls each function with the same arguments

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from bench.scoring.bootstrap.resamples import LANES

HALF, QUARTER = LANES // 2, LANES // 4
FLOATS = {"single": ir.FloatType(), "real": ir.DoubleType()}
ELEMENTS = {"byte": ir.IntType(8), "short": ir.IntType(16), "whole": ir.IntType(32), **FLOATS}


class Lanes(types.Type):
    """A type of compiled functions: so many numbers of one kind (of ELEMENTS)."""

    def __init__(self, kind: str, num: int) -> None:
        self.kind, self.num = kind, num
        super().__init__(name=f"Lanes({kind}, {num})")

    @property
    def vector(self) -> Any:
        """Return what LLVM calls it."""
        return ir.VectorType(ELEMENTS[self.kind], self.num)

    def like(self, kind: str) -> "Lanes":
        """Return the type of as many numbers of another kind."""
        return Lanes(kind, self.num)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, of: Lanes) -> None:
        super().__init__(manager, of, of.vector)


def _join(function: Callable[[Any, Any], Any], name: str) -> None:
    """Let an operator join two values of one type."""

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:  # noqa: ARG002
            return signature(args[0], *args) if isinstance(args[0], Lanes) and args[0] == args[-1] else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, f"f{name}" if sig.return_type.kind in FLOATS else name)(*args)

    lower_builtin(function, Lanes, Lanes)(lower)


for _function, _name in ((operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul")):
    _join(_function, _name)


def primitive(function: Callable[..., Any]) -> Any:
    """Let compiled functions call what `function` writes for them in LLVM's words."""
    return intrinsic(function)


def _pointer(context: Any, builder: Any, sig: Any, args: Any, array: int, of: Lanes) -> Any:
    """Return where lanes stand in the array that is an argument, at the place that those after it say."""
    kind = sig.args[array]
    at = [context.cast(builder, args[i], sig.args[i], types.intp) for i in range(array + 1, len(args))]
    at += [context.get_constant(types.intp, 0)] * (kind.ndim - len(at))
    found = context.make_array(kind)(context, builder, args[array])
    place = cgutils.get_item_pointer(context, builder, kind, found, at, wraparound=False)
    return builder.bitcast(place, of.vector.as_pointer())


def load(of: Lanes, *given: Any) -> Any:
    """Return how lanes are read from an array, at the place given after it."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig, args, 0, of), align=1)

    return of(*given), lower


@primitive
def take(typing: Any, weight: Any, row: Any) -> Any:
    """Return a row of uint8 [., LANES]."""
    return load(Lanes("byte", LANES), weight, row)


@primitive
def take_half(typing: Any, weight: Any, row: Any, first: Any) -> Any:
    """Return HALF of a row of uint8 [., LANES], from lane `first` on."""
    return load(Lanes("byte", HALF), weight, row, first)


@primitive
def got(typing: Any, array: Any) -> Any:
    """Return float64 [LANES]."""
    return load(Lanes("real", LANES), array)


@primitive
def got_half(typing: Any, array: Any, first: Any) -> Any:
    """Return HALF of float64 [LANES], from lane `first` on."""
    return load(Lanes("real", HALF), array, first)


@primitive
def got_quarter(typing: Any, array: Any, first: Any) -> Any:
    """Return a QUARTER of float64 [LANES], from lane `first` on."""
    return load(Lanes("real", QUARTER), array, first)


@primitive
def put(typing: Any, value: Any, array: Any, first: Any) -> Any:
    """Write lanes into an array of their kind, from lane `first` on."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[0], _pointer(context, builder, sig, args, 1, value), align=1)
        return context.get_dummy_value()

    return types.void(value, array, first), lower


@primitive
def fetch(typing: Any, weight: Any, row: Any) -> Any:
    """Bring a row of uint8 [., LANES] near to the processor, to be taken soon."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(_pointer(context, builder, sig, args, 0, Lanes("byte", LANES)), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(call, [place, *(ir.Constant(number, each) for each in (0, 3, 1))])  # to read, keep, data
        return context.get_dummy_value()

    return types.void(weight, row), lower


def _everywhere(context: Any, builder: Any, number: Any, kind: Any, of: Lanes) -> Any:
    """Return a number in every lane."""
    numbers = {"whole": types.int32, "single": types.float32, "real": types.float64}
    cast_ = context.cast(builder, number, kind, numbers[of.kind])
    none, first = ir.Constant(of.vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), of.num), None)
    return builder.shuffle_vector(builder.insert_element(none, cast_, first), none, everywhere)


def _made(kind: str, given: Any, convert: Callable[[Any, Any, Any], Any]) -> Any:
    """Return how lanes of a kind are made: of other lanes by `convert`(builder, lanes, vector), or of one number in LANES."""
    of = given.like(kind) if isinstance(given, Lanes) else Lanes(kind, LANES)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(given, Lanes):
            return convert(builder, args[0], of.vector)
        return _everywhere(context, builder, args[0], sig.args[0], of)

    return of(given), lower


@primitive
def whole(typing: Any, given: Any) -> Any:
    """Return int32: of bytes, of float32 cut off at the point, or one number in LANES."""

    def convert(builder: Any, lanes: Any, vector: Any) -> Any:
        return (builder.fptosi if given.kind == "single" else builder.zext)(lanes, vector)

    return _made("whole", given, convert)


@primitive
def real(typing: Any, given: Any) -> Any:
    """Return float64: of bytes, int32 or float32, or one number in LANES."""

    def convert(builder: Any, lanes: Any, vector: Any) -> Any:
        if given.kind == "single":
            return builder.fpext(lanes, vector)
        wide = builder.zext(lanes, given.like("whole").vector) if given.kind == "byte" else lanes
        return builder.sitofp(wide, vector)

    return _made("real", given, convert)


@primitive
def single(typing: Any, given: Any) -> Any:
    """Return float32: of int32 that are below 2^24 or were float32 before, or one number in LANES."""
    return _made("single", given, lambda builder, lanes, vector: builder.sitofp(lanes, vector))


def _fma(builder: Any, x: Any, y: Any, total: Any) -> Any:
    vector = total.type
    kind = ir.FunctionType(vector, [vector] * 3)
    name = f"llvm.fma.v{vector.count}f{64 if vector.element == FLOATS['real'] else 32}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y, total])


@primitive
def fused(typing: Any, x: Any, y: Any, total: Any) -> Any:
    """Return total + x y, rounded once; y may be one float64 for all lanes."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        by = args[1] if isinstance(y, Lanes) else _everywhere(context, builder, args[1], sig.args[1], total)
        return _fma(builder, args[0], by, args[2])

    return total(x, y, total), lower


@primitive
def left(typing: Any, total: Any, x: Any, y: Any) -> Any:
    """Return total - x y, rounded once."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fma(builder, builder.fneg(args[1]), args[2], args[0])

    return total(total, x, y), lower


@primitive
def at_least(typing: Any, x: Any, least: Any) -> Any:
    """Return the greater of each lane and a number; the number where a lane is NaN."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bound = _everywhere(context, builder, args[1], sig.args[1], x)
        greater = builder.icmp_signed if x.kind == "whole" else builder.fcmp_ordered
        return builder.select(greater(">", args[0], bound), args[0], bound)

    return x(x, least), lower


@primitive
def divided(typing: Any, x: Any, y: Any) -> Any:
    """Return x / y of float32."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return x(x, y), lower


@primitive
def inverse(typing: Any, x: Any) -> Any:
    """Return 1 / x as float64 to a relative 2e-14, for int32 from 1 on and float64 between 1e-30 and 1e30.

    A division of float32 and a step of Newton's, y (2 - x y), take half the time of a division of float64.
    """
    of, single = x.like("real"), x.like("single").vector

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if x.kind == "whole":
            exact, rough = builder.sitofp(args[0], of.vector), builder.sitofp(args[0], single)
        else:
            exact, rough = args[0], builder.fptrunc(args[0], single)
        y = builder.fpext(builder.fdiv(ir.Constant(single, [1.0] * x.num), rough), of.vector)
        left = _fma(builder, builder.fneg(exact), y, ir.Constant(of.vector, [1.0] * x.num))
        return _fma(builder, y, left, y)

    return of(x), lower
