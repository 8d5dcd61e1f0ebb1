"""The commands as one group: in the order in which a user meets them, and a wrong request answered as what, where, fix."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harmonize.errors import ConfigError

ORDER = (
    "run", "list", "check", "report", "compare", "predict", "app", "explain", "errors", "card", "score", "evaluate", "data",
    "export", "verify", "merge", "track", "upload", "reproduce", "migrate", "remove",
)  # fmt: skip
_USAGE: type[Exception] = typer.BadParameter.__mro__[1]  # UsageError, wherever this version of typer keeps it


class Commands(TyperGroup):
    """All commands of `bench`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the help."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read what stands before the command; raises ConfigError for what cannot be there."""
        with _answered(None):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read and do the command; raises ConfigError for a request that no command understands."""
        with _answered(ctx):
            return super().invoke(ctx)


@contextmanager
def _answered(outer: Any) -> Iterator[None]:
    """Turn a wrong request into a ConfigError with an example of a right one; help that was asked for stays help.

    outer: the context of the group, for what an option without its value leaves unsaid.
    """
    try:
        yield
    except _USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        asked: Any = error
        path, command = "bench", None
        if asked.ctx is not None:
            path, command = asked.ctx.command_path, asked.ctx.command
        elif outer is not None and outer.invoked_subcommand:
            path, command = (
                f"{outer.command_path} {outer.invoked_subcommand}",
                outer.command.commands[outer.invoked_subcommand],
            )
        what, epilog = asked.format_message().rstrip("."), (command.epilog if command else "") or ""
        example = epilog.partition(": ")[2].partition("   |   ")[0].strip()
        fix = f"`{path} --help`" + (f"; for example: {example}" if example else "")
        raise ConfigError(what[:1].lower() + what[1:], path, fix) from error


def version(asked: bool) -> None:
    """Print the version and leave, when it was asked for."""
    if asked:
        typer.echo(f"unseen-cxr {importlib.metadata.version('unseen-cxr')}")
        raise typer.Exit


def bench(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=version, is_eager=True)
    ] = False,
) -> None:
    """Train chest X-ray networks in one hospital, test them unchanged in others, and publish what is lost on the way."""
