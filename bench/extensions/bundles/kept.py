"""Results that this program has computed on this computer, kept for its next call, such as the check of a bundle for a board.

A kept result counts only for the same inputs, code, packages and processor: their hash is the name of its file. A file or folder
that others can write is not read. So only the user could forge a kept result, who could also change the program. Bundles and
boards have no kept results. The SHA-256 of the content shows damage.
"""

import os
import pickle  # written and read by the same user  # nosec B403
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.config.registry import Registry
from bench.results.same_scores import versions
from bench.store.file_integrity import bytes_sha256
from bench.store.store import canonical_json, short_hash, write_bytes
from harmonize.disk_space import DiskFullError
from reports import extensions

Result = TypeVar("Result")
VARIABLE = "BENCH_CACHE"  # folder of the results; "": all results are computed again
UNUSED_SECONDS = 30 * 24 * 3600.0  # a result that was not used for this time is removed
_ROOT = Path(__file__).parents[3]
# packages whose code has a version; the code of other entries may change without notice
_VERSIONED = {"", "bench", "harmonize", "pytorch_optimizer", "schedulefree", "timm", "torch"}


def kept(registry: Registry, what: Any, compute: Callable[[], Result]) -> tuple[Result, bool]:
    """Return the result of `compute`, and whether an earlier call with the same `what` computed and kept it.

    `what`: all inputs besides the registry, as JSON. Errors and empty results are not kept. Nothing is kept with entries or
    extensions of other packages, whose code may change without a new version.
    """
    default = os.path.expanduser("~/.cache/unseen-cxr/results")  # noqa: PTH111  # Path.home() raises for a user without a home
    folder = Path(os.environ.get(VARIABLE, default))
    own = {entry.use.partition(":")[0].partition(".")[0] for entry in registry} <= _VERSIONED and not registry.refused
    own = own and all(name.startswith(extensions.FOLDER) for name in extensions.packages())
    if not own or os.environ.get(VARIABLE) == "":
        return compute(), False
    path = folder / short_hash(canonical_json([_program(), repr(list(registry)), what]), 64)
    with suppress(OSError):
        content = path.read_bytes()
        if _is_own(folder) and _is_own(path) and bytes_sha256(content[64:]).encode() == content[:64]:
            os.utime(path)
            result: Result = pickle.loads(content[64:])  # noqa: S301  # nosec B301
            return result, True
    result = compute()
    with suppress(OSError, DiskFullError):
        if result:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            content = pickle.dumps(result)
            write_bytes(path, bytes_sha256(content).encode() + content, 0o600)
        for other in folder.glob("?" * 64):
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                other.unlink()
    return result, False


def _is_own(path: Path) -> bool:
    """Return whether only the user can write a file or folder."""
    state = path.stat()
    return os.name != "posix" or (state.st_uid == os.geteuid() and not state.st_mode & 0o022)


@cache
def _program() -> str:
    """Return a hash of the code of this program, of the names and versions of installed packages, and of the processor's rounding."""
    folders = [_ROOT / name for name in ("bench", "harmonize", "reports")]
    files = sorted(path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    code = [[str(path.relative_to(_ROOT)), bytes_sha256(path.read_bytes())] for path in files if path.is_file()]
    packages = sorted(path.name for place in sys.path for path in Path(place).glob("*.*-info"))
    return short_hash(canonical_json([code, packages, sys.version, versions()]), 64)
