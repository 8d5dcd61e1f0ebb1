"""Write and read registrations: plans of a grid, stored before the first external prediction.

registrations/<grid>.json    the first registration of a grid
registrations/<grid>.2.json  the second registration (an amendment), and so on; each names the hash of the one before
registrations/<hash>.json    a registration that a bundle brought

The key `sha256` of a file is the SHA-256 of the other keys as canonical JSON. It is the checksum of the file, and the hash
that its author publishes. `bench.extensions.registration.grid_registrations` has the content.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.store.file_integrity import bytes_sha256, json_object
from bench.store.store import Store, canonical_json, replacing, write_bytes
from harmonize.errors import StoreError

FOLDER = "registrations"
KEY = "sha256"
CHANGED = "is not what was registered: its hash differs"
_FIX = "restore the file from a copy, such as the one that you published; a registration is never written again"
_OF_BUNDLE = re.compile(r"[0-9a-f]{64}")
_NUMBERED = re.compile(r"(?P<grid>[^.]+)(?:\.(?P<number>[1-9][0-9]*))?")


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration: its content without the key `sha256`, and this hash, 64 hex digits."""

    content: Mapping[str, Any]
    sha256: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Return the registration with this content; its hash is the SHA-256 of the content as canonical JSON."""
        return cls(content, bytes_sha256(canonical_json(content)))

    @classmethod
    def parsed(cls, content: Mapping[str, Any]) -> Self:
        """Return the registration of a file's JSON object. Raises ValueError if its hash is missing or differs."""
        made = cls.of({key: value for key, value in content.items() if key != KEY})
        if content.get(KEY) != made.sha256:
            raise ValueError(CHANGED)
        return made

    @property
    def document(self) -> bytes:
        """Return the bytes of the registration's file."""
        return canonical_json({**self.content, KEY: self.sha256})


def registered(store: Store, grid: str) -> list[Registration]:
    """Return the registrations of a grid in this store, the first one first; [] if there is none.

    Raises StoreError if a file is damaged or changed, or does not name the hash of the one before.
    """
    paths = _numbered(store, grid)
    found: list[Registration] = []
    for number, path in sorted(paths.items()):
        if number != len(found) + 1:
            raise StoreError(f"registration {len(found) + 1} of the grid {grid} is missing", str(path.parent), _FIX)
        read = _read(path)
        before = found[-1].sha256 if found else ""
        if read.content.get("amends") != before or read.content.get("grid") != grid:
            raise StoreError(f"registration {path.name} {CHANGED}", str(path), _FIX)
        found.append(read)
    return found


def registered_by_hash(store: Store, sha256: str) -> Registration:
    """Return a registration that a bundle brought. Raises StoreError if it is missing, damaged or changed."""
    path = store.root / FOLDER / f"{sha256}.json"
    read = _read(path)
    if read.sha256 != sha256:
        raise StoreError(f"registration {path.name} {CHANGED}", str(path), _FIX)
    return read


def write_next(store: Store, grid: str, content: Mapping[str, Any]) -> tuple[Path, Registration]:
    """Write the next registration of a grid; return its path and the registration.

    Raises StoreError if another process wrote this registration at the same time: no registration is ever replaced.
    """
    number = len(_numbered(store, grid)) + 1
    path = store.root / FOLDER / (f"{grid}.json" if number == 1 else f"{grid}.{number}.json")
    made = Registration.of(content)
    try:
        with replacing(path, new=True) as temporary:
            temporary.write_bytes(made.document)
    except FileExistsError as error:
        fix = "look at it; a registration is never replaced"
        raise StoreError("another process has registered this grid just now", str(path), fix) from error
    return path, made


def write_by_hash(store: Store, registration: Registration) -> None:
    """Write a registration that a bundle brought, under its hash."""
    write_bytes(store.root / FOLDER / f"{registration.sha256}.json", registration.document)


def registration_hashes(store: Store) -> set[str]:
    """Return the hashes of the intact registrations of a store."""
    hashes = set()
    for path in (store.root / FOLDER).glob("*.json"):
        with contextlib.suppress(StoreError):
            hashes.add(_read(path).sha256)
    return hashes


def registration_problems(store: Store) -> dict[str, tuple[str, str]]:
    """Return {name of a file: (problem, fix)} for the registrations of a store that cannot be read; {} if all are intact."""
    problems: dict[str, tuple[str, str]] = {}
    for path in sorted((store.root / FOLDER).glob("*.json")):
        try:
            read = _read(path)
        except StoreError as error:
            problems[path.name] = (error.what.removeprefix(f"registration {path.name} "), error.fix)
            continue
        named = _NUMBERED.fullmatch(path.stem)
        if _OF_BUNDLE.fullmatch(path.stem) and path.stem == read.sha256:
            continue
        if not named or named["grid"] != read.content.get("grid"):
            problems[path.name] = ("has the name of another registration", _FIX)
    for grid in {path.stem.partition(".")[0] for path in (store.root / FOLDER).glob("*.json")}:
        if not problems and not _OF_BUNDLE.fullmatch(grid):
            try:
                registered(store, grid)
            except StoreError as error:
                problems[f"{grid}.json"] = (error.what, error.fix)
    return problems


def _numbered(store: Store, grid: str) -> dict[int, Path]:
    """Return {number: path} of the registrations of a grid; the first one has the number 1."""
    found = {}
    for path in (store.root / FOLDER).glob("*.json"):
        named = _NUMBERED.fullmatch(path.stem)
        if named and named["grid"] == grid:
            found[int(named["number"] or 1)] = path
    return found


def _read(path: Path) -> Registration:
    try:
        return Registration.parsed(json_object(path))
    except (OSError, ValueError, RecursionError) as error:
        # CHANGED is a verb: its content is readable, but differs from its hash
        what = str(error) if str(error) == CHANGED else f"cannot be read: {error}"
        raise StoreError(f"registration {path.name} {what}", str(path), _FIX) from error
