"""`bench export`, `bench verify` and `bench merge`: exchange runs as bundles."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.group import SHARE
from bench.cli.text_tables import wrapped
from harmonize.errors import ConfigError
from reports.formatting import plural

if TYPE_CHECKING:
    from bench.planning.manifest import Manifest


SignersOption = Annotated[
    Path | None, typer.Option("--signers", help="Require a valid BUNDLE.sig from a signer in this file.")
]


def add(app: typer.Typer) -> None:
    """Add the commands `bench export`, `bench verify` and `bench merge`."""
    app.command(
        rich_help_panel=SHARE,
        epilog=options.examples(
            "bench export -o ours.zip",
            "bench export 3fa9 17f7 -o two.zip --sign ~/.ssh/id_ed25519",
        ),
    )(export)
    app.command(
        rich_help_panel=SHARE,
        epilog=options.examples("bench verify ours.zip", "bench verify ours.zip --signers signers.txt"),
    )(verify)
    app.command(rich_help_panel=SHARE, epilog=options.examples("bench merge a.zip b.zip --store together"))(merge)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle file to write, e.g. ours.zip.")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="First characters of run ids. Default: all finished runs of the grid.",
        ),
    ] = None,
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    sign: Annotated[Path | None, typer.Option("--sign", help="Sign with this SSH key; writes a .sig file.")] = None,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write runs as a bundle that others can score.

    A bundle has logits, labels and scores, but no images and no ids of patients or images.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.planning.stored_names import store_with

    _check_export(output, sign)
    opened, entries = store_with(store, grid, runs or ()), Registry.read(registry)
    from bench.extensions.bundles import export as exporting  # slow imports: a wrong name was refused above
    from bench.planning.manifest import read_manifest
    from bench.store.sign import sign as signed

    manifest = read_manifest(opened, grid)
    ids = _exported_ids(manifest, runs or ())
    with choose_display(quiet) as display:
        bundle = exporting.export(manifest, ids, output, entries, display.progress)
    signature = str(signed(output, sign)) if sign is not None else ""
    if as_json:
        facts = {
            "bundle": str(output),
            "id": bundle.id,
            "key": str(bundle.key),
            "runs": ids,
            "scores": bundle.scores,
            "signature": signature,
        }
        typer.echo(json.dumps(facts))
        return
    counts = f"{bundle.runs} runs x {bundle.cohorts} cohorts, {bundle.images:,} images, {bundle.scores:,} scores"
    lines = [
        f"bundle: {output}: {counts}",
        f"id: {bundle.id}",
        f"key: {bundle.key} (identifies patients: keep it private)",
        "patients were renumbered at random, so intervals differ slightly from the store",
    ]
    if signature:
        lines.append(f"signature: {signature}")
    typer.echo("\n".join(wrapped(lines)))


def _check_export(output: Path, key: Path | None) -> None:
    """Raise ConfigError for options of `bench export` that cannot work, before anything is written; `key`: SSH key."""
    from bench.store.sign import check_key

    if output.suffix != ".zip":
        raise ConfigError(f"{output.name!r} does not end in .zip", "--output", "use a name like ours.zip")
    if not output.parent.is_dir():
        raise ConfigError("the folder does not exist", str(output.parent), "create it, or write to another folder")
    if key is not None:
        check_key(key)


def _exported_ids(manifest: "Manifest", names: Sequence[str]) -> list[str]:
    """Return the ids of the named runs, or of all finished runs of the grid without names.

    `names`: first characters of run ids. Raises ConfigError for a run of another grid, and if no run is finished.
    """
    from bench.planning.stored_names import find_run
    from bench.results.read_predictions import unfinished

    grid, planned = manifest.name, manifest.run_of
    ids = [find_run(manifest.store, name) for name in names]
    for run_id in ids:
        if run_id not in planned:
            what = f"run {run_id} does not belong to the grid {grid}"
            raise ConfigError(what, "bench export", "name the run's grid with --grid")
    ids = ids or [run_id for run_id, run in planned.items() if not unfinished(manifest, run)]
    if not ids:
        where = str(manifest.store.root)
        raise ConfigError(f"no run of the grid {grid} is finished", where, "finish the runs with `bench run`")
    return ids


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle written by `bench export`.")],
    signers: SignersOption = None,
    hub_results: Annotated[
        str | None,
        typer.Option(
            "--hub-results",
            metavar="OWNER/NAME",
            help="Also write the files of a Hugging Face leaderboard in this dataset repository, next to the bundle.",
        ),
    ] = None,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Recompute and check the numbers in a bundle.

    Scores are recomputed from the bundle's logits and labels. The output also lists the facts that cannot be
    recomputed. Exit code 2: a number differs.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.extensions.bundles.archive import check_is_file
    from bench.store.sign import signer
    from bench.system.hub_client import check_name as check_repository

    check_is_file(bundle)
    if hub_results:
        check_repository(hub_results, "--hub-results")
    signed_by = signer(bundle, signers) if signers is not None else ""
    entries = Registry.read(registry)
    from bench.extensions.bundles import verify as verifying  # slow imports: a wrong request was refused above
    from bench.extensions.bundles.hub_results import write_hub_results

    with verifying.opened(bundle, entries) as opened, choose_display(quiet) as display:
        manifest = opened.manifest
        rows, exact = verifying.verify(opened, display.progress)
        written = bundle.with_name(f"{bundle.stem}-hub")
        files = write_hub_results(opened, hub_results, written) if hub_results else []
    if as_json:
        facts = {
            "bundle": str(bundle),
            "id": opened.id,
            "runs": list(manifest.run_of),
            "scores": rows,
            "bit_by_bit": exact,
        }
        facts |= {"stated": opened.stated, "signed_by": signed_by, "hub_results": files}
        typer.echo(json.dumps(facts))
        return
    cohorts = ", ".join(cohort.name for cohort in manifest.cohorts)
    precision = "exactly" if exact else "up to rounding (other package versions or another processor)"
    lines = [
        f"{bundle}: {len(manifest.run_of)} runs of the grid {manifest.name}, cohorts {cohorts}",
        f"{rows:,} rows of scores were recomputed from logits and labels: all agree {precision}",
        f"stated by the submitter, not checked: {'; '.join(opened.stated)}",
        f"id: {opened.id}",
        f"signed by {signed_by}" if signed_by else "signature not checked (use --signers)",
    ]
    if files:
        lines.append(f"leaderboard of {hub_results}: {len(files)} files in {written}")
    typer.echo("\n".join(wrapped(lines)))


def merge(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", help="Bundles written by `bench export`.")],
    store: Annotated[Path, typer.Option("--store", help="New folder for the merged store.")],
    name: Annotated[
        str, typer.Option("--as", help="Name of the merged grid. Default: the name of the first bundle's grid.")
    ] = "",
    cohort: options.CohortsOption = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            metavar="BUNDLE:OLD=NEW",
            help="Rename a cohort of a bundle if two cohorts have the same name; repeat for several.",
        ),
    ] = None,
    signers: SignersOption = None,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Merge bundles into one store and one leaderboard.

    Each bundle is verified first. With --signers, the page names the signer of each run.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.grid_file import check_name
    from bench.config.registry import Registry
    from bench.extensions.bundles.archive import check_is_file
    from bench.store.sign import signer

    if len({bundle.name for bundle in bundles}) < len(bundles):
        fix = "rename one file: messages and the page identify a bundle by its file name"
        raise ConfigError("two bundles have the same file name", "bench merge", fix)
    if name:
        check_name(name, "--as")
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        fix = "name a new --store and merge all bundles into it"
        raise ConfigError("the folder already exists and is not empty", str(store), fix)
    for bundle in bundles:
        check_is_file(bundle)
    new_names = _new_names(rename or [], [bundle.name for bundle in bundles])
    signed_by = [signer(bundle, signers) if signers is not None else "" for bundle in bundles]
    entries = Registry.read(registry)
    from bench.extensions.bundles import merge as merging  # slow imports: a wrong request was refused above
    from bench.extensions.bundles import verify as verifying
    from bench.results.score_runs import score_all
    from bench.results.summary import summary
    from bench.store.store import Store

    store.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{store.name}.", dir=store.parent))
    try:
        with choose_display(quiet) as display:
            merged, first = merging.Merge(Store.open(building)), None
            for bundle, signed in zip(bundles, signed_by, strict=True):
                with verifying.opened(bundle, entries) as opened:
                    verifying.verify(opened, display.progress)
                    first = first or opened.manifest
                    merging.add(merged, opened, new_names.get(bundle.name, {}), first, signed)
            assert first is not None
            title = f"{first.title}: {len(bundles)} bundles" if len(bundles) > 1 else first.title
            manifest = merging.finish(merged, name or first.name, title, first, cohort or [])
            scored = score_all(manifest, display.progress)
        building.chmod(0o755)
        if store.exists():
            store.rmdir()
        building.rename(store)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    cohorts = ", ".join(cohort.name for cohort in manifest.cohorts)
    runs = f"{len(scored)} of {len(manifest.run_of)} runs"
    tested = f"{store}: {runs} tested on {cohorts}, from {plural(len(bundles), 'bundle')}"
    lines = [tested, *summary(replace(manifest, store=Store.open(store)))]
    typer.echo("\n".join([*wrapped(lines), f"page: bench report --store {store}"]))


def _new_names(renames: list[str], bundles: list[str]) -> dict[str, dict[str, str]]:
    """Return the values of --rename as {file name of the bundle: {old name of a cohort: new name}}.

    `renames`: texts "BUNDLE:OLD=NEW". `bundles`: file names of all bundles. Raises ConfigError for an unknown bundle or an invalid
    new name.
    """
    from bench.extensions.bundles.limits import COHORT_NAME

    out: dict[str, dict[str, str]] = {}
    for rename in renames:
        bundle, _, names = rename.rpartition(":")
        old, _, new = names.partition("=")
        if bundle not in bundles or not COHORT_NAME.fullmatch(new) or new == "external":
            fix = f"write BUNDLE:OLD=NEW; NEW has letters, digits, . _ -; bundles: {', '.join(bundles)}"
            raise ConfigError(f"invalid rename {rename!r}", "--rename", fix)
        out.setdefault(bundle, {})[old] = new
    return out
