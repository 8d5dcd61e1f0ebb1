"""The group of all commands: it orders the commands in the help, and turns wrong options into errors with a fix."""

import importlib.metadata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harmonize.errors import ConfigError

# the headings under which the help lists the commands, in the order in which a new user needs them
RUN, READ, NEW_HOSPITAL, ELSEWHERE, SHARE, STORE = GROUPS = (
    "Run",
    "Read",
    "New hospital",
    "Score elsewhere",
    "Share",
    "Store",
)
MORE = "More"  # the heading of commands of extensions that state no heading
# options whose value is a number; the help shows N for the value
NUMBERS = frozenset(
    [
        "workers",
        "per-device",
        "together",
        "source",
        "external",
        "size",
        "shortcut",
        "seed",
        "port",
        "min-count",
        "sample",
        "n",
        "ece",
    ]
)
# the class UsageError. It is found as a base class, because its module depends on typer's version
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class ReadableHelp(TyperGroup):
    """A group of commands whose help shows words such as GRID or N for values, and not Python types."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command. Its help shows words such as GRID or N for values; typer would show types such as <list[Path]>."""
        command = super().get_command(ctx, cmd_name)
        params: Iterable[Any] = command.params if command else ()
        for param in params:
            if param.param_type_name == "argument":
                param.metavar = param.metavar or param.name.upper()
                param.get_help_record = partial(_without_type, type(param).get_help_record, param)
            elif not param.is_flag:
                param.metavar = param.metavar or _value_name(param)
        return command


class Commands(ReadableHelp):
    """The commands of `bench`."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the command names by heading; under each heading, commands of extensions come last."""
        headings = [*GROUPS, *sorted({_heading(command) for command in self.commands.values()} - set(GROUPS))]
        return sorted(self.commands, key=lambda name: headings.index(_heading(self.commands[name])))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings, one line each."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        for heading, members in groupby(names, key=lambda name: _heading(self.commands[name])):
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(limit)) for name in members])

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options before the command. The rare --show-completion is not in the help, which fits on one screen."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            param.hidden = param.name == "show_completion"
        return params

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options that stand before the command. Raises ConfigError for an invalid option."""
        with _usage_errors(None):
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Parse the command with its options, and run it. Raises ConfigError for an unknown command or invalid options."""
        with _usage_errors(ctx):
            return super().invoke(ctx)


def _heading(command: Any) -> str:
    """Return the heading under which the help lists a command; MORE if its extension states none."""
    stated = command.rich_help_panel
    return stated if isinstance(stated, str) else MORE


def _value_name(option: Any) -> str:
    """Return the word that stands for an option's value in the help: N for a number, else the option's name in capitals."""
    name = max(option.opts, key=len).lstrip("-")
    return "N" if name in NUMBERS else name.replace("-", "_").upper()


def _without_type(help_record: Any, argument: Any, ctx: Any) -> tuple[str, str] | None:
    """Return name and help text of an argument, without the Python type that typer adds to the name.

    `help_record`: typer's method that makes the pair. None is returned as None (a hidden argument).
    """
    record = help_record(argument, ctx)
    return record and (record[0].split(" <")[0], record[1])


@contextmanager
def _usage_errors(group: Any) -> Iterator[None]:
    """Turn typer's usage errors in the block into a ConfigError that shows an example of the command.

    A command without arguments that shows its help is not an error and passes. `group`: context of the group of commands, or
    None. If typer's error names no command, the ConfigError names the command of this context.
    """
    try:
        yield
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        usage: Any = error
        path, command = "bench", None
        if usage.ctx is not None:
            path, command = usage.ctx.command_path, usage.ctx.command
        elif group is not None and group.invoked_subcommand:
            path = f"{group.command_path} {group.invoked_subcommand}"
            command = group.command.commands[group.invoked_subcommand]
        # typer reports the message of pydantic, for example: Input should be a valid integer, unable to parse string as an integer
        what = usage.format_message().rstrip(".").replace("Input should", "must").split(", unable to parse")[0]
        epilog = (command.epilog if command else "") or ""
        example = next((line.strip() for line in epilog.splitlines() if line.startswith("  ")), "")
        fix = f"see `{path} --help`" + (f"; for example: {example}" if example else "")
        raise ConfigError(what[:1].lower() + what[1:], path, fix) from error


def version(requested: bool) -> None:
    """Print the version and end the command if `requested` is set."""
    if requested:
        typer.echo(f"unseen-cxr {importlib.metadata.version('unseen-cxr')}")
        raise typer.Exit


def bench(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=version, is_eager=True)
    ] = False,
) -> None:
    """Train at one hospital, test at others. Begin with: bench run --grid demo."""
