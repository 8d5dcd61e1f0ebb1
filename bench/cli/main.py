"""The `bench` command: parse options, call the library, print results. Results go to stdout, progress to stderr.

Exit codes: 0 done, 1 something failed, 2 wrong request, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

import errno
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options, signals
from bench.cli.check import CHECK_EXAMPLES, check
from bench.cli.compare import EXAMPLES, compare
from bench.cli.data import data_app
from bench.cli.group import ELSEWHERE, NEW_HOSPITAL, READ, RUN, STORE, Commands, bench
from bench.cli.one_run import CARD_EXAMPLES, ERRORS_EXAMPLES, card, errors
from bench.cli.predict import PREDICT_EXAMPLES, predict
from bench.cli.remove import REMOVE_EXAMPLES, remove
from bench.cli.score import SCORE_EXAMPLES, score
from bench.cli.text_tables import wrapped
from bench.cli.weights import WEIGHTS_EXAMPLES
from bench.cli.weights import weights as weights_command
from harmonize.errors import ConfigError, CxrError, StoreError
from reports import extensions, hooks

# _FIXES: errors of the file system that the user can fix, with the fix. Any other OSError is a bug and keeps its traceback
_FIXES = {
    errno.EROFS: "make it writable, or choose another --store",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "make it readable and writable for you, or choose another path (--store, --data)"
    ),
    errno.ENAMETOOLONG: "use shorter names of files and folders",
    errno.EISDIR: "a file belongs here: give the path of a file, or move the folder away",
    errno.ENOTDIR: "a folder belongs here: give the path of a folder, or move the file away",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (`ulimit -n 4096`), or use fewer --workers"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "check the disk or the network folder, then run again"),
}

RUN_EXAMPLES = options.examples(
    "bench run --grid demo", "bench run --grid real-mini --data data.yaml --weights weights/"
)
LIST_EXAMPLES = options.examples('bench list architectures "resnet*"', "bench list runs")
REPORT_EXAMPLES = options.examples(
    "bench report --grid demo -o leaderboard.html", "bench report --grid demo --site site/"
)

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.callback()(bench)


def run(
    context: typer.Context,
    grid: options.GridOption,
    data: options.DataOption = None,
    store: options.StoreOption = Path("runs"),
    registry: options.RegistryOption = None,
    weights: options.WeightsOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = 0,
    per_device: options.PerDeviceOption = 0,
    executor: options.ExecutorOption = "local",
    together: options.TogetherOption = 1,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Only runs with this id prefix or architecture, or this TTA, ensemble or panel."),
    ] = None,
    dry_run: options.DryRunOption = False,
    with_images: options.WithImagesOption = False,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Train and test the runs of a grid; write the leaderboard.

    Finished steps are skipped: after an interruption, run the same command again.
    """
    from bench.cli import plan_text
    from bench.cli.progress_bars import choose_display
    from bench.executors.choose_executor import ExecutorChoice
    from bench.store.store import Store
    from bench.study.request import Request
    from bench.system.devices import Devices

    options.only_valid(context, together == 1 or per_device <= 1, "without --together", "--per-device")
    with choose_display(quiet) as display:
        here = executor.partition(":")[0] == "local"
        choice = ExecutorChoice.of(executor, per_device, together, device)
        devices = Devices.of(device, workers, here=here)
        request = Request.read(grid, registry, data, weights)
        _say(request.grid.left_out)
        request.check_only(only)
        opened = Store.open(store)
        trains = here and not dry_run
        if trains:
            request.check_weights(opened)
        if data is None and plan_text.say_synthetic(request.grid, opened, dry_run, only, as_json):
            _say(request.missing_weights(request.hub_architectures))
            return

        from bench.executors.execute_job import check_devices  # slow imports: a wrong request was refused above
        from bench.planning.plan import make_plan

        chosen_executor = choice.executor(device, devices.workers)
        plan = make_plan(
            request.grid, request.registry, opened, data, weights, devices.workers, request.command, display.progress
        )
        chosen, derived = plan.select(only)
        check_devices(chosen, together, "--together")
        if not as_json:
            typer.echo(plan.heading(chosen))
        for extension in extensions.modules(hooks.Cohorts):
            _say(extension.remarks(plan))
        if dry_run:
            from bench.cli.dry_run import say_plan

            say_plan(plan, chosen, derived, as_json)
            _say(request.missing_weights(request.architectures_to_fetch(chosen, opened)))
            return
        if trains:
            request.fetch_weights(chosen, opened, display.progress)
        if any(opened.state(run.id) != "done" for run in chosen):
            chosen_executor.prepare()
        from bench.study.run_grid import execute  # slow imports, while the executor prepares

        result = execute(plan, chosen, derived, chosen_executor, devices.workers, display, with_images=with_images)
    if as_json:
        facts = {key: value for key, value in asdict(result).items() if key not in ("logs", "summary", "missing_parts")}
        typer.echo(json.dumps(facts, default=str))
    else:
        lines = [*result.lines(plan.grid.name, len(chosen), len(derived)), *result.summary]
        typer.echo("\n".join([*lines, f"leaderboard: {result.page}"]))
    _say(result.missing_parts)
    if result.failed or result.held or result.missing_parts:
        raise typer.Exit(1)


def _say(remarks: Sequence[str]) -> None:
    """Print each remark as a line on standard error."""
    for line in remarks:
        typer.echo(line, err=True)


def list_(
    context: typer.Context,
    section: Annotated[
        str,
        typer.Argument(help="Registry section, or grids, or runs. Default: all sections."),
    ] = "",
    glob: Annotated[str, typer.Argument(help='Only names that match, e.g. "resnet*".')] = "*",
    failed: Annotated[bool, typer.Option("--failed", help="With `runs`: only failed runs.")] = False,
    store: options.StoreOption = Path("runs"),
    grids: Annotated[
        list[str] | None,
        options.STORED_GRID(help="With `runs`: only runs of this grid, with its scores. Several: a column for each."),
    ] = None,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """List names that a grid can use, or the runs of the store."""
    from bench.cli import list_tables
    from bench.cli.text_tables import table_lines
    from bench.config.grid_file import describe_grids, shipped_grids
    from bench.config.registry import SECTIONS, Registry

    options.only_valid(context, section == "runs", "with runs", "--failed", "--store", "--grid")
    options.only_valid(context, section not in ("runs", "grids"), "with a section of the registry", "--registry")
    if section == "runs":
        _list_runs(store, grids or [], glob, failed, as_json)
        return
    if section == "grids":
        rows = [["name", "title", "about"], *(list(row) for row in describe_grids() if fnmatchcase(row[0], glob))]
        names = [row[0] for row in rows[1:]]
    elif section in SECTIONS or not section:
        entries = Registry.read(registry)
        if section:
            chosen = list_tables.entries(entries, section, glob)
            names = [entry.name for entry in chosen]
            rows = list_tables.described(section, chosen)
        else:
            rows = [*list_tables.overview(entries), ["grids", str(len(shipped_grids()))], ["runs", "runs of the store"]]
            names = [row[0] for row in rows]
    else:
        sections = (*SECTIONS, "grids", "runs")
        fix = f"{ConfigError.hint(section, sections)}sections: {', '.join(sections)}"
        raise ConfigError(f"unknown section {section!r}", "bench list", fix)
    if rows or as_json:
        typer.echo(json.dumps(names) if as_json else "\n".join(table_lines(rows, header=bool(section))))


def _list_runs(store: Path, grids: Sequence[str], glob: str, failed: bool, as_json: bool) -> None:
    """Print the runs of the store whose ids match `glob`. If there are none, say so on standard error.

    `grids`: only the runs of these grids, with their scores. `failed`: only failed runs.
    """
    from bench.cli.list_tables import run_table
    from bench.cli.text_tables import table_lines
    from bench.planning.stored_names import find_grid
    from bench.results.stored_runs import stored_runs
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    names = dict.fromkeys(find_grid(opened, grid) for grid in grids)  # each grid once
    manifests = []
    if names:
        from bench.planning.manifest import read_manifest  # imports pandas, which takes a second

        manifests = [read_manifest(opened, name) for name in names]
    known = [i for i in opened.run_ids() if not manifests or any(i in manifest.run_of for manifest in manifests)]
    ids = [i for i in known if fnmatchcase(i, glob) and (not failed or opened.state(i) == "failed")]
    if not ids:
        no_run = "no run yet" if glob == "*" else "no run matches"
        typer.echo("no run has failed" if failed else no_run, err=True)
    of_grids = {m.name: stored_runs(opened, [i for i in ids if i in m.run_of], m.scores) for m in manifests}
    aurocs = {name: {run.run: run.external_auroc for run in listed} for name, listed in of_grids.items()}
    runs = stored_runs(opened, ids, manifests[0].scores if manifests else None)
    if as_json:
        rows = [asdict(run) | {"of_grids": {name: of.get(run.run) for name, of in aurocs.items()}} for run in runs]
        typer.echo(json.dumps(rows, indent=1))
    elif runs:
        typer.echo("\n".join(table_lines(run_table(runs, aurocs))))


def report(
    context: typer.Context,
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    output: options.OutputOption = None,
    with_images: options.WithImagesOption = False,
    site: Annotated[
        Path | None, typer.Option(help="Write a folder, not one file: index, a page per run, data as JSON and Parquet.")
    ] = None,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write the leaderboard of a grid as an HTML page."""
    from bench.cli.progress_bars import choose_display
    from bench.planning.stored_names import store_with

    if output is not None and output.is_dir():
        fix = f"name a file: -o {output / 'leaderboard.html'}; or write a folder with --site"
        raise ConfigError("this is a folder", f"--output {output}", fix)
    options.only_valid(context, site is None, "without --site", "--output")
    opened = store_with(store, grid)
    from bench.planning.manifest import read_manifest  # slow imports: a wrong name was refused above
    from bench.results.score_runs import score_all

    manifest = read_manifest(opened, grid)
    with choose_display(quiet) as display:
        score_all(manifest, display.progress, say=display.say)
        if output is None and site is None:
            from bench.results.report_state import current_report

            page, _, failures = current_report(manifest, display.progress, with_images)
        else:
            from bench.results.write_report import write_report

            written = write_report(manifest, output, display.progress, with_images, site)
            page, failures = written.page, written.failures()
    typer.echo(json.dumps({"page": str(page)}) if as_json else f"leaderboard: {page}")
    _say(failures)
    if failures:
        raise typer.Exit(1)


# the order in which the help lists the commands under each heading; the commands of extensions follow
for _heading, _name, _command, _examples in (
    (RUN, "run", run, RUN_EXAMPLES),
    (RUN, "list", list_, LIST_EXAMPLES),
    (RUN, "check", check, CHECK_EXAMPLES),
    (RUN, "weights", weights_command, WEIGHTS_EXAMPLES),
    (READ, "report", report, REPORT_EXAMPLES),
    (READ, "compare", compare, EXAMPLES),
    (READ, "errors", errors, ERRORS_EXAMPLES),
    (READ, "card", card, CARD_EXAMPLES),
    (NEW_HOSPITAL, "predict", predict, PREDICT_EXAMPLES),
    (ELSEWHERE, "score", score, SCORE_EXAMPLES),
):
    app.command(_name, epilog=_examples, rich_help_panel=_heading)(_command)
app.add_typer(data_app, name="data", rich_help_panel=STORE)
app.command("remove", epilog=REMOVE_EXAMPLES, rich_help_panel=STORE)(remove)
for _extension in extensions.modules(hooks.Commands):
    _extension.add(app)


def _say_error(error: CxrError) -> None:
    typer.echo("\n".join(wrapped([f"error: {error}"], stderr=True)), err=True)


def main() -> None:
    """Run the command line and turn errors into messages and exit codes.

    A CxrError, or an OSError that the user can fix, is printed without traceback, and the exit code is 2. After a signal, the exit
    code is 130 (Ctrl-C) or 143 (SIGTERM).
    """
    try:
        app()
    except CxrError as error:
        _say_error(error)
        sys.exit(2)
    except OSError as error:
        from harmonize.disk_space import DiskFullError

        where = str(error.filename2 or error.filename or Path.cwd())
        if full := DiskFullError.of(error, Path(where)):
            message = StoreError(f"cannot write: {full.strerror}", str(full.filename), full.fix)
        elif error.errno in _FIXES:
            what = "cannot write:" if error.errno == errno.EROFS else "cannot use this path:"
            message = StoreError(f"{what} {error.strerror}", where, _FIXES[error.errno])
        else:
            raise
        _say_error(message)
        sys.exit(2)
    except KeyboardInterrupt:
        signals.report_interrupt()
        sys.exit(130)
    except SystemExit as leave:
        if leave.code in signals.EXIT_CODES:
            signals.report_interrupt()
        raise
    finally:
        for refusal in extensions.refused.values():
            typer.echo("\n".join(wrapped([f"warning: {refusal}"], stderr=True)), err=True)
