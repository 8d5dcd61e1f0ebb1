"""Text tables: drawn by rich on a terminal, plain aligned text in a pipe or a file."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from shutil import get_terminal_size

Table = Sequence[Sequence[str]]


def table_lines(rows: Table, *, header: bool = True) -> list[str]:
    """Return the lines of a table. Columns of numbers are aligned to the right.

    On a terminal the table fits its width: long cells are wrapped. Elsewhere each row is one line, so that `grep` and `awk` work.
    `header`: the first row holds the names of the columns.
    """
    if not rows:
        return []
    return _terminal(rows, header) if sys.stdout.isatty() else _plain(rows)


def wrapped(lines: Sequence[str], indent: int = 7) -> list[str]:
    """Return lines that fit the terminal; continuation lines are indented. In a pipe or a file, return them unchanged."""
    return list(_wrapped(lines, indent)) if sys.stdout.isatty() else list(lines)


def printable(text: object) -> str:
    """Return text without control characters: a file name must not steer the terminal.

    >>> printable("a" + chr(27) + "[2Jb")
    'a?[2Jb'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _wrapped(lines: Sequence[str], indent: int) -> Iterator[str]:
    width = get_terminal_size().columns
    for line in lines:
        own = " " * (len(line) - len(line.lstrip()))
        wide = {"width": width, "break_long_words": False, "break_on_hyphens": False}
        yield from textwrap.wrap(line, subsequent_indent=own + " " * indent, **wide) if len(line) > width else [line]  # type: ignore[arg-type]


def _plain(rows: Table) -> list[str]:
    lines = [""] * len(rows)
    for column in zip(*rows, strict=True):
        width, right = max(map(len, column)), _numeric(column)
        for i, cell in enumerate(column):
            lines[i] += (cell.rjust(width) if right else cell.ljust(width)) + "  "
    return [line.rstrip() for line in lines]


def _terminal(rows: Table, header: bool) -> list[str]:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=SIMPLE_HEAD if header else None, show_header=header, show_edge=False, pad_edge=False)
    for column in zip(*rows, strict=True):
        name = Text(printable(column[0])) if header else ""
        drawn.add_column(name, justify="right" if _numeric(column) else "left", overflow="fold")
    for row in rows[1:] if header else rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=get_terminal_size().columns)
    with console.capture() as capture:
        console.print(drawn)
    return [line.rstrip() for line in capture.get().splitlines()]


def _numeric(column: Sequence[str]) -> bool:
    """Return whether every filled cell below the first cell is a number, an interval's bound or a signed difference."""
    return len(column) > 1 and all(_is_number(cell) for cell in column[1:] if cell)


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-").replace(",", "").replace(".", "", 1).isdigit() or cell == "-"
