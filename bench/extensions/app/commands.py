"""The command `bench app`."""

import typer

from bench.cli.group import NEW_HOSPITAL
from bench.extensions.app import server


def add(app: typer.Typer) -> None:
    """Add the command `bench app`."""
    app.command(rich_help_panel=NEW_HOSPITAL, epilog=server.EXAMPLES)(server.app)
