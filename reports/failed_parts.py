"""The rule for parts of a report that fail: the report is written without them, and states the name and the reason of each.

A part is a section, a sentence, or the tables of one extension. Outside of `collected`, a failure is raised as usual.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TypeVar

from harmonize.errors import CxrError

Made = TypeVar("Made")
Module = TypeVar("Module")


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part of a report that raised an exception. reason: type and text of the exception. trace: its traceback."""

    name: str
    reason: str
    trace: str


_FAILED: ContextVar[list[FailedPart] | None] = ContextVar("failed parts", default=None)


def so_far() -> list[FailedPart]:
    """Return the parts that have failed in the current context: the list itself."""
    failed = _FAILED.get()
    return [] if failed is None else failed


@contextmanager
def collected() -> Iterator[list[FailedPart]]:
    """Within this context, collect the parts that fail instead of raising their exceptions; an inner context shares the list."""
    failed = so_far()
    token = _FAILED.set(failed)
    try:
        yield failed
    finally:
        _FAILED.reset(token)


def attempt(name: str, make: Callable[[], Made], otherwise: Callable[[FailedPart], Made]) -> Made:
    """Return the result of `make`; if it fails, the result of `otherwise`. Of several failures of one name, the first is collected.

    A CxrError is always raised, because it names a file or a setting that the user can mend.
    """
    try:
        return make()
    except CxrError:
        raise
    except Exception as error:  # a part may have any fault
        failed = _FAILED.get()
        if failed is None:
            raise
        reason = ": ".join(filter(None, (type(error).__name__, str(error))))
        part = FailedPart(name, reason, "".join(traceback.format_exception(error)))
        if name not in [other.name for other in failed]:
            failed.append(part)
        return otherwise(part)


def of_extensions(what: str, modules: Iterable[Module], make: Callable[[Module], Made]) -> list[Made]:
    """Return what the extensions make that do not fail. `modules`: their modules for a hook."""

    def alone(module: Module) -> list[Made]:
        return [make(module)]

    parts = (attempt(of_extension(what, module), partial(alone, module), lambda _: []) for module in modules)
    return [made for part in parts for made in part]


def of_extension(what: str, module: object) -> str:
    """Return the name of a part of an extension, such as "tables of the extension estimates"; `module`: one of its modules."""
    assert isinstance(module, ModuleType)
    return f"{what} of the extension {str(module.__package__).rpartition('.')[2]}"
