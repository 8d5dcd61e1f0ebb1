"""The rule for parts of a report that fail: the report is written without them, and states the name and the reason of each.

A part is a section, a sentence, or the tables of one extension. Outside of `collected`, a failure is raised as usual.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TypeVar

from harmonize.errors import CxrError

Made = TypeVar("Made")
Part = TypeVar("Part")


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


def of_extensions(what: str, parts: Sequence[Part], make: Callable[[Part], Made]) -> list[Made]:
    """Return what `make` makes of the parts of extensions, such as their modules for a hook, without the parts that fail.

    what: name of what is made, such as "tables"; a failure is named "tables of the extension estimates".
    """

    def alone(part: Part) -> list[Made]:
        return [make(part)]

    places = [part.__name__ if isinstance(part, ModuleType) else type(part).__module__ for part in parts]
    names = [f"{what} of the extension {place.split('.')[-2]}" for place in places]
    made = (attempt(name, partial(alone, part), lambda _: []) for name, part in zip(names, parts, strict=True))
    return [each for one in made for each in one]
