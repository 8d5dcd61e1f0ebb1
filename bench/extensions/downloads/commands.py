"""`bench data get`: download an open dataset, or name the page of its owner."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.data import data_app
from bench.cli.options import QuietOption, examples
from harmonize.disk_space import size
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.progress import Progress

if TYPE_CHECKING:
    from bench.extensions.downloads.sources import DownloadSource, RemoteFile

# in the dataset's folder: url of each file that was downloaded -> size, sha256, and the path of the first file that came from it
RECORD = "downloads.json"


def add(_app: typer.Typer) -> None:
    """Add the command `get` to the group `bench data`."""
    data_app.command(
        epilog=examples(
            "bench data get montgomery /data",
            "bench data get shenzhen /data --accept",
            "bench data get nih /data --parts 1",
        )
    )(get)


def get(
    name: Annotated[str, typer.Argument(help="Dataset, such as montgomery. An unknown name lists all.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of datasets; the files go into DIR/NAME.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the licence and start; without this option, the command asks.")
    ] = False,
    parts: Annotated[
        str,
        typer.Option("--parts", metavar="N", help="Parts of a release in parts, such as 1 or 1-3,12; default: all."),
    ] = "",
    quiet: QuietOption = False,
) -> None:
    """Download an open dataset; print its licence and size first.

    Size and SHA-256 are compared; where no hash is published, the first download
    records it. For a dataset without a public download, the owner's page is printed. No other command downloads a dataset.
    """
    from bench.cli.progress_bars import choose_display
    from bench.extensions.downloads.sources import sources

    known = sources()
    if name not in known:
        raise ConfigError(f"no dataset {name!r}", "bench data get", ConfigError.suggestion(name, known))
    source, root = known[name], folder / name
    if parts:
        source = _with_parts(source, name, parts)
    typer.echo("\n".join(_description(name, source, root)))
    if not source.files:
        return
    recorded = root / RECORD
    record: dict[str, Any] = json.loads(recorded.read_bytes()) if recorded.is_file() else {}
    # an archive is deleted after it was unpacked, so its first file stands for it
    there = [url for url, facts in record.items() if (root / facts["path"]).exists()]
    missing = [file for file in source.files if file.url not in there]
    if not missing:
        typer.echo(f"{root} has all files; next: bench check --quick --data {folder}")
        return
    if not accept:
        if not sys.stdin.isatty():
            what = "cannot ask for the licence: this is not a terminal"
            raise ConfigError(what, "bench data get", "read the licence, then add --accept")
        typer.confirm("Do you accept the licence, and start the download?", abort=True)
    root.mkdir(parents=True, exist_ok=True)
    with choose_display(quiet) as display:
        for file in missing:
            typer.echo(_get_file(file, root, record, display.progress))
    typer.echo(f"{root} is complete; next: bench check --quick --data {folder}")


def _with_parts(source: "DownloadSource", name: str, parts: str) -> "DownloadSource":
    """Return a source with only some parts of its release; raise ConfigError for parts that it does not have."""
    known = {file.part for file in source.files} - {0}  # files of part 0 belong to all parts
    ends = [text.strip().partition("-") for text in parts.split(",")]
    try:
        ranges = [(int(first), int(last if dash else first)) for first, dash, last in ends]
    except ValueError:
        ranges = [(-1, -1)]  # no dataset has this part
    if not all(first in known and last in known for first, last in ranges):
        fix = f"choose from 1 to {max(known)}, such as 1 or 1-3,5" if known else "remove --parts"
        raise ConfigError(f"{name} has no parts {parts!r}", "--parts", fix)
    chosen = {part for part in known for first, last in ranges if first <= part <= last}
    return replace(source, files=tuple(file for file in source.files if file.part in {0, *chosen}))


def _description(name: str, source: "DownloadSource", root: Path) -> Iterator[str]:
    """Yield the lines about a dataset: licence, citation, and its files or its owner's page."""
    facts = labels_yaml()["datasets"][name]
    yield f"{facts['title']} ({facts['place']})"
    yield f"licence:  {facts['licence']}"
    yield f"cite:     {facts['citation']}"
    yield f"owner:    {source.page}"
    if not source.files:
        yield f"required: {source.needs}"
        yield f"There is no direct public download. Put the owner's files into {root}: {source.put}"
        yield "the layout: docs/real-data.md"
        return
    if source.note:
        yield f"note:     {source.note}"
    for file in source.files:
        text = size(file.size) if file.size else "size not published"
        yield f"file:     {file.local_name}, {text}, SHA-256 {'known' if file.sha256 else 'recorded at the first download'}, {file.url}"
    yield f"into:     {root}"


def _get_file(file: "RemoteFile", root: Path, record: dict[str, Any], progress: Progress) -> str:
    """Download and unpack a file, add its size and hash to the record, and delete the archive; return a line about the file."""
    import pooch

    from bench.extensions.downloads.receive import receive, unpack
    from bench.store.store import write_bytes

    place = root / file.into
    place.mkdir(parents=True, exist_ok=True)
    recorded = record.get(file.url, {}).get("sha256", "")
    path = receive(file, root, file.sha256 or recorded, progress)
    sha256 = file.sha256 or recorded or pooch.file_hash(str(path))
    facts = {"size": path.stat().st_size, "sha256": sha256}
    files = [path]
    if file.is_archive:
        try:
            files = unpack(path, place, file.top)
        finally:
            path.unlink()
    facts["path"] = files[0].relative_to(root).as_posix()
    record[file.url] = facts
    write_bytes(root / RECORD, json.dumps(record, indent=1).encode())
    hashed = "as recorded before" if recorded else f"recorded in {RECORD}"
    if file.sha256:
        hashed = "as known"
    return f"{file.local_name}: {len(files):,} files; SHA-256 {hashed}: {sha256}"
