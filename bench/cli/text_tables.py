"""Make text tables: drawn by the package rich on a terminal, plain aligned text in a pipe or a file."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from operator import gt
from shutil import get_terminal_size

from reports.formatting import DASH, number

Table = Sequence[Sequence[str]]


def table_lines(rows: Table, *, header: bool = True) -> list[str]:
    """Return the lines of a table. Columns of numbers are aligned to the right.

    On a terminal, the table is at most as wide as the terminal. Text is wrapped between words; numbers are never wrapped. A
    last line names the columns for which there is no space. In a pipe or a file, each row is one line with all columns,
    so that `grep` and `awk` work. `header`: whether the first row has the names of the columns.
    """
    if not rows:
        return []
    return _terminal(rows, header) if sys.stdout.isatty() else _plain(rows)


def interval(low: float | None, high: float | None, form: str = ".3f") -> str:
    """Return an interval as text, an en dash if a bound is None or NaN. `form`: format of the bounds.

    >>> interval(0.1, 0.25), interval(float("nan"), 0.25)
    ('[0.100, 0.250]', '–')
    """
    bounds = [number(low, form), number(high, form)]
    return DASH if DASH in bounds else f"[{', '.join(bounds)}]"


def wrapped(lines: Sequence[str], indent: int = 7, *, stderr: bool = False) -> list[str]:
    """Wrap lines that are wider than the terminal. In a pipe or a file, return the lines unchanged.

    Lines with escape sequences, such as the bold header of a table, are not wrapped: they fit, but have more characters.

    `stderr`: the lines will be written to standard error, not to standard output.

    `indent`: number of spaces before the continuation of a line. If the line itself is indented, its continuation is indented
    by three spaces more than the line.
    """
    stream = sys.stderr if stderr else sys.stdout
    return list(_wrapped(lines, indent)) if stream.isatty() else list(lines)


def printable(text: object) -> str:
    """Replace control characters in a text by "?", because a file name could contain commands to the terminal.

    >>> printable("a" + chr(27) + "[2Jb")
    'a?[2Jb'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def span(seconds: float) -> str:
    """Return a duration as text in seconds, minutes or hours.

    >>> span(0.2), span(90), span(600), span(9000), span(864_000)
    ('0.2 s', '90 s', '10 min', '2.5 h', '240 h')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 3600:.0f} h"


def _wrapped(lines: Sequence[str], indent: int) -> Iterator[str]:
    width = get_terminal_size().columns
    for line in "\n".join(lines).split("\n"):
        spaces = " " * (len(line) - len(line.lstrip()))
        later = spaces + " " * (3 if spaces else indent)
        short = textwrap.TextWrapper(width, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)
        yield from short.wrap(line) if len(line) > width and "\x1b" not in line else [line]


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

    console = Console(width=get_terminal_size().columns - 2)  # some tables are indented by two spaces
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = _widths(list(zip(*rows, strict=True)), console.width)
    drawn = RichTable(box=SIMPLE_HEAD if header else None, show_header=header, show_edge=False, pad_edge=False)
    for column, width in zip(zip(*rows, strict=True), widths, strict=False):
        side = "right" if _numeric(column) else "left"
        drawn.add_column(Text(column[0]) if header else "", justify=side, overflow="fold", width=width)  # type: ignore[arg-type]
    for row in rows[1:] if header else rows:
        drawn.add_row(*(Text(cell) for cell in row[: len(widths)]))
    with console.capture() as capture:
        console.print(drawn)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    if left := rows[0][len(widths) :]:
        lines += _wrapped([f"not shown: {', '.join(left)} (widen the window, or add `| cat`)"], 0)
    return lines


def _widths(columns: Sequence[Sequence[str]], most: int) -> list[int]:
    """Return the widths of the columns that fit into a line of `most` characters; the last columns may be left out.

    Between two columns are three characters. The widest columns are made narrower until the line fits. A column stays at least
    as wide as its longest number, range or word (a word: at most a third of the line), and at least as wide as the words of its header.
    """
    widths = [max(map(len, column)) for column in columns]
    least = [
        min(max(map(len, column[1:])), most // 2) if _numeric(column) else min(_longest_word(column), most // 3)
        for column in columns
    ]
    least = [max(small, _longest_word(column[:1])) for small, column in zip(least, columns, strict=True)]
    while len(least) > 1 and sum(least) + 3 * (len(least) - 1) > most:
        least.pop()
    widths = widths[: len(least)]
    while sum(widths) + 3 * (len(widths) - 1) > most and any(map(gt, widths, least)):
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _longest_word(column: Sequence[str]) -> int:
    return max((len(word) for cell in column for word in cell.split()), default=1)


def _numeric(column: Sequence[str]) -> bool:
    """Return whether all cells below the header are numbers, ranges such as "0.1 to 0.2" or "[0.1, 0.2]", or empty."""
    return len(column) > 1 and all(_is_range(cell) for cell in column[1:] if cell)


def _is_range(cell: str) -> bool:
    return all(map(_is_number, cell.strip("[]").replace(", ", " to ").split(" to ")))


def _is_number(cell: str) -> bool:
    return cell.lstrip("<+-").replace(",", "").replace(".", "", 1).isdigit() or cell == DASH
