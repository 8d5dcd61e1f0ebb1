"""The `bench` command: parse, call, print. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 something failed, 2 the request was wrong, 130 interrupted.
"""

import errno
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harmonize.errors import ConfigError, CxrError, StoreError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train chest X-ray networks in one hospital, test them unchanged in others, and publish what is lost on the way.",
    epilog="Start with: bench run --grid demo",
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make synthetic cohorts.")
app.add_typer(data_app, name="data")

GridOption = Annotated[
    str, typer.Option("--grid", help="A grid file, or the name of a shipped grid (bench list grids).")
]
StoredGridOption = Annotated[
    str | None, typer.Option("--grid", help="Name of a grid in the store; needed when there are several.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Folder of datasets or data.yaml; without it phantom cohorts are made."
    ),
]
StoreOption = Annotated[Path, typer.Option("--store", envvar="BENCH_STORE", help="Folder of runs.")]
RegistryOption = Annotated[Path | None, typer.Option("--registry", help="Another registry.yaml.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Folder of safetensors files to start training from.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes at once; 0 = one per core.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the page.")]


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
    only: Annotated[
        str | None, typer.Option("--only", help="Only runs whose id begins so or whose architecture matches.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Do a whole grid: train and predict what is not done yet, score, write leaderboard.html."""
    from bench import study
    from bench.display import choose_display
    from bench.grid import Grid
    from bench.plan import describe, phantom_root
    from bench.registry import Registry
    from bench.store import Store

    opened = Store.open(store)
    number = workers or study.default_workers()
    if data is None and not as_json:
        asked = Grid.read(grid, Registry.read(registry))
        root = phantom_root(asked, opened)
        made = "found" if (root / "phantom.json").is_file() else "not made yet" if dry_run else "made once"
        typer.echo(f"no --data: phantom cohorts (synthetic images), {made}, under {root}")
        if made == "not made yet":
            typer.echo(
                f"grid {asked.name}: {len(asked.configs)} runs; their ids follow from the cohorts. nothing was run (--dry-run)"
            )
            return
    with choose_display(quiet) as display:
        plan = study.plan_grid(grid, registry, opened, data, weights, number, display)
        chosen = study.only(plan.runs, only)
        states = [opened.state(r.id) for r in chosen]
        if not as_json:
            counts = ", ".join(
                f"{states.count(s)} {w}"
                for s, w in (("done", "done"), ("started", "started"), ("failed", "failed"), ("absent", "to do"))
                if s in states
            )
            typer.echo(f"grid {plan.grid.name}: {len(chosen)} runs ({counts})")
            if dry_run:
                typer.echo("\n".join([*describe(chosen, opened), "nothing was run (--dry-run)"]))
        if dry_run:
            if as_json:
                typer.echo(
                    json.dumps(
                        [
                            {"id": r.id, "state": s, "architecture": r.config.architecture, "seed": r.config.seed}
                            for r, s in zip(chosen, states, strict=True)
                        ]
                    )
                )
            return
        result = study.execute(plan, chosen, device, number, display)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "done": result.done,
                    "trained": result.trained,
                    "failed": result.failed,
                    "held": result.held,
                    "page": str(result.page),
                }
            )
        )
    else:
        typer.echo(
            f"{result.done} of {len(chosen)} runs done ({result.trained} now), {len(result.failed)} failed"
            + (f", {result.held} held by another process" if result.held else "")
        )
        for run_id, reason in result.failed.items():
            typer.echo(f"  {run_id} failed: {reason}\n    log: {opened.run_dir(run_id) / 'log.txt'}")
        typer.echo("\n".join(study.summary(opened, plan.grid.name)))
        typer.echo(f"leaderboard: {result.page}")
    if result.failed or result.held:
        raise typer.Exit(1)


@app.command("list", epilog='Examples:  bench list architectures "resnet*"   |   bench list runs')
def list_(
    section: Annotated[str, typer.Argument(help="A registry section, grids, or runs.")] = "",
    glob: Annotated[str, typer.Argument(help="Only names that match.")] = "*",
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what can be named in a grid, or what the store holds."""
    from fnmatch import fnmatch

    from bench.grid import shipped_grids
    from bench.registry import SECTIONS, Registry
    from bench.store import Store

    if section == "runs":
        opened = Store.open(store, create=False)
        rows = [[i, opened.state(i), opened.reason(i)] for i in opened.run_ids() if fnmatch(i, glob)]
    elif section == "grids":
        rows = [[name] for name in shipped_grids() if fnmatch(name, glob)]
    elif section in SECTIONS:
        entries = Registry.read(registry).sections[section].values()
        rows = [
            [e.name, str(e.options.get("name") or e.use or e.facts.get("size", "")), e.title, e.paper]
            for e in entries
            if fnmatch(e.name, glob)
        ]
    elif not section:
        sections = Registry.read(registry).sections
        rows = [[name, str(len(sections[name]))] for name in SECTIONS] + [
            ["grids", str(len(shipped_grids()))],
            ["runs", "what the store holds"],
        ]
    else:
        raise ConfigError(
            f"no section {section!r}", "bench list", f"sections: {', '.join((*SECTIONS, 'grids', 'runs'))}"
        )
    if as_json:
        typer.echo(json.dumps([row[0] for row in rows]))
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        typer.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


@app.command(epilog="Example:  bench check --data /data")
def check(
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at environment, registry, data and store; say what to mend; exit 1 on a problem."""
    from bench.doctor import examine

    results = examine(data, store, registry)
    if as_json:
        typer.echo(json.dumps([{"what": r.what, "ok": r.ok, "detail": r.detail} for r in results]))
    else:
        for result in results:
            typer.echo(f"{'ok ' if result.ok else 'BAD'}  {result.what}: {result.detail}")
    if not all(r.ok for r in results):
        raise typer.Exit(1)


@app.command(epilog="Example:  bench score --store runs --grid demo")
def score(grid: StoredGridOption = None, store: StoreOption = Path("runs"), quiet: QuietOption = False) -> None:
    """Score the runs of a grid again from the store: no GPU, no images."""
    from bench.collect import score_all
    from bench.display import choose_display
    from bench.manifest import read_manifest
    from bench.store import Store
    from bench.study import summary

    opened = Store.open(store, create=False)
    manifest = read_manifest(opened, grid)
    with choose_display(quiet) as display:
        scored = score_all(manifest, display.progress)
    typer.echo(
        f"scored {len(scored)} runs x {len(manifest.cohorts)} cohorts ({manifest.settings.num_resamples:,} patient resamples)"
    )
    typer.echo("\n".join(summary(opened, str(manifest.content["name"]))))


@app.command(epilog="Example:  bench report --grid demo -o leaderboard.html")
def report(
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboard of a grid from the store."""
    from bench.display import choose_display
    from bench.manifest import read_manifest
    from bench.store import Store
    from bench.study import finish

    manifest = read_manifest(Store.open(store, create=False), grid)
    with choose_display(quiet) as display:
        page = finish(manifest, output, display)
    typer.echo(f"leaderboard: {page}")


@data_app.command(epilog="Example:  bench data phantom phantoms --source 2000 --external 300 --shortcut 0.9")
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write chexpert/ mimic/ nih/ padchest/ vindr/ brax/.")],
    source: Annotated[int, typer.Option(help="Frontal images of the training hospital.")] = 2300,
    external: Annotated[int, typer.Option(help="Frontal images of each other hospital.")] = 320,
    size: Annotated[int, typer.Option(help="Long side in pixels.")] = 128,
    shortcut: Annotated[float, typer.Option(help="Strength of the planted shortcut, 0 to 1.")] = 0.0,
    finding: Annotated[str, typer.Option(help="The finding it goes with.")] = "Pleural Effusion",
    seed: Annotated[int, typer.Option(help="The same seed gives the same patients at every strength.")] = 0,
    masks: Annotated[bool, typer.Option("--masks", help="Write masks of what is drawn, too.")] = False,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Write six synthetic hospitals in the layouts of the real datasets."""
    from bench.display import choose_display
    from bench.study import default_workers
    from harmonize.phantom import PhantomSettings, write_cohorts

    names = ("mimic", "nih", "padchest", "vindr", "brax")
    images = {"chexpert": source, **dict.fromkeys(names, external)}
    try:
        settings = PhantomSettings(seed=seed, images=images, size=size, shortcut=shortcut, finding=finding)
    except ValueError as error:
        raise ConfigError(str(error), "bench data phantom", "see --help for the ranges") from error
    if folder.exists() and any(folder.iterdir()) and not (folder / "phantom.json").is_file():
        raise ConfigError("the folder holds other files", str(folder), "name an empty or a new folder")
    with choose_display(quiet) as display:
        write_cohorts(folder, settings, workers=workers or default_workers(), progress=display.progress, masks=masks)
    typer.echo(f"six phantom cohorts in {folder}; try: bench run --grid demo --data {folder}")


def main() -> None:
    """Run the app; show a CxrError without traceback and exit 2, an interrupt as 130."""
    try:
        app()
    except CxrError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or Path.cwd()
        problem = StoreError(
            f"cannot write: {error.strerror}", str(where), "make it writable, make room, or choose another --store"
        )
        typer.echo(f"error: {problem}", err=True)
        sys.exit(2)
    except SystemExit as leave:
        if leave.code == 130:
            typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise


if __name__ == "__main__":
    main()
