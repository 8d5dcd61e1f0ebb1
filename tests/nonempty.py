"""What a test loops over: a loop that never runs would let a test pass that checks nothing."""

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def nonempty(items: Iterable[Item]) -> list[Item]:
    """Return the items as a list, which has at least one."""
    found = list(items)
    assert found, "the test loops over nothing"
    return found
