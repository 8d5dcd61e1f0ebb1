"""The file of a bundle: a zip that can be written in one way only, so that no byte of it may be another.

Members lie as they are (uncompressed: nothing can unfold to more than its size), in the order of their names, without dates
or comments; `checksums.json` has the SHA-256 of each. Whoever reads one trusts nothing that it says.
"""

import hashlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
from filecmp import cmp
from pathlib import Path
from typing import Any

from bench.store.file_integrity import file_sha256
from bench.store.store import canonical_json
from harmonize.errors import StoreError

CHECKSUMS = "checksums.json"
MOST_MEMBERS = 100_000
MOST_BYTES = 64 * 2**30  # of the file
MOST_OF_ONE = 2 * 2**30  # bytes of a member
MOST_JSON = 32 * 2**20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,3}")
_DATE = (1980, 1, 1, 0, 0, 0)
_FIX = "ask whoever made it for the file as it was written by `bench export`"


def refused(what: str, where: str, fix: str = _FIX) -> StoreError:
    """Return the error that says why a bundle is not taken."""
    return StoreError(f"the bundle is refused: {what}", where, fix)


def pack(folder: Path, path: Path) -> str:
    """Write the files below `folder` as a bundle and return its id: the SHA-256 of the list of their checksums."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    listed = {name: file_sha256(folder / name) for name in names if name != CHECKSUMS}
    content = canonical_json({"members": listed, "schema": 1})
    (folder / CHECKSUMS).write_bytes(content)
    _write(folder, path)
    return hashlib.sha256(content).hexdigest()


def unpack(path: Path, folder: Path) -> str:
    """Write the members of a bundle below an empty `folder` and return its id.

    Raises StoreError for a file that is no bundle, too large, or not byte for byte what `pack` writes of its members:
    names that leave the folder or come twice, links, compressed or encrypted members, a checksum that is wrong, a member that
    is listed and absent, or there and not listed, bytes between, before or after the members.
    """
    where = str(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise refused(f"larger than {MOST_BYTES:,} bytes", where)
        with zipfile.ZipFile(path) as archive:
            _take_out(archive, folder, where)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
        raise refused(f"it cannot be read: {error}", where) from error
    checksums = read_json(folder / CHECKSUMS, where)
    listed = checksums.get("members")
    if set(checksums) != {"members", "schema"} or checksums["schema"] != 1 or not isinstance(listed, dict):
        raise refused(f"{CHECKSUMS} is not of schema 1", where)
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {CHECKSUMS}
    if odd := sorted(there ^ set(listed)):
        raise refused(f"{odd[0]!r} is {'not listed' if odd[0] in there else 'listed and absent'}", where)
    for name in sorted(there):
        if file_sha256(folder / name) != listed[name]:
            raise refused(f"the checksum of {name} is wrong", where)
    with tempfile.TemporaryDirectory() as again:
        copy = Path(again) / "copy"
        _write(folder, copy)
        if not cmp(path, copy, shallow=False):
            raise refused("the file has bytes that belong to no member", where)
    return file_sha256(folder / CHECKSUMS)


def read_json(path: Path, where: str) -> dict[str, Any]:
    """Return a JSON object of a bundle; StoreError unless it is written in the one way that `canonical_json` has."""
    name = path.name
    if not path.is_file() or path.stat().st_size > MOST_JSON:
        raise refused(f"{name} is absent or larger than {MOST_JSON:,} bytes", where)
    content = path.read_bytes()
    try:
        found = json.loads(content)
        same = canonical_json(found) == content
    except (ValueError, RecursionError) as error:
        raise refused(f"{name} is no JSON: {error}", where) from error
    if not same or not isinstance(found, dict):
        raise refused(f"{name} is not written as `bench export` writes it", where)
    return found


def _take_out(archive: zipfile.ZipFile, folder: Path, where: str) -> None:
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise refused(f"more than {MOST_MEMBERS:,} members", where)
    if sum(info.file_size for info in infos) > MOST_BYTES:
        raise refused(f"its members claim more than {MOST_BYTES:,} bytes", where)
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if not NAME.fullmatch(name) or info.orig_filename != name:
            raise refused(f"the name {name[:100]!r} is none that a bundle has", where)
        if name.casefold() in seen:
            raise refused(f"{name!r} is there twice", where)
        seen.add(name.casefold())
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise refused(f"{name} is compressed", where)
        if info.flag_bits & 0x1 or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise refused(f"{name} is encrypted, a link or no file", where)
        if info.file_size > (MOST_JSON if name.endswith(".json") else MOST_OF_ONE):
            raise refused(f"{name} is too large", where)
    for info in infos:
        target = folder / info.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 2**20)


def _write(folder: Path, path: Path) -> None:
    """Write the zip of a folder; the same files give the same bytes on every system."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(info, "w") as out:
                shutil.copyfileobj(source, out, 2**20)
