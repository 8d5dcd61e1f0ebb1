"""Results that this program has computed on this computer, kept for its next call, such as the check of a bundle for a board.

A kept result counts only for the same inputs, code, packages and processor: their hash is the name of its file. A file is not
read, and no file is written, where others can write or rename. So only the user could forge a kept result, who could also change
the program. Bundles and boards have no kept results. The SHA-256 of the content shows damage.
"""

import os
import pickle  # written and read by the same user  # nosec B403
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench import STARTED
from bench.config.registry import Registry
from bench.results.same_scores import versions
from bench.store.file_integrity import bytes_sha256, file_sha256
from bench.store.store import canonical_json, short_hash, write_bytes
from reports import extensions

Result = TypeVar("Result")
VARIABLE = "BENCH_CACHE"  # folder of the results; "": all results are computed again
UNUSED_SECONDS = 30 * 24 * 3600.0  # a result that was not used for this time is removed
_ROOT = Path(__file__).parents[3]
# packages whose code has a version; the code of other entries may change without notice
_VERSIONED = {"", "bench", "harmonize", "pytorch_optimizer", "schedulefree", "timm", "torch"}


def kept(registry: Registry, what: Any, compute: Callable[[], Result], *inputs: Path) -> tuple[Result, bool]:
    """Return the result of `compute`, and whether an earlier call with the same `what` computed and kept it.

    `what`: as JSON, all that counts besides the registry and the files `inputs`. Errors and empty results are not kept. Nothing is
    kept if a file of the program or an input changes meanwhile, nor with code of other packages, which may have no versions.
    """
    own = {entry.use.partition(":")[0].partition(".")[0] for entry in registry} <= _VERSIONED and not registry.refused
    own = own and all(name.startswith(extensions.FOLDER) for name in extensions.packages()) and _program() != ""
    if not own or (folder := _folder()) is None:
        return compute(), False

    def name() -> str:
        return short_hash(canonical_json([_program(), repr(list(registry)), what, *map(file_sha256, inputs)]), 64)

    path = folder / f"{name()}.kept"
    with suppress(OSError), path.open("rb") as file:
        content = file.read() if _is_own(os.fstat(file.fileno())) else b""
        if bytes_sha256(content[64:]).encode() == content[:64]:
            os.utime(path)
            result: Result = pickle.loads(content[64:])  # noqa: S301  # nosec B301
            return result, True
    result = compute()
    _program.cache_clear()  # what was imported meanwhile counts, too
    with suppress(OSError):
        for other in folder.glob("*.kept"):
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                other.unlink()
    with suppress(OSError):
        if result and path.stem == name():
            content = pickle.dumps(result)
            write_bytes(path, bytes_sha256(content).encode() + content, 0o600)
    return result, False


def _folder() -> Path | None:
    """Return the folder of the results, made if missing; None for VARIABLE "", for a user without a folder, and if others can write or rename it."""
    place = os.path.expanduser(os.environ.get(VARIABLE, "~/.cache/unseen-cxr/results"))  # noqa: PTH111  # Path.expanduser raises for such a user
    if place[:1] in ("", "~"):
        return None
    folder = Path(os.path.realpath(place))
    with suppress(OSError):
        for each in (*reversed(folder.parents), folder):
            each.mkdir(0o700, exist_ok=True)
        modes = [each.stat().st_mode for each in folder.parents if os.name == "posix"]
        if _is_own(folder.stat()) and all(mode & stat.S_ISVTX or not mode & 0o022 for mode in modes):
            return folder
    return None


def _is_own(state: os.stat_result) -> bool:
    """Return whether only the user can write a file or folder."""
    return os.name != "posix" or (state.st_uid == os.geteuid() and not state.st_mode & 0o022)


@cache
def _program() -> str:
    """Return a hash of the code of this program, of the names and versions of installed packages, and of the processor's rounding.

    Returns "" if a file has changed since the program started: the code that was imported may be older.
    """
    paths = (path for name in ("bench", "harmonize", "reports") for path in (_ROOT / name).rglob("*"))
    files = sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    if any(max(path.stat().st_mtime, path.stat().st_ctime) > STARTED for path in files):  # copies may have an old mtime
        return ""
    code = [[str(path.relative_to(_ROOT)), bytes_sha256(path.read_bytes())] for path in files]
    packages = sorted(path.name for place in sys.path for path in Path(place).glob("*.*-info"))
    return short_hash(canonical_json([code, packages, sys.version, versions()]), 64)
