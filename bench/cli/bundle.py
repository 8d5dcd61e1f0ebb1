"""Commands about bundles: `bench export`, `bench verify`, `bench merge`."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import run_ids
from bench.cli.options import CohortsOption, JsonOption, QuietOption, RegistryOption, StoredGridOption, StoreOption
from harmonize.errors import ConfigError

_THREADS = 2


def add_bundle_commands(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(
        epilog="Examples:  bench export -o ours.zip   |   bench export 3fa9 17f7 -o two.zip --sign ~/.ssh/id_ed25519"
    )(export)
    app.command(
        epilog="Examples:  bench verify ours.zip   |   bench verify ours.zip --data /data --signers signers.txt"
    )(verify)
    app.command(epilog="Example:  bench merge a.zip b.zip --store together && bench report --store together")(merge)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the bundle, e.g. ours.zip.")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Beginnings of ids; without, every finished run of the grid.", autocompletion=run_ids),
    ] = None,
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    keep_order: Annotated[
        bool,
        typer.Option("--keep-order", help="Number patients in the order of their ids: intervals stay to the last bit."),
    ] = False,
    sign: Annotated[Path | None, typer.Option("--sign", help="Sign with this SSH key, too: writes BUNDLE.sig.")] = None,
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write runs as a bundle that others can score: no image, no id. It holds logits, labels and scores."""
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.planning.manifest import read_manifest
    from bench.planning.run import find_run
    from bench.results.read_predictions import unfinished
    from bench.sharing.bundle import export as exporting
    from bench.sharing.bundle.sign import sign as signed
    from bench.store.store import Store

    if output.suffix != ".zip":
        raise ConfigError(f"{output.name!r} is no name of a bundle", "--output", "let it end in .zip")
    if not output.parent.is_dir():
        raise ConfigError("no such folder", str(output.parent), "make it, or write elsewhere")
    opened = Store.open(store, create=False)
    manifest = read_manifest(opened, grid)
    planned = [run["id"] for run in (*manifest.runs, *manifest.derived)]
    ids = [find_run(opened, name) for name in runs or ()]
    for run_id in ids:
        if run_id not in planned:
            raise ConfigError(
                f"run {run_id} is not of the grid {manifest.content['name']}", "bench export", "name its grid: --grid"
            )
    ids = ids or [run["id"] for run in (*manifest.runs, *manifest.derived) if not unfinished(manifest, run)]
    if not ids:
        raise ConfigError(
            f"no run of the grid {manifest.content['name']} is finished", str(store), "finish them: `bench run`"
        )
    with choose_display(quiet) as display:
        done = exporting.export(manifest, ids, output, keep_order, Registry.read(registry), _THREADS, display.progress)
    if as_json:
        said = {"bundle": str(done.path), "id": done.id, "key": str(done.key), "runs": ids, "scores": done.scores}
        typer.echo(json.dumps(said | {"signature": str(signed(output, sign)) if sign is not None else ""}))
        return
    typer.echo(
        f"bundle: {done.path}: {done.runs} runs x {done.cohorts} cohorts, {done.images:,} images, {done.scores:,} scores"
    )
    typer.echo(f"id: {done.id}")
    typer.echo(f"key: {done.key} leads back to patients and stays with you: do not pass it on")
    order = (
        "in the order of their ids: intervals are the store's"
        if keep_order
        else "in an order drawn anew: intervals differ from the store's"
    )
    typer.echo(f"patients are numbered {order}")
    if sign is not None:
        typer.echo(f"signature: {signed(output, sign)}")


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle of `bench export`.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of datasets or data.yaml: hold the labels against it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="Key of the ordinals; by default the one beside the bundle.")
    ] = None,
    signers: Annotated[
        Path | None, typer.Option("--signers", help="File of allowed signers: require BUNDLE.sig by one of them.")
    ] = None,
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute every number of a bundle again. From its logits and labels; exit 2 with the reason when one is another."""
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.sharing.bundle import verify as verifying
    from bench.sharing.bundle.sign import signer

    who = signer(bundle, signers) if signers is not None else ""
    with verifying.opened(bundle, Registry.read(registry)) as opened, choose_display(quiet) as display:
        rows, exact = verifying.verify(opened, _THREADS, display.progress)
        content = opened.manifest.content
        said = verifying.check_data(opened, data, key or bundle.with_suffix(".key.parquet")) if data is not None else []
    if as_json:
        runs = [run["id"] for run in (*content["runs"], *content["derived"])]
        facts = {"bundle": str(bundle), "id": opened.id, "runs": runs, "scores": rows, "bit_by_bit": exact}
        typer.echo(json.dumps(facts | {"signed_by": who, "data": said}))
        return
    cohorts = ", ".join(cohort["name"] for cohort in content["cohorts"])
    how = "bit by bit" if exact else "but for rounding: it was made with other versions or another processor"
    typer.echo(
        f"{bundle}: {len(content['runs']) + len(content['derived'])} runs of the grid {content['name']}, cohorts {cohorts}"
    )
    typer.echo(f"{rows:,} rows of scores are what its logits and labels give, {how}")
    for line in said:
        typer.echo(line)
    typer.echo(f"id: {opened.id}")
    typer.echo(f"signed by {who}" if who else "signature not checked: name who may sign with --signers")
    if data is None:
        typer.echo("labels not held against data: --data DATA, with the key, does")


def merge(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles of `bench export`.")],
    store: Annotated[Path, typer.Option("--store", help="New folder to write.")],
    name: Annotated[str, typer.Option("--as", help="Name of the grid; by default that of the bundles.")] = "",
    cohort: CohortsOption = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", help="BUNDLE:OLD=NEW, for cohorts that bear one name; may be repeated."),
    ] = None,
    registry: RegistryOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make one store and one leaderboard of bundles. Each is verified first."""
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.results.score_runs import score_all
    from bench.sharing.bundle import merge as merging
    from bench.sharing.bundle import verify as verifying
    from bench.store.store import Store
    from bench.study.run_grid import summary

    if len({bundle.name for bundle in bundles}) < len(bundles):
        raise ConfigError(
            "two bundles have one file name", "bench merge", "rename one: messages and the page name them"
        )
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise ConfigError("the folder is there already", str(store), "merge all bundles at once into a new --store")
    names = _renamed(rename or [], [bundle.name for bundle in bundles])
    known = Registry.read(registry)
    store.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{store.name}.", dir=store.parent))
    try:
        with choose_display(quiet) as display:
            merged, first = merging.Merged(Store.open(building)), None
            for bundle in bundles:
                with verifying.opened(bundle, known) as opened:
                    verifying.verify(opened, _THREADS, display.progress)
                    first = first or dict(opened.manifest.content)
                    merging.add(merged, opened, names.get(bundle.name, {}), first)
            assert first is not None
            title = f"{first['title']}: {len(bundles)} bundles" if len(bundles) > 1 else str(first["title"])
            manifest = merging.finish(merged, name or str(first["name"]), title, first, cohort or [])
            scored = score_all(manifest, display.progress, _THREADS)
        building.chmod(0o755)
        if store.exists():
            store.rmdir()
        building.rename(store)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    every = [*manifest.runs, *manifest.derived]
    typer.echo(
        f"{store}: {len(scored)} of {len(every)} runs tested on {', '.join(c['name'] for c in manifest.cohorts)}, from {len(bundles)} bundles"
    )
    typer.echo("\n".join(summary(Store.open(store), str(manifest.content["name"]))))
    typer.echo(f"page: bench report --store {store}")


def _renamed(asked: list[str], bundles: list[str]) -> dict[str, dict[str, str]]:
    """Return old -> new names of cohorts by bundle.

    Raises ConfigError for a bundle that is not there or a name that no cohort can have.
    """
    from bench.sharing.bundle.read_bundle import COHORT_NAME

    out: dict[str, dict[str, str]] = {}
    for each in asked:
        bundle, _, names = each.rpartition(":")
        old, _, new = names.partition("=")
        if bundle not in bundles or not COHORT_NAME.fullmatch(new) or new == "external":
            raise ConfigError(
                f"cannot rename by {each!r}", "--rename", f"write BUNDLE:OLD=NEW; bundles: {', '.join(bundles)}"
            )
        out.setdefault(bundle, {})[old] = new
    return out
