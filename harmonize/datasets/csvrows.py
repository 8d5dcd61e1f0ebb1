"""Split a CSV file into rows, and find the rows whose cells cannot be assigned to columns.

A row cannot be used in three cases:
- The row has more or fewer cells than the header. Cells below unnamed columns at the end of the header may be missing.
- The row has a NUL character.
- An unclosed quote joins the row with other rows. A record is the lines that the CSV reader joins to one row. A record
  may have several lines, because free text in quotes has line breaks. But if the first line and a later line of a
  record both look like complete rows, the quote counts as unclosed, and each line of the record is an unusable row.
"""

import bz2
import csv
import gzip
import lzma
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from harmonize.errors import DatasetError

MAX_CELL_CHARACTERS = 2**24  # a longer cell is the result of an unclosed quote
# maximum number of bytes of a compressed table after decompression: enough for 900,000 rows of 1,000 characters. The
# limit is necessary because a damaged or hostile file of 10 MB can unpack to 10 GB
MAX_UNPACKED_BYTES = 2**30
# maximum number of columns of a table: 2.5 times the largest vectors of an encoder (4,096 numbers). pandas needs half a second of
# processor time for each 1,000 columns, whatever the number of rows
MAX_COLUMNS = 10_000
_CHUNK_BYTES = 2**20
_OTHER_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}  # separators of other programs, with their names


class Row(NamedTuple):
    """A row of a CSV file; `fault` states why the row cannot be used, "" for a usable row."""

    line: int  # number of the row's first line in the file; the file's first line has the number 1
    cells: list[str]
    fault: str


class _NulError(Exception):
    """A line has a NUL character."""


class _Record(NamedTuple):
    """The cells that Python's CSV reader returns for one row, the row's lines in the file, and the first line's number."""

    line: int
    cells: list[str]
    lines: list[str]


@contextmanager
def _open_zip(path: Path) -> Iterator[IO[bytes]]:
    """Open the only file in a zip file."""
    with zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) != 1:
            what = f"the zip file has {len(archive.namelist())} files, but a single table was expected"
            raise DatasetError(what, str(path), "unpack it, and give the table")
        with archive.open(archive.namelist()[0]) as file:
            yield file


# suffix of a compressed file -> function that opens the unpacked bytes
_OPENERS: dict[str, Any] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
    ".zst": partial(pa.input_stream, compression="zstd"),
}


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain or compressed (.gz, .bz2, .xz, .zip, .zst) file; the bytes are unpacked when they are read.

    Raises DatasetError for a pipe, which would wait for a writer, and for a folder, socket or device.
    """
    if what := DatasetError.not_a_file(path):
        raise DatasetError(what, str(path), "give the path of a file; tables are read several times")
    opener = _OPENERS.get(path.suffix.lower())
    with opener(path) if opener else path.open("rb") as file:
        yield file


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """Open a plain or compressed text file, see `open_bytes`, without changing its line ends."""
    with open_bytes(path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield text


def check_unpacked_size(path: Path) -> None:
    """Raise DatasetError if a compressed file unpacks to more than MAX_UNPACKED_BYTES; needs only 1 MB of memory."""
    if path.suffix.lower() not in _OPENERS:
        return
    size = 0
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_UNPACKED_BYTES:
                what = f"the compressed table unpacks to more than {MAX_UNPACKED_BYTES:,} bytes"
                raise DatasetError(what, str(path), "if its content is right, unpack it: plain tables have no limit")


def column_names(path: Path) -> list[str]:
    """Return the column names of a CSV file, "" for a column without a name; [] for an empty file.

    Raises DatasetError for a table whose cells are separated by semicolons, tabs or bars, and for more than MAX_COLUMNS columns.
    """
    records = _records(path)
    try:
        names: list[str] = next((record.cells for record in records), [])
    finally:
        records.close()
    check_columns(len(names), path)
    for separator, shown in _OTHER_SEPARATORS.items():
        # published headers have commas inside names, such as OriginalImage[Width,Height]
        if names and names[0].count(separator) > len(names) - 1:
            what = f"the cells of the table are separated by {shown}, not by commas"
            fix = "save it as CSV with commas between the cells and decimal points (in a spreadsheet: English settings)"
            raise DatasetError(what, str(path), fix)
    return names


def check_columns(number: int, path: Path) -> None:
    """Raise DatasetError for more than MAX_COLUMNS columns."""
    if number > MAX_COLUMNS:
        what = f"the table has {number:,} columns, the maximum is {MAX_COLUMNS:,}"
        raise DatasetError(what, str(path), "write only the columns that are needed")


def count_regular_rows(path: Path) -> int | None:
    """Return the number of rows below the header if each line of the file is a row with all cells, else None.

    Most files have only rows of this kind, and this function is three times as fast as `rows`.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with _open_text(path) as file:
        reader = csv.reader(_without_nul(file))
        try:
            width = len(next(reader, []))
            number = 0
            for number, cells in enumerate(reader, 1):
                if len(cells) != width or reader.line_num != number + 1:
                    return None
        except (csv.Error, _NulError):
            return None
    return number


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows below the header. Raises DatasetError if the last row is truncated or a quote is never closed."""
    records = _records(path)
    width, least = 0, 0
    for header in records:
        names = header.cells
        width = len(names)
        least = max((number for number, name in enumerate(names, 1) if name.strip()), default=width)
        break
    for line, cells, lines in records:
        if least <= len(cells) <= width and len(lines) == 1 and "\0" not in lines[0]:
            yield Row(line, cells, "")
        elif len(lines) > 1 and _has_rows(lines, least, width):
            for number, text in enumerate(lines, line):
                yield Row(
                    number, _parsed(text), f"an unclosed quote joins this row with others at {path.name}:{number}"
                )
        else:
            if len(cells) < least and len(lines) == 1 and not lines[0].endswith(("\n", "\r")):
                raise DatasetError("the last row is truncated", f"{path}:{line}", "download the file again")
            yield Row(line, cells, _fault(cells, lines, least, width, f"{path.name}:{line}"))


def as_csv(path: Path) -> StringIO:
    """Return the header and the rows as CSV text in which every row has the cells of the header and no NUL character.

    Missing cells are blank, and additional cells are left out.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = column_names(path)
    width = len(names)
    writer.writerow(names)
    for row in rows(path):
        cells = [cell.replace("\0", "") for cell in row.cells[:width]] if row.fault else row.cells
        writer.writerow(cells + [""] * (width - len(cells)))
    text.seek(0)
    return text


def _fault(cells: list[str], lines: list[str], least: int, width: int, where: str) -> str:
    """Return why a row cannot be used, or "". A valid row has `least` to `width` cells and no NUL character."""
    if not least <= len(cells) <= width:
        noun = "cell" if len(cells) == 1 else "cells"
        return f"{len(cells)} {noun} in a table of {width} columns at {where}"
    return f"a NUL character at {where}" if any("\0" in line for line in lines) else ""


def _has_rows(lines: list[str], least: int, width: int) -> bool:
    """Return whether an unclosed quote joins rows: the first line and a later line (without the quote) are whole rows.

    A whole row has `least` to `width` cells. A line with a cell that begins with a space is free text, not a row:
    free text has a space after a comma, and tables do not.
    """
    texts = ["".join(line.rsplit('"', 1)) if line.count('"') % 2 else line for line in lines]
    are_rows = [
        width > 1 and least <= len(cells) <= width and not any(cell.startswith(" ") for cell in cells)
        for cells in map(_parsed, texts)
    ]
    return are_rows[0] and any(are_rows[1:])


def _parsed(text: str) -> list[str]:
    """Return the cells of one line of text, read as a row of its own."""
    return next(csv.reader([text.rstrip("\r\n")]), [])


def _records(path: Path) -> Generator[_Record, None, None]:
    """Yield the records of a CSV file, beginning with the header; blank lines are skipped."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)  # the default of Python is too small for a cell with an encoded mask
    lines: list[str] = []
    with _open_text(path) as file:
        reader = csv.reader(_collected(file, lines))
        line = 1
        try:
            for cells in reader:
                if len(cells) > 1 or "".join(lines).strip(" \t\r\n"):
                    yield _Record(line, cells, lines)
                line = reader.line_num + 1
                lines.clear()
        except csv.Error as error:
            fix = "close the quote that opens in this row"
            raise DatasetError(f"not a readable CSV file: {error}", f"{path}:{line}", fix) from error


def _collected(file: IO[str], lines: list[str]) -> Iterator[str]:
    """Yield the lines of a file, and append each to `lines`."""
    for line in file:
        lines.append(line)
        yield line


def _without_nul(file: IO[str]) -> Iterator[str]:
    """Yield the lines of a file; raise _NulError for a NUL character."""
    for line in file:
        if "\0" in line:
            raise _NulError
        yield line


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file without spaces at their ends; blank lines are left out.

    A byte order mark, which Windows writes, is removed. Raises DatasetError for a file that is missing or not UTF-8 text.
    """
    try:
        with open_bytes(path) as file:
            content = file.read()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read the file: {error.strerror}", str(path), "check its name") from error
    except UnicodeDecodeError as error:
        raise DatasetError.not_utf8(path, content.splitlines(keepends=True)) from error
    if "\0" in text:  # UTF-16 without a byte order mark
        raise DatasetError.not_utf8(path, content.splitlines(keepends=True))
    return [line.strip() for line in text.splitlines() if line.strip()]
