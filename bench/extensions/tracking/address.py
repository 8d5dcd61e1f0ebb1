"""The address of an MLflow database or server. This module imports no slow library: a wrong address is refused at once."""

import re
from pathlib import Path

from harmonize.errors import ConfigError


def check_address(uri: str) -> None:
    """Raise ConfigError for an address that is no database or server, and for a database in a folder that does not exist."""
    scheme, _, path = uri.partition("://")
    if scheme == "sqlite" and not Path(path.removeprefix("/")).parent.is_dir():
        raise ConfigError(
            "the folder of the database does not exist",
            shown(uri),
            "create it, or give another path: --to sqlite:///mlflow.db",
        )
    if scheme not in ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks"):
        fix = "give a database or a server: --to sqlite:///mlflow.db, --to http://localhost:5000"
        raise ConfigError(f"{shown(uri)!r} is not an MLflow database or server", "--to", fix)


def shown(uri: str) -> str:
    """Return the address of a server or database without user and password.

    >>> shown("postgresql://me:secret@db/mlflow")
    'postgresql://db/mlflow'
    """
    return re.sub(r"://[^/@]*@", "://", uri)
