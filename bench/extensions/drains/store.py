"""The files of drains in a store: their folder, and what `bench check` finds."""

from collections.abc import Iterator

from bench.extensions.drains.annotations import FOLDER, stored_drains
from bench.store.store import Store
from harmonize.errors import StoreError

FOLDERS = (FOLDER,)


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Yield name, problem and fix of each file that is damaged or changed."""
    for path in sorted((store.root / FOLDER).glob("*.json")):
        try:
            stored_drains(store, path.stem)
        except StoreError as error:
            yield f"{FOLDER}/{path.name}", error.what, error.fix
