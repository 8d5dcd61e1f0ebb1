"""The live pages of the site, docs/live/*.html: leaderboards that anybody can open without an installation.

    PYTHONPATH=. python docs/live_pages.py add BUNDLE.zip    # puts a bundle of `bench export` into docs/live, compressed
    PYTHONPATH=. python docs/live_pages.py renew             # scores the bundle again, after SCORING_VERSION was raised
    PYTHONPATH=. python docs/live_pages.py figures           # writes the numbers of the bundle in live.md and README.md, after a renewal
    PYTHONPATH=. python docs/live_pages.py write STORE       # writes both pages and all these numbers; STORE: has the grid `demo`

Nothing in a bundle is compressed, so the repository has it as NAME.zip.xz, a third of the size. Its page is computed from the logits
and labels with the scoring of today, so a bundle of an older scoring version gives the page of today, too. The page of the demo is
that of its store, because a bundle has no images and no heat maps.
"""

import argparse
import contextlib
import datetime as dt
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
from bench.planning.manifest import read_manifest
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import versions
from bench.results.score_runs import score_all
from bench.results.write_report import Report, score_and_report
from bench.store.store import Store, canonical_json, write_bytes
from reports import extensions, hooks, verdicts
from reports.formatting import listing, places
from reports.page import render
from reports.report_data.headline_rows import MACRO, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import read
from reports.sections.ranking_choices import of_one_finding
from reports.sentences.members import no_mean
from reports.tables import Tables

LIVE = Path(__file__).with_name("live")
ENDING = ".zip.xz"
README = LIVE.parents[1] / "README.md"
DEMO = LIVE / "demo.html"
NAMES = {"medpix": "MedPix"}  # of hospitals, as people write them
# in documents, around what `figures` and `write` write
MARKS = ("<!-- figures of the bundle -->", "<!-- end of figures -->")
DEMO_MARKS = ("<!-- figures of the demo -->", "<!-- end of the demo -->")


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


@contextlib.contextmanager
def reported(path: Path) -> Iterator[Report]:
    """Yield the report of a compressed bundle: the page and its tables."""
    with tempfile.TemporaryDirectory() as temporary, decompressed(path) as bundle:
        merged = merge.Merge(Store.open(Path(temporary) / "store"))
        merge.add(merged, bundle, {}, bundle.manifest)
        manifest = merge.finish(merged, bundle.manifest.name, bundle.manifest.title, bundle.manifest, [])
        report = score_and_report(manifest, Path(temporary) / "page.html", quiet)
        if report.failed:
            raise SystemExit("\n".join(report.failures()))
        yield report


def named(tables: Tables) -> Tables:
    """Return the tables with the names of hospitals as people write them, and the day of the page."""
    datasets = {key: {**texts} for key, texts in tables.meta["datasets"].items()}
    for key in NAMES.keys() & datasets.keys():
        datasets[key] |= {"title": NAMES[key], "short": NAMES[key]}
    meta = {**tables.meta, "datasets": datasets, "page_date": dt.datetime.now(dt.UTC).date().isoformat()}
    return Tables(meta, {**tables.frames, "cohorts": tables["cohorts"].replace({"title": NAMES})})


def page(path: Path) -> str:
    """Return the leaderboard of a compressed bundle as one HTML page."""
    with reported(path) as report:
        return render(named(report.tables))


def demo_figures(tables: Tables) -> str:
    """Return the Markdown between DEMO_MARKS in README: the numbers of the page of the demo."""
    data = read(tables)
    first, *others = data.ranked
    notes = [module.gap_note(data)[1] for module in extensions.modules(hooks.Sections)]
    tie = "a tie" if others and others[0].group == first.group else "a clear difference"
    return " ".join(
        [
            f"- **Demo** ([page](docs/live/{DEMO.name})).",
            *(f"{text.rstrip('.')}." for text in verdicts.titles(data) if text),
            f"The mean gap in AUROC is {data.hospitals.mean_gap.with_interval}.",
            *filter(None, notes),
            f"The first network of the ranking leads the second by {first.lead.with_interval} external AUROC: {tie}.",
            "Results on synthetic hospitals do not apply to real hospitals.",
        ]
    )


def figures(path: Path) -> dict[Path, str]:
    """Return the Markdown between MARKS in each document: the numbers of the page of real hospitals."""
    with reported(path) as report:
        data = read(named(report.tables))
    recipes = sorted(data.ranked, key=lambda recipe: recipe.name)

    def auroc(recipe: Run, hospital: str, finding: str = MACRO) -> Estimate:
        return data.cells[recipe.id, hospital, finding]

    scores = report.tables["scores"]
    scores = scores[(scores["metric"] == "auroc") & (scores["finding"] == MACRO) & (scores["split"] != "val")]
    num_findings = dict(zip(scores["dataset"], scores["num_findings"], strict=True))
    rows = [["hospital", "findings scored", *(f"AUROC {recipe.name}" for recipe in recipes), "mean gap"]]
    rows.append(["---"] * len(rows[0]))
    for hospital in data.hospitals.all:
        kind = ", internal test" * (hospital == data.hospitals.internal) + ", children" * (
            hospital in data.hospitals.children
        )  # a hospital of children is in no mean
        gap = hospital.mean_gap.with_interval if hospital.mean_gap.has_value else ""
        cells = [auroc(recipe, hospital.key).with_interval for recipe in recipes]
        rows.append([f"{hospital.short}{kind}", str(num_findings[hospital.key]), *cells, gap])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    means = listing([recipe.score.with_interval for recipe in recipes])
    score, why = of_one_finding(data) or "mean external AUROC", no_mean(data.members(recipes[0]))
    (children,) = data.hospitals.children
    wrong = [auroc(recipe, children.key, "Pneumonia") for recipe in recipes]
    inside = listing([auroc(recipe, data.hospitals.internal.key, "Pneumonia").text for recipe in recipes])
    internal = [auroc(recipe, data.hospitals.internal.key).value for recipe in recipes]
    return {
        LIVE.with_suffix(".md"): f"""{table}

- **Hospitals of adults**: {score} {means}. {why}
- **Pneumonia in children**: AUROC {listing([e.with_interval for e in wrong])}; in the internal test {inside}.""",
        README: (
            f"- **Real radiographs** ([page](docs/live/{name_of(path)}.html), [about it](docs/live.md#a-real-leaderboard)). "
            f"{len(recipes)} networks trained on NIH images: "
            f"internal AUROC {_range(internal)}, {score} (adults) {_range([recipe.score.value for recipe in recipes])}. {why} "
            f"In children, they rank Pneumonia the wrong way round ({_range([e.value for e in wrong])})."
        ),
    }


def _range(values: list[float]) -> str:
    return f"{places(min(values))} to {places(max(values))}"


def with_figures(text: str, block: str, marks: tuple[str, str] = MARKS) -> str:
    """Return a document with another block between two marks."""
    start, end = (text.index(mark) for mark in marks)
    return f"{text[: start + len(marks[0])]}\n{block}\n{text[end:]}"


def write_figures(blocks: dict[Path, str], marks: tuple[str, str] = MARKS) -> list[Path]:
    """Write blocks of numbers into documents; return these documents."""
    for path, block in blocks.items():
        path.write_text(with_figures(path.read_text(encoding="utf-8"), block, marks), encoding="utf-8")
    return [*blocks]


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
            write_scores(manifest, run_id, bundle.folder)
        about = {**bundle.about, "scoring": SCORING_VERSION, "versions": versions()}
        write_bytes(bundle.folder / "bundle.json", canonical_json(about))
        pack(bundle.folder, new)
        return add(new)


def main() -> None:
    """Add or renew a bundle, or write pages and numbers."""
    parser = argparse.ArgumentParser(description="Live pages of the site")
    parser.add_argument("command", choices=["add", "renew", "figures", "write"])
    parser.add_argument("path", type=Path, nargs="?")
    asked = parser.parse_args()
    if asked.command == "renew":
        written = [renew(path) for path in bundles()]
    elif asked.command == "figures":
        written = write_figures(figures(bundles()[0]))
    elif asked.path is None:
        parser.error(f"{asked.command} needs a path")
    elif asked.command == "add":
        written = [add(asked.path)]
    else:
        report = score_and_report(read_manifest(Store.open(asked.path), "demo"), None, quiet)
        if report.failed:
            raise SystemExit("\n".join(report.failures()))
        tables = named(report.tables)
        written = write_figures({README: demo_figures(tables)}, DEMO_MARKS) + write_figures(figures(bundles()[0]))
        pages = {DEMO: render(tables)} | {LIVE / f"{name_of(path)}.html": page(path) for path in bundles()}
        for path, text in pages.items():
            write_bytes(path, text.encode())
            written.append(path)
    for path in written:
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
