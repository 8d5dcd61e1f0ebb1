"""Pack files as a bundle, and unpack and check a bundle.

A bundle is a zip file. Equal members (files in the zip) always give equal bytes, so any changed byte is noticed. The members
are uncompressed, so that reading needs no more memory than the zip states. The members are sorted by name and have no dates
or comments. `checksums.json` has the SHA-256 of each other member. The reader checks everything that the zip states.
"""

import contextlib
import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from filecmp import cmp
from pathlib import Path
from typing import Any

from bench.extensions.bundles import limits
from bench.store.file_integrity import bytes_sha256, file_sha256
from bench.store.store import canonical_json
from harmonize.disk_space import DiskFullError, writing
from harmonize.errors import ConfigError, StoreError

CHECKSUMS = "checksums.json"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,3}")
README_FILE = "README.md"
README = """# Predictions of chest X-ray networks

`bench verify` of Unseen computes every score in this file again; `bench merge` and `bench report` make a leaderboard of it.

| file | content |
|---|---|
| `manifest.json` | runs and cohorts; mapping of the labels, threshold rule and other settings of the scores |
| `cohorts/NAME.parquet` | for each image: its number and its patient's, split, view, sex, device, decade of age, states of findings |
| `runs/ID/predictions/NAME.parquet` | for each image: its number, and a logit for each finding |
| `runs/ID/*` | configuration, cost, seal, environment and learning curve of a run |
| `scores/ID/*` | tables of the scores of a run |
| `bundle.json`, `checksums.json` | versions; SHA-256 of every other file |

States: 1 present, 0 absent, -1 uncertain, -2 not mentioned, null unmapped. With `resample: split`, each seed has validation images
of its own: the split val has those of all seeds, and a run has logits for its own.

Training time, memory, speed, learning curves, environment and titles of cohorts are statements of the submitter. There are no
images, and no ids of patients or images. The agreements of the datasets also apply to labels and predictions.
"""
_DATE = (1980, 1, 1, 0, 0, 0)
_FIX = "ask its maker for the unchanged file that `bench export` wrote"


def check_is_file(bundle: Path) -> None:
    """Raise ConfigError for a bundle that is no file."""
    if not bundle.is_file():
        raise ConfigError("no such bundle", str(bundle), "give a file that `bench export` has written")


def refused(what: str, fix: str = _FIX) -> StoreError:
    """Return (not raise) the StoreError for a bundle that this program refuses to read; `reading` adds the path of the bundle."""
    return StoreError(f"the bundle is refused: {what}", "", fix)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Add the path of a bundle to the errors of the block that name no file.

    A bundle is untrusted input, so any content may raise any error of parsing: such an error becomes a StoreError, too.
    """
    try:
        yield
    except StoreError as error:
        raise StoreError(error.what, error.where or str(path), error.fix) from error


def pack(folder: Path, path: Path) -> str:
    """Write the files below `folder` as the bundle `path`, with a new checksums.json. Return the bundle's id.

    The id is the SHA-256 of checksums.json, 64 hex digits.
    """
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    checksums = {name: file_sha256(folder / name) for name in names if name != CHECKSUMS}
    content = canonical_json({"members": checksums, "schema": 1})
    with writing(folder / CHECKSUMS, len(content)):
        (folder / CHECKSUMS).write_bytes(content)
    _write(folder, path)
    return bytes_sha256(content)


def unpack(path: Path, folder: Path) -> str:
    """Write the members of the bundle `path` into an empty `folder` and return the bundle's id (see `pack`).

    Raises StoreError for a file that is too large or no bundle, or in which any byte differs from the bytes that `pack` writes.
    Examples of such differences: names that leave the folder or occur twice, links, compressed or encrypted members, wrong
    checksums, missing or unlisted members, and bytes outside the members.
    """
    try:
        if path.stat().st_size > limits.MOST_BYTES:
            raise refused(f"it is larger than {limits.MOST_BYTES:,} bytes")
        with zipfile.ZipFile(path) as archive:
            _extract(archive, folder)
    except DiskFullError:
        raise
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
        raise refused(f"it cannot be read: {error}") from error
    checksums = read_json(folder / CHECKSUMS)
    listed = checksums.get("members")
    if set(checksums) != {"members", "schema"} or checksums["schema"] != 1 or not isinstance(listed, dict):
        raise refused(f"{CHECKSUMS} does not have schema 1")
    members = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {CHECKSUMS}
    if different := sorted(members ^ set(listed)):
        name = different[0]
        raise refused(f"{name!r} is {'not listed' if name in members else 'listed but missing'}")
    for name in sorted(members):
        if file_sha256(folder / name) != listed[name]:
            raise refused(f"the checksum of {name} is wrong")
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy"
        _write(folder, copy)
        if not cmp(path, copy, shallow=False):
            raise refused("the file has bytes that belong to no member")
    return file_sha256(folder / CHECKSUMS)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a bundle.

    Raises StoreError if the file is missing, too large or invalid, or has another form than `canonical_json` writes.
    """
    name = path.name
    if not path.is_file() or path.stat().st_size > limits.MOST_JSON:
        raise refused(f"{name} is missing or larger than {limits.MOST_JSON:,} bytes")
    content = path.read_bytes()
    try:
        value = json.loads(content)
        canonical = canonical_json(value) == content
    except (ValueError, RecursionError) as error:
        raise refused(f"{name} is not valid JSON: {error}") from error
    if not canonical or not isinstance(value, dict):
        raise refused(f"{name} does not have the form that `bench export` writes")
    return value


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    """Check the names and sizes of all members of a zip, then write the members below `folder`. Raises StoreError.

    `unpack` finds everything else that a zip can hold (links, repeated names, comments) when it writes the zip again.
    """
    infos = archive.infolist()
    if len(infos) > limits.MOST_MEMBERS:
        raise refused(f"it has more than {limits.MOST_MEMBERS:,} members")
    if sum(info.file_size for info in infos) > limits.MOST_BYTES:
        raise refused(f"its members are larger than {limits.MOST_BYTES:,} bytes")
    for info in infos:
        name = info.filename
        if not NAME.fullmatch(name):
            raise refused(f"the member name {name[:100]!r} is invalid")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise refused(f"{name} is compressed")
        if info.file_size > (limits.MOST_JSON if name.endswith(".json") else limits.MOST_MEMBER_BYTES):
            raise refused(f"{name} is too large")
    for info in infos:
        target = folder / info.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target, info.file_size), archive.open(info) as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, 2**20)


def _write(folder: Path, path: Path) -> None:
    """Write the files of a folder as a zip. Equal files give equal bytes on every system."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    needed = sum((folder / name).stat().st_size for name in names)
    with writing(path, needed), zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(info, "w") as out:
                shutil.copyfileobj(source, out, 2**20)
