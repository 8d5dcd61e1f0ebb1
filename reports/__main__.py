"""Write the page from a folder of tables: `python -m reports TABLES_DIR -o leaderboard.html`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harmonize.disk_space import DiskFullError, writing
from harmonize.errors import CxrError, StoreError
from reports import failed_parts
from reports.page import render
from reports.tables import Tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, print its path, and return the exit status 0; 1 if a part of the page failed.

    If the tables cannot be read or the disk is full, print an error message to stderr and return 1. `arguments`: the
    arguments of the command line; with None, the arguments of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Write one HTML page from a folder of tables."
    )
    parser.add_argument("tables", type=Path, metavar="TABLES_DIR", help="folder that `bench report` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("leaderboard.html"), help="file to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        with failed_parts.collected() as failed:
            page = render(Tables.load(options.tables))
    except CxrError as error:
        print(error, file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(options.output, len(page.encode())):
            options.output.write_text(page, encoding="utf-8", newline="\n")
    except DiskFullError as error:
        print(StoreError(f"cannot write: {error.strerror}", str(error.filename), error.fix), file=sys.stderr)
        return 1
    print(options.output)
    for part in failed:
        print(f"{part.name} failed:\n{part.trace}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
