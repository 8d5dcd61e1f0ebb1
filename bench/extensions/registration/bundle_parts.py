"""The registrations in a bundle: the folder `registrations` with 1.json, the first one, 2.json, and so on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.extensions.bundles.archive import read_json, refused
from bench.extensions.bundles.read_bundle import check_texts
from bench.extensions.registration.grid_registrations import chains, form_problem
from bench.extensions.registration.registrations import FOLDER, Registration, registered_by_hash, write_by_hash
from bench.planning.manifest import Manifest
from bench.store.store import Store, write_bytes

KEY = "registrations"


def write(manifest: Manifest, folder: Path) -> None:
    """Write the registrations of a grid into the folder of a bundle."""
    for _, chain, _ in chains(manifest):
        for number, registration in enumerate(chain, 1):
            write_bytes(folder / FOLDER / f"{number}.json", registration.document)


def read(folder: Path, store: Store, where: str) -> list[str]:
    """Check the registrations of a bundle and write them into the store; return their hashes, the first one first.

    Raises StoreError for a registration whose content does not have its hash, or that does not name the hash of the one before.
    """
    hashes: list[str] = []
    for number in range(1, len(list((folder / FOLDER).glob("*"))) + 1):
        content = read_json(folder / FOLDER / f"{number}.json", where)
        try:
            read = Registration.parsed(content)
        except ValueError as error:
            raise refused(f"registration {number} {error}", where) from error
        check_texts(read.content, where)
        if problem := form_problem(read.content):
            raise refused(problem, where)
        if read.content["amends"] != (hashes[-1] if hashes else ""):
            raise refused(f"registration {number} does not name the one before", where)
        write_by_hash(store, read)
        hashes.append(read.sha256)
    return hashes


def files(hashes: list[str]) -> set[str]:
    """Return the paths of the files in a bundle with these registrations."""
    return {f"{FOLDER}/{number}.json" for number in range(1, len(hashes) + 1)}


def copy(hashes: list[str], source: Store, target: Store) -> None:
    """Copy the registrations that a bundle brought from one store into another."""
    for sha256 in hashes:
        write_by_hash(target, registered_by_hash(source, sha256))


def lines(hashes: list[str]) -> list[str]:
    """Return what `bench verify` says about the registrations of a bundle."""
    return [
        f"registered before the first external test: {sha256} (compare it with the hash that its author published)"
        for sha256 in hashes
    ]


def promised_runs(manifest: Manifest) -> list[str]:
    """Return the ids of the runs that the last registration of a bundle names."""
    hashes = manifest.extras.get(KEY, ())
    if not hashes:
        return []
    plan: Mapping[str, Any] = registered_by_hash(manifest.store, hashes[-1]).content["plan"]
    return [str(item["id"]) for item in plan["runs"]]
