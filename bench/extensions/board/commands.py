"""`bench board submit`, `bench board decide`, `bench board build` and `bench board sealed`: a leaderboard that several laboratories share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.group import SHARE, ReadableHelp
from bench.cli.options import JsonOption, QuietOption, RegistryOption, examples, only_valid
from bench.cli.text_tables import printable, table_lines
from bench.extensions.board.sealed_commands import LaboratoryOption, sealed_app
from harmonize.errors import ConfigError
from reports.formatting import plural

if TYPE_CHECKING:
    from bench.extensions.board.site import BoardBuild


BoardOption = Annotated[
    Path, typer.Option("--board", exists=True, file_okay=False, help="Folder of the board: a copy of its repository.")
]


board_app = typer.Typer(
    cls=ReadableHelp, no_args_is_help=True, rich_markup_mode=None, help="Share a leaderboard with other laboratories."
)


def add(app: typer.Typer) -> None:
    """Add the commands of a shared leaderboard."""
    board_app.command(
        epilog=examples(
            "bench board submit ours.zip --board board --name our-lab \\",
            '    --laboratory "Our Laboratory" --licence CC-BY-4.0',
        )
    )(submit)
    board_app.command(
        epilog=examples(
            'bench board decide accepted our-lab --board board --by "A Maintainer" \\',
            '    --why "every number computed again"',
        )
    )(decide)
    board_app.command(
        epilog=examples("bench board build board -o site", "bench board build board --before earlier.jsonl")
    )(build)
    board_app.add_typer(sealed_app, name="sealed")
    app.add_typer(board_app, name="board", rich_help_panel=SHARE)


def submit(
    bundle: Annotated[Path, typer.Argument(help="Bundle written by `bench export`.")],
    board: BoardOption,
    name: Annotated[str, typer.Option("--name", help="Name of the submission: a-z, 0-9 and -.")],
    laboratory: LaboratoryOption = "",
    licence: Annotated[
        str, typer.Option("--licence", help="License of the predictions (SPDX), e.g. CC-BY-4.0. Required.")
    ] = "",
    seen_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--seen-ids",
            metavar="COHORT=FILE",
            help="Ids of images or patients that the model was trained on, one a line; repeat for several.",
        ),
    ] = None,
    keep_bundle: Annotated[
        bool, typer.Option("--keep-bundle", help="Submit the numbers only; the row is self-reported and not ranked.")
    ] = False,
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle for a shared board, and write its folder.

    The folder is for a pull request to the board's repository. Prints one line for each check. Exit code 1: something is
    missing, and nothing was written. The facts of the runs decide the division: closed (trained on the internal hospital
    alone) or open (anything, with its data exposure).
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.extensions.bundles.archive import check_is_file

    check_is_file(bundle)
    lists, entries = _id_lists(seen_ids or ()), Registry.read(registry)
    from bench.extensions.board.submit import SubmissionRequest  # slow imports: a wrong request was refused above
    from bench.extensions.board.submit import submit as submitting

    request = SubmissionRequest(bundle, board, name, laboratory, licence, lists, keep_bundle)
    with choose_display(quiet) as display:
        done = submitting(request, entries, display.progress)
    if as_json:
        checks = [{"state": line.state, "what": line.what, "text": line.text} for line in done.lines]
        facts = {"checks": checks, "division": done.division, "not_closed": done.reasons}
        typer.echo(json.dumps(facts | {"folder": str(done.folder) if done.folder else ""}))
    else:
        rows = [[line.state, line.what, line.text] for line in done.lines]
        typer.echo("\n".join(table_lines(rows, header=False)))
        typer.echo(f"division: {done.division}{''.join(f'; {reason}' for reason in done.reasons)}")
        if done.folder:
            typer.echo(f"submission: {done.folder} (commit this folder and open a pull request)")
        else:
            missing = sum(line.state == "missing" for line in done.lines)
            typer.echo(f"{missing} missing: nothing was written", err=True)
    if not done.folder:
        raise typer.Exit(1)


def _id_lists(texts: Sequence[str]) -> dict[str, Path]:
    """Return the values of --seen-ids as {cohort: file}. Raises ConfigError for a text of another form."""
    out = {}
    for text in texts:
        cohort, separator, file = text.partition("=")
        if not separator or not cohort or not file:
            raise ConfigError(f"{text!r} is not of the form COHORT=FILE", "--seen-ids", "e.g. --seen-ids nih=ids.txt")
        out[cohort] = Path(file)
    return out


def decide(
    context: typer.Context,
    action: Annotated[str, typer.Argument(help="accepted, refused, re-scored or withdrawn.")],
    submission: Annotated[str, typer.Argument(help="Name of the submission.")],
    board: BoardOption,
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    why: Annotated[str, typer.Option("--why", help="The reason, in one line.")],
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Append a decision on a submission to a board's hash chain.

    The file decisions.jsonl only grows: each line has the SHA-256 of the line before. Before an acceptance, the submission
    is checked as `bench board build` checks it, and compared with the others.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.extensions.board import decisions
    from bench.extensions.board.submission import bundle_id, find

    if action not in decisions.ACTIONS:
        fix = ConfigError.suggestion(action, decisions.ACTIONS)
        raise ConfigError(f"unknown decision {action!r}", "bench board decide", fix)
    is_checked = action in (decisions.ACCEPTED, decisions.RESCORED)
    only_valid(context, is_checked, "for accepted and re-scored", "--registry")
    earlier = decisions.latest(decisions.read(board))
    if action == decisions.WITHDRAWN and submission in earlier:
        bundle = earlier[submission].bundle  # its folder may be gone
    else:
        bundle = bundle_id(find(board, submission), may_be_unknown=action == decisions.REFUSED)
    if is_checked:
        from bench.extensions.board.check import check_one  # slow imports: a wrong name was refused above
        from bench.extensions.board.rules import Rules

        with choose_display(quiet) as display:
            check_one(submission, board, Rules.read(board), Registry.read(registry), display.progress)
    made = decisions.append(board, action, submission, bundle, by, why)
    if as_json:
        typer.echo(json.dumps({"action": action, "submission": submission, "bundle": bundle, "hash": made.hash}))
    else:
        typer.echo(f"{board / decisions.FILE}: {submission} {action}, hash {made.hash}")


def build(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="BOARD", exists=True, file_okay=False, help="Folder of the board: board.yaml, submissions/."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the site. Default: only check the board.")
    ] = None,
    before: Annotated[
        Path | None, typer.Option("--before", help="Earlier copy of decisions.jsonl, which the file must continue.")
    ] = None,
    registry: RegistryOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a shared board, and build its public site.

    Every number is computed again from the bundles. Results of an earlier call on this computer are used again. Exit code 2: a
    submission is not what it states, so that the site leaves it out; or the chain of decisions is broken, then no site is written.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.extensions.board.chain import check_continues
    from bench.extensions.board.decisions import FILE
    from bench.extensions.board.site import build as build_site

    if before is not None:
        check_continues(folder / FILE, before)
    with choose_display(quiet) as display:
        built = build_site(folder, output, Registry.read(registry), display.progress)
    if as_json:
        facts = {"rows": built.rows, "ranked": built.ranked, "waiting": built.waiting, "moved": built.moved}
        broken = [
            {"name": each.name, "what": each.error.what, "where": each.error.where, "fix": each.error.fix}
            for each in built.broken
        ]
        typer.echo(json.dumps(facts | {"broken": broken, "index": str(built.index or ""), "kept": built.kept}))
    else:
        typer.echo("\n".join(_board_lines(folder, built)))
    for each in built.broken:
        lines = f"{each.name} is left out: {each.error}".split("\n")
        typer.echo("\n".join(map(printable, lines)), err=True)  # names of files can have control characters
    if built.broken:
        raise typer.Exit(2)


def _board_lines(folder: Path, built: "BoardBuild") -> list[str]:
    """Return what a check of a board found, as lines of text."""
    all_right = "" if built.broken else "; every submission is what it states"
    lines = [f"{folder}: {plural(built.rows, 'row')}, {built.ranked} ranked{all_right}"]
    lines += [f"waiting for a decision: {', '.join(built.waiting)}"] if built.waiting else []
    lines += built.moved
    kept = f"{plural(built.kept, 'bundle')} (to compute all again: BENCH_CACHE= bench board build BOARD)"
    lines += [f"kept from an earlier check: {kept}"] if built.kept else []
    return lines + ([f"site: {built.index}"] if built.index else [])
