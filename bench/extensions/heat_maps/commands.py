"""The command `bench explain`."""

import typer

from bench.cli.group import NEW_HOSPITAL
from bench.extensions.heat_maps import explain


def add(app: typer.Typer) -> None:
    """Add the command `bench explain`."""
    app.command(rich_help_panel=NEW_HOSPITAL, epilog=explain.EXAMPLES)(explain.explain)
