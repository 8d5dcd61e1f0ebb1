"""The report of a grid, written again only if something that it shows may have changed since it was last written."""

import contextlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.planning.manifest import Manifest
from bench.store.checked_folders import CARD, CheckedFolder
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.file_integrity import file_sha256, json_object
from bench.store.store import canonical_json, short_hash, write_bytes
from harmonize.progress import Progress
from reports import extensions, failed_parts, hooks
from reports.tables import Tables

FILE = "report.json"
_CODE = Path(__file__).parents[2]  # the folder of the packages bench, harmonize and reports
_PACKAGES = ("bench", "harmonize", "reports")


def current_report(
    manifest: Manifest, progress: Progress, with_images: bool = False
) -> tuple[Path, Sequence[str], Sequence[str]]:
    """Return the path of a grid's page, the grid's main results (see `bench.results.summary`), and failed parts of the page as lines.

    Model cards, page and tables are written only if they are not up to date, because that takes seconds for a few
    runs and much longer for hundreds. A page of which parts failed is never up to date. `with_images`: see `write_report`.
    """
    report = _Report(manifest, with_images)
    inputs = report.inputs()
    lines = report.lines(inputs)
    if lines is None:
        from bench.results.model_card import write_cards  # slow imports
        from bench.results.summary import summary
        from bench.results.write_report import write_report

        with failed_parts.collected():
            written = write_report(manifest, None, progress, with_images)
            failed_parts.attempt("model cards", partial(write_cards, manifest), lambda _: [])  # they read the tables
            lines = summary(manifest, written.tables)
        if written.failed:
            return report.page, lines, written.failures()
        report.record(inputs, lines)
    else:
        progress("write the leaderboard", 1, 1)
    return report.page, lines, ()


def current_tables(manifest: Manifest) -> Tables:
    """Return the tables of a grid's report: the stored ones if they are up to date; else they are computed, and not stored."""
    report = _Report(manifest, with_images=False)
    if report.lines(report.inputs()) is not None:
        return Tables.load(report.folder / "tables")
    from bench.results.report_tables import tables  # slow imports

    return tables(manifest)


@dataclass(frozen=True, slots=True)
class _Report:
    """The page, the tables and the model cards of a grid, and the files that they are made from.

    Files are compared by content, so that a copied store keeps its page. A file with a checksum of its folder (`CheckedFolder`)
    counts with this checksum and its size: a store has gigabytes.
    """

    manifest: Manifest
    with_images: bool

    @property
    def folder(self) -> Path:
        return self.manifest.store.root / "report" / self.manifest.name

    @property
    def page(self) -> Path:
        return self.folder / "leaderboard.html"

    def inputs(self) -> str:
        """Return a hash of all that the report is made from: plan, stored files, code, and the names of installed packages."""
        root, installed = self.manifest.store.root, Path(sysconfig.get_path("purelib"))
        folders = [root / name for name in ("cohorts", "analyses")]
        folders += [root / name for module in extensions.modules(hooks.Cohorts) for name in module.FOLDERS]
        folders += [self.manifest.scores, *self._run_folders()]
        stored = [_contents(root, _files(folder)) for folder in folders]
        code = [_contents(_CODE, _files(_CODE / name)) for name in _PACKAGES]
        packages = sorted(path.name for path in installed.iterdir())  # the names contain the versions
        return short_hash(canonical_json([self.manifest.document, self.with_images, packages, code, stored]), 64)

    def outputs(self) -> str:
        """Return a hash of the contents of page, tables and model cards."""
        files = [str(path) for path in (self.page, *(folder / CARD for folder in self._run_folders()))]
        files += _files(self.folder / "tables")
        return short_hash(canonical_json(_contents(self.manifest.store.root, files)), 64)

    def lines(self, inputs: str) -> list[str] | None:
        """Return the stored main results as lines if the report was made from `inputs` and nobody changed it since; else None."""
        try:
            stored = json_object(self.folder / FILE)
            is_current = (stored["inputs"], stored["outputs"]) == (inputs, self.outputs())
            return [str(line) for line in stored["lines"]] if is_current else None
        except (OSError, ValueError, KeyError, TypeError):  # missing or damaged
            return None

    def record(self, inputs: str, lines: Sequence[str]) -> None:
        """Store that the report is made from `inputs`, unless a file has changed while the report was written."""
        if self.inputs() == inputs:
            content = {"inputs": inputs, "outputs": self.outputs(), "lines": list(lines)}
            write_bytes(self.folder / FILE, canonical_json(content))

    def _run_folders(self) -> list[Path]:
        return [self.manifest.store.run_dir(run_id) for run_id in self.manifest.run_of]


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder and its subfolders, except bytecode and model cards; none without a folder."""
    for path, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        yield from (f"{path}/{name}" for name in names if name != CARD)  # a Path for each of 20,000 files is slow


def _contents(root: Path, files: Iterable[str]) -> list[tuple[str, int, str]]:
    """Return path below `root`, size and checksum of files, sorted; a file that another process has just deleted is left out."""
    files, known, found = list(files), dict[str, str](), []
    for path in files:
        folder, _, name = path.rpartition("/")
        if name == CHECKSUMS:
            of_folder = CheckedFolder(Path(folder)).checksums() or {}
            known |= {f"{folder}/{file}": checksum for file, checksum in of_folder.items()}
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            size = os.stat(path).st_size  # noqa: PTH116
            found.append((path.removeprefix(f"{root}/"), size, known.get(path) or file_sha256(Path(path))))
    return sorted(found)
