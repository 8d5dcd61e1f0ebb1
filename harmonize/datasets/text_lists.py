"""Read a text file with one entry in each line, such as the lists of training and test images of a dataset."""

from pathlib import Path

from harmonize.datasets.csvrows import open_bytes
from harmonize.errors import DatasetError


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
