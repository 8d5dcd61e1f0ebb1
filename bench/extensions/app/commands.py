"""The commands `bench explain` and `bench app`."""

import typer

from bench.cli.group import NEW_HOSPITAL
from bench.extensions.app import explain, server


def add(app: typer.Typer) -> None:
    """Add the commands `bench explain` and `bench app`."""
    app.command(rich_help_panel=NEW_HOSPITAL, epilog=explain.EXAMPLES)(explain.explain)
    app.command(rich_help_panel=NEW_HOSPITAL, epilog=server.EXAMPLES)(server.app)
