"""The `bench` command: parse, call, print. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 something failed, 2 the request was wrong, 130 interrupted.
"""

import errno
import json
import sys
from dataclasses import asdict
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.app import add_app_command
from bench.cli.bundle import add_bundle_commands
from bench.cli.check import CHECK_EXAMPLES, check
from bench.cli.compare import EXAMPLES, compare
from bench.cli.data import data_app
from bench.cli.evaluate import EVALUATE_EXAMPLES, evaluate
from bench.cli.explain import EXAMPLES as EXPLAIN_EXAMPLES
from bench.cli.explain import explain
from bench.cli.group import Commands, bench
from bench.cli.options import (
    DataOption,
    DeviceOption,
    DryRunOption,
    EstimateOption,
    ExecutorOption,
    GridOption,
    JsonOption,
    OnePassOption,
    OutputOption,
    PerDeviceOption,
    QuietOption,
    RegistryOption,
    StoredGridOption,
    StoreOption,
    TogetherOption,
    WeightsOption,
    WithImagesOption,
    WorkersOption,
)
from bench.cli.score import SCORE_EXAMPLES, score
from bench.cli.share import add_share_commands
from bench.cli.store import add_store_commands
from bench.cli.stored_run import add_run_commands
from harmonize.errors import ConfigError, CxrError, StoreError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Start with: bench run --grid demo",
)
app.callback()(bench)
app.add_typer(data_app, name="data")
app.command("check", epilog=CHECK_EXAMPLES)(check)
app.command("compare", epilog=EXAMPLES)(compare)
add_app_command(app)
app.command("explain", epilog=EXPLAIN_EXAMPLES)(explain)
app.command("evaluate", epilog=EVALUATE_EXAMPLES)(evaluate)
add_run_commands(app)
app.command("score", epilog=SCORE_EXAMPLES)(score)
add_bundle_commands(app)
add_store_commands(app)
add_share_commands(app)


@app.command(
    epilog="Examples:  bench run --grid demo   |   bench run --grid real-mini --data data.yaml --weights weights/"
)
def run(
    grid: GridOption,
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
    per_device: PerDeviceOption = 0,
    executor: ExecutorOption = "local",
    together: TogetherOption = 1,
    only: Annotated[
        str | None, typer.Option("--only", help="Only runs whose id begins so or whose architecture matches.")
    ] = None,
    one_pass: OnePassOption = False,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
    with_images: WithImagesOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Do a whole grid: train, predict, score, write the leaderboard. What is done already is not done again."""
    from bench.cli.estimate import estimated
    from bench.cli.progress_bars import choose_display
    from bench.executors.choose_executor import choose_executor
    from bench.planning.plan import describe, describe_derived, make_plan, phantom_root
    from bench.store.store import Store
    from bench.study import run_grid as study
    from bench.system.devices import check_device, default_workers

    check_device(device)
    number = workers or default_workers()
    chosen_executor = choose_executor(executor, device, number, per_device, together)
    opened = Store.open(store)
    request = study.Request.read(grid, registry, data, weights)
    if data is None and not as_json:
        root = phantom_root(request.grid, opened)
        later = "not made yet" if dry_run and not estimate else "made once"
        made = "found" if (root / "phantom.json").is_file() else later
        typer.echo(f"no --data: phantom cohorts (synthetic images), {made}, under {root}")
        if made == "not made yet":
            typer.echo(
                f"grid {request.grid.name}: {len(request.grid.configs)} runs; their ids follow from the cohorts. nothing was run (--dry-run)"
            )
            return
    with choose_display(quiet) as display:
        plan = make_plan(
            request.grid, request.registry, opened, data, weights, number, request.command, display.progress
        )
        chosen, derived = study.select_runs(plan, only)
        states = [opened.state(r.id) for r in chosen]
        if not as_json:
            words = {"done": "done", "started": "started", "failed": "failed", "absent": "to do"}
            counts = ", ".join(f"{states.count(s)} {w}" for s, w in words.items() if s in states)
            typer.echo(f"grid {plan.grid.name}: {len(chosen)} runs ({counts})")
            if dry_run:
                said = [*describe(chosen, opened), *describe_derived(derived, opened)]
                said += (
                    estimated(plan, chosen, derived, (device, number, per_device), display.progress) if estimate else []
                )
                typer.echo("\n".join([*said, "nothing was run (--dry-run)"]))
        if dry_run:
            if as_json:
                trained = [(r.id, {"architecture": r.config.architecture, "seed": r.config.seed}) for r in chosen]
                made_of = [(d.id, {"kind": d.kind, "name": d.name}) for d in derived]
                rows = [{"id": i, "state": opened.state(i), **facts} for i, facts in trained + made_of]
                typer.echo(json.dumps(rows))
            return
        result = study.execute(
            plan, chosen, derived, chosen_executor, number, display, with_images=with_images, one_pass=one_pass
        )
    if as_json:
        facts = {key: value for key, value in asdict(result).items() if key != "logs"}
        typer.echo(json.dumps(facts, default=str))
    else:
        typer.echo("\n".join(study.outcome(result, plan.grid.name, len(chosen), len(derived))))
        typer.echo("\n".join(study.summary(opened, plan.grid.name)))
        typer.echo(f"leaderboard: {result.page}")
    if result.failed or result.held:
        raise typer.Exit(1)


@app.command(
    "list",
    epilog='Examples:  bench list architectures "resnet*"   |   bench list architectures --check   |   bench list runs',
)
def list_(
    section: Annotated[
        str, typer.Argument(help="A registry section, grids, or runs.", autocompletion=completion.sections)
    ] = "",
    glob: Annotated[str, typer.Argument(help="Only names that match.", autocompletion=completion.entries)] = "*",
    compare: Annotated[
        bool, typer.Option("--check", help="Build each architecture, count, and compare with what is stated.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Of runs: only those that failed.")] = False,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what can be named in a grid, or what the store holds."""
    from bench.cli import list_tables
    from bench.config.grid_file import described, shipped_grids
    from bench.config.registry import SECTIONS, Registry

    if compare:
        if section != "architectures":
            raise ConfigError("--check is for architectures", "bench list", "bench list architectures --check")
        _check_architectures(glob, registry, quiet, as_json)
        return
    if failed and section != "runs":
        raise ConfigError("--failed is for runs", "bench list", "bench list runs --failed")
    if section == "runs":
        rows = _stored(store, glob, failed)
        names = [row[0] for row in rows]
    elif section == "grids":
        rows = [list(row) for row in described() if fnmatchcase(row[0], glob)]
        names = [row[0] for row in rows]
    elif section in SECTIONS or not section:
        known = Registry.read(registry)
        for error in known.refused.values():
            typer.echo(f"warning: {error}", err=True)
        if section:
            chosen = list_tables.entries(known, section, glob)
            names, rows = [entry.name for entry in chosen], list_tables.described(section, chosen)
        else:
            rows = [
                *list_tables.overview(known),
                ["grids", str(len(shipped_grids()))],
                ["runs", "what the store holds"],
            ]
            names = [row[0] for row in rows]
    else:
        known_words = (*SECTIONS, "grids", "runs")
        hint = "".join(f"did you mean {close!r}? " for close in get_close_matches(section, known_words, n=1))
        raise ConfigError(f"no section {section!r}", "bench list", f"{hint}sections: {', '.join(known_words)}")
    if rows or as_json:
        typer.echo(json.dumps(names) if as_json else "\n".join(list_tables.aligned(rows)))


def _stored(store: Path, glob: str, failed: bool) -> list[list[str]]:
    """Return a line per run of the store; that there is none goes to stderr."""
    from bench.cli import list_tables
    from bench.store.checksums import JSON_RECORDS, damaged_files
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    ids = [i for i in opened.run_ids() if fnmatchcase(i, glob) and (not failed or opened.state(i) == "failed")]
    if not ids:
        typer.echo("no run has failed" if failed else "no such run" if glob != "*" else "no run yet", err=True)
    folders = {i: opened.run_dir(i) for i in ids}
    damaged = {i: ", ".join(map(" ".join, damaged_files(folders[i], JSON_RECORDS).items())) for i in ids}
    return [
        [i, opened.state(i), *list_tables.stored_run(folders[i]), opened.reason(i) or damaged[i] or opened.remark(i)]
        for i in ids
    ]


def _check_architectures(glob: str, registry: Path | None, quiet: bool, as_json: bool) -> None:
    """Print what each architecture measures; exit 1 when one is not what the registry states."""
    from bench.cli.list_tables import aligned, entries
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.models.registry_check import HEADER, check

    chosen = entries(Registry.read(registry), "architectures", glob)
    with choose_display(quiet) as display:
        found = check(chosen, display.progress)
    if as_json:
        typer.echo(json.dumps([dict(zip(HEADER, figures.row(), strict=True)) for figures in found]))
    else:
        typer.echo("\n".join(aligned([HEADER, *(figures.row() for figures in found)])))
    if any(figures.deviates for figures in found):
        raise typer.Exit(1)


@app.command(epilog="Example:  bench report --grid demo -o leaderboard.html")
def report(
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    output: OutputOption = None,
    with_images: WithImagesOption = False,
    site: Annotated[
        Path | None, typer.Option(help="Write a folder instead: index, a page for each run, data as JSON and Parquet.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard of a grid from the store."""
    from bench.cli.progress_bars import choose_display
    from bench.planning.manifest import read_manifest
    from bench.store.store import Store
    from bench.study.run_grid import finish

    manifest = read_manifest(Store.open(store, create=False), grid)
    with choose_display(quiet) as display:
        page = finish(manifest, output, display, with_images, site)
    typer.echo(json.dumps({"page": str(page)}) if as_json else f"leaderboard: {page}")


def main() -> None:
    """Run the app; show a CxrError without traceback and exit 2, an interrupt as 130."""
    try:
        app()
    except CxrError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where, fix = str(error.filename or Path.cwd()), "make it writable, make room, or choose another --store"
        typer.echo(f"error: {StoreError(f'cannot write: {error.strerror}', where, fix)}", err=True)
        sys.exit(2)
    except SystemExit as leave:
        if leave.code == 130:
            typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise
