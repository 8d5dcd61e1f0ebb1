"""Compile a function with numba, kept on disk where that is possible."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])


def widen() -> None:
    """Let compiled loops use registers of 512 bits where the processor has them: LLVM's default is half of that.

    The kernels here take 5 to 19 % less time. Every lane does the same sums in the same order: not a bit changes. What
    the user has set (NUMBA_CPU_FEATURES) is left alone.
    """
    settings: Any = config
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512vl") and settings.CPU_FEATURES is None:
        settings.CPU_NAME = settings.CPU_NAME or llvmlite.binding.get_host_cpu_name()
        settings.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


widen()  # before anything is compiled, or read from what is kept on disk


def compiled(function: Function) -> Function:
    """Return the compiled function; it lets go of the interpreter lock, so threads run it side by side.

    The machine code is kept beside the source or, in a read-only installation, in the user's cache folder.
    Where neither can be written it is compiled anew in each process (a quarter of a minute for all of them).
    """
    try:
        return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # numba: "no locator available"
        return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))
