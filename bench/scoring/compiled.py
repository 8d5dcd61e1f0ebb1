"""Compile a function with numba, kept on disk where that is possible."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return the compiled function; it lets go of the interpreter lock, so threads run it side by side.

    The machine code is kept beside the source or, in a read-only installation, in the user's cache folder.
    Where neither can be written it is compiled anew in each process (about two seconds).
    """
    try:
        return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # numba: "no locator available"
        return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))
