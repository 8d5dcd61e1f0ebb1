"""The files of drains in a store: their folder, and what `bench check` finds."""

from collections.abc import Iterator
from functools import partial

from bench.extensions.drains.annotations import FOLDER, stored_drains
from bench.store.checked_files import unreadable_files
from bench.store.store import Store

FOLDERS = (FOLDER,)


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Return name, problem and fix of each file that is damaged or changed."""
    return unreadable_files(store.root / FOLDER, "*.json", partial(stored_drains, store))
