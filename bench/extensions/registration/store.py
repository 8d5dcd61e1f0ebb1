"""The files of registrations in a store: the folder that the report reads, and what `bench check` finds."""

from collections.abc import Iterator

from bench.extensions.registration.registrations import FOLDER, registration_hashes, registration_problems
from bench.store.file_integrity import json_object
from bench.store.store import Store

FOLDERS = (FOLDER,)


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong: its name, the problem and the fix.

    A registration is damaged, changed or misnamed, or a grid names a registration that is missing.
    """
    for name, (problem, fix) in registration_problems(store).items():
        yield f"registration {name}", problem, fix
    intact = registration_hashes(store)
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            content = json_object(path)
        except (OSError, ValueError, RecursionError):  # the check of the grid's file says so
            continue
        bundles = content.get("bundles", [])
        named = [content.get("registration"), *(h for b in bundles for h in b.get("registrations", ()))]
        if missing := [sha256 for sha256 in named if sha256 and sha256 not in intact]:
            own = "restore it from a copy, such as the one that you published"
            fix = "merge the bundles again into a new store" if bundles else own
            yield f"grid {path.stem}", f"its registration {missing[0]} is missing or changed", fix
