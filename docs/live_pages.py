"""The live pages of the site: leaderboards that anybody can open without an installation, computed from the bundles in docs/live.

    PYTHONPATH=. python docs/live_pages.py add BUNDLE.zip    # puts a bundle of `bench export --keep-order` there, compressed
    PYTHONPATH=. python docs/live_pages.py renew             # scores all bundles again, after SCORING_VERSION was raised
    PYTHONPATH=. python docs/live_pages.py write FOLDER      # writes the pages FOLDER/NAME.html; `tox -e site` does the same

Nothing in a bundle is compressed, so the repository has it as NAME.zip.xz, a third of the size. A page is computed from the logits
and labels of its bundle with the scoring of today, so a bundle of an older scoring version gives the page of today, too.
"""

import argparse
import contextlib
import lzma
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.config.registry import Registry
from bench.extensions.bundles import merge
from bench.extensions.bundles.archive import pack, read_json, unpack
from bench.extensions.bundles.export import write_scores
from bench.extensions.bundles.verify import OpenBundle, opened
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import versions
from bench.results.score_runs import score_all
from bench.results.write_report import score_and_report
from bench.store.store import Store, canonical_json, write_bytes

LIVE = Path(__file__).with_name("live")
ENDING = ".zip.xz"


def quiet(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


def bundles() -> list[Path]:
    """Return the compressed bundles, by name."""
    return sorted(LIVE.glob(f"*{ENDING}"))


def name_of(path: Path) -> str:
    """Return the name of a compressed bundle, which is the name of its page."""
    return path.name.removesuffix(ENDING)


@contextlib.contextmanager
def decompressed(path: Path) -> Iterator[OpenBundle]:
    """Yield a compressed bundle, checked and read; without its scores if they are of an older scoring version."""
    with tempfile.TemporaryDirectory() as temporary:
        plain, folder = Path(temporary) / f"{name_of(path)}.zip", Path(temporary) / "members"
        plain.write_bytes(lzma.decompress(path.read_bytes()))
        folder.mkdir()
        unpack(plain, folder)
        if read_json(folder / "bundle.json")["scoring"] != SCORING_VERSION:
            shutil.rmtree(folder / "scores")
            pack(folder, plain)
        with opened(plain, Registry.read(), older=True) as bundle:
            yield bundle


def page(path: Path) -> str:
    """Return the leaderboard of a compressed bundle as one HTML page."""
    with tempfile.TemporaryDirectory() as temporary, decompressed(path) as bundle:
        merged = merge.Merge(Store.open(Path(temporary) / "store"))
        merge.add(merged, bundle, {}, bundle.manifest)
        manifest = merge.finish(merged, bundle.manifest.name, bundle.manifest.title, bundle.manifest, [])
        report = score_and_report(manifest, Path(temporary) / "page.html", quiet)
        if report.failed:
            raise SystemExit("\n".join(report.failures()))
        return report.page.read_text(encoding="utf-8")


def add(path: Path) -> Path:
    """Compress a bundle into docs/live; return the new file."""
    target = LIVE / f"{path.stem}{ENDING}"
    write_bytes(target, lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    return target


def renew(path: Path) -> Path:
    """Score a compressed bundle with the scoring of today, and write it again."""
    with tempfile.TemporaryDirectory() as temporary, decompressed(path) as bundle:
        manifest, new = bundle.manifest, Path(temporary) / f"{name_of(path)}.zip"
        score_all(manifest, quiet)
        shutil.rmtree(bundle.folder / "scores", ignore_errors=True)
        for run_id in manifest.run_of:
            write_scores(manifest, manifest, run_id, bundle.folder, exact=True)
        about = {**bundle.about, "scoring": SCORING_VERSION, "versions": versions()}
        write_bytes(bundle.folder / "bundle.json", canonical_json(about))
        pack(bundle.folder, new)
        return add(new)


def main() -> None:
    """Add, renew or render the bundles."""
    parser = argparse.ArgumentParser(description="Live pages of the site")
    parser.add_argument("command", choices=["add", "renew", "write"])
    parser.add_argument("path", type=Path, nargs="?")
    asked = parser.parse_args()
    if asked.command == "renew":
        written = [renew(path) for path in bundles()]
    elif asked.path is None:
        parser.error(f"{asked.command} needs a path")
    elif asked.command == "add":
        written = [add(asked.path)]
    else:
        written = [asked.path / f"{name_of(path)}.html" for path in bundles()]
        for path, target in zip(bundles(), written, strict=True):
            write_bytes(target, page(path).encode())
    for path in written:
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
