"""Write and read the files that many runs share (manifests of grids, and cohort tables), and check their SHA-256.

The manifest of a grid (JSON) has its checksum in the key `sha256`. The checksum of a cohort table (Parquet) is in a second
file, NAME.parquet.sha256, which the program `sha256sum --check` can read. `bench.store.checked_folders` handles the
checksums of runs, scores and analyses.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store.file_integrity import bytes_sha256, json_object
from bench.store.store import Store, canonical_json, table_of, write_bytes, write_table
from harmonize.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

CHANGED = "is not what was stored: its checksum differs"
_KEY = "sha256"
_FIX_GRID = (
    "delete it: rm '{path}', then make it again: `bench run --grid` (then `bench evaluate` for imported models), "
    "`bench score --as` or `bench merge`; no run is trained again"
)
_FIX_TABLE = (
    "run the grid again with `bench run`: it makes the table again. Made by `bench merge`: merge the bundles again"
)


def write_grid(store: Store, name: str, content: Mapping[str, Any]) -> None:
    """Write the manifest of a grid. Manifest and checksum are one file, so that neither is written without the other."""
    write_bytes(_grid(store, name), canonical_json({**content, _KEY: bytes_sha256(canonical_json(content))}))


def read_grid(store: Store, name: str) -> dict[str, Any]:
    """Return the manifest of a grid without its checksum.

    Raises StoreError if the file is missing or damaged, or differs from its checksum.
    """
    path = _grid(store, name)
    content, problem = _grid_and_problem(path)
    if content is None:
        fix = "run the grid again with `bench run --grid`"
        raise StoreError(f"grid {name} cannot be read: {problem}", str(path), fix)
    if problem == CHANGED:
        raise StoreError(f"grid {name} {problem}", str(path), _FIX_GRID.format(path=path))
    return content


def _grid(store: Store, name: str) -> Path:
    return store.root / "grids" / f"{name}.json"


def _grid_and_problem(path: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the content of a manifest (None if it cannot be read), and its problem: CHANGED, why it cannot be read, or ""."""
    try:
        content = json_object(path)
        checksum = content.pop(_KEY, None)
        same = checksum == bytes_sha256(canonical_json(content))  # raises ValueError for NaN, which no manifest has
    except (OSError, ValueError, RecursionError) as error:
        return None, str(error)
    return content, "" if same else CHANGED


def write_cohort(path: Path, table: "pd.DataFrame", cohort_id: str) -> None:
    """Write a cohort table (Parquet), then the file with its checksum.

    If the process is killed between the two files, the checksum is missing or of another file, and the table is refused.
    `bench run` then writes the table and the checksum again.
    """
    digest = write_table(path, table, {"id": cohort_id})
    write_bytes(_checksum_file(path), f"{digest}  {path.name}\n".encode())


def read_cohort(path: Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return all or some columns of a cohort table.

    Raises StoreError if the table is missing, differs from its checksum or has no checksum.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"cannot read the cohort table {path.name}: {error.strerror}", str(path), _FIX_TABLE
        ) from error
    if problem := _cohort_problem(path, content):
        raise StoreError(f"the cohort table {path.name} {problem}", str(path), _FIX_TABLE)
    return table_of(path, content, columns)


def cohort_problem(path: Path) -> str:
    """Return the problem of a cohort table, "" if it is intact.

    The problem is CHANGED, or a text that the table or its checksum is missing.
    """
    try:
        return _cohort_problem(path, path.read_bytes())
    except OSError as error:
        return f"is missing: {error.strerror}"


def _cohort_problem(path: Path, content: bytes) -> str:
    """Return the problem of a cohort table (see `cohort_problem`), given the bytes of its file."""
    try:
        words = _checksum_file(path).read_text(errors="replace").split()
    except OSError:  # a process was killed before it wrote the checksum
        return "has no checksum"
    return (
        "" if words == [bytes_sha256(content), path.name] else CHANGED
    )  # with the name: tables may be swapped with their checksums


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def unreadable_files(folder: Path, pattern: str, read: Callable[[str], object]) -> Iterator[tuple[str, str, str]]:
    """Yield name, problem and fix of each file that `read` refuses; `read` takes the file's stem, and raises StoreError."""
    for path in sorted(folder.glob(pattern)):
        try:
            read(path.stem)
        except StoreError as error:
            yield f"{folder.name}/{path.name}", error.what, error.fix
