"""Read and write the first sheet of an Excel workbook (.xlsx), as text, without a package that the program needs for nothing else.

Source: ECMA-376, part 1, 18.3.1 (worksheets) and 18.4 (shared strings).
"""

import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET  # nosec B405

import pandas as pd

from harmonize.errors import DatasetError

_SHEET, _SHARED = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_MOST_BYTES = 500_000_000  # of a member; the sheet of CheXpert's 65,401 patients has about 20 MB
_FIX = "use the file as published, or save its sheet as CSV with the same name"


def read_xlsx(path: Path) -> pd.DataFrame:
    """Return the cells as text, "" for an empty cell; the index has the number of each row in the sheet.

    The first row has the names of the columns. Raises DatasetError for a file that cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shared = [_text(item) for item in _root(archive, _SHARED)] if _SHARED in archive.namelist() else []
            rows = [
                # the place of a cell begins with the letters of its column: "AB12"
                (
                    int(row.get("r", "0")),
                    {cell.get("r", "").rstrip("0123456789"): _value(cell, shared) for cell in row.iter(f"{_SPACE}c")},
                )
                for row in _root(archive, _SHEET).iter(f"{_SPACE}row")
            ]
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile, ET.ParseError, RuntimeError) as error:
        raise DatasetError(f"not a readable workbook: {error}", str(path), _FIX) from error
    if not rows:
        raise DatasetError("the sheet has no rows", str(path), _FIX)
    columns = {letters: name.strip() for letters, name in rows[0][1].items() if name.strip()}
    cells = [{name: row.get(letters, "") for letters, name in columns.items()} for _, row in rows[1:]]
    return pd.DataFrame(cells, index=[number for number, _ in rows[1:]], columns=list(columns.values()), dtype=object)


def write_xlsx(table: pd.DataFrame, path: Path) -> None:
    """Write a table as text cells, only with the part that `read_xlsx` reads: it returns the table again, with row numbers from 2."""
    sheet = ET.Element("worksheet", xmlns=_SPACE[1:-1])
    data = ET.SubElement(sheet, "sheetData")
    for number, cells in enumerate([list(table.columns), *table.to_numpy(object).tolist()], 1):
        row = ET.SubElement(data, "row", r=str(number))
        for column, value in enumerate(cells):
            cell = ET.SubElement(row, "c", r=f"{chr(65 + column)}{number}", t="inlineStr")
            ET.SubElement(ET.SubElement(cell, "is"), "t").text = str(value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_SHEET, ET.tostring(sheet, encoding="unicode", xml_declaration=True))


def _root(archive: zipfile.ZipFile, name: str) -> ET.Element:
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise ValueError(f"{name} is too large")
    # expat limits the expansion of entities, and ElementTree loads no external entities
    return ET.fromstring(archive.read(name))  # noqa: S314  # nosec B314


def _value(cell: ET.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell)
    value = cell.findtext(f"{_SPACE}v") or ""
    return shared[int(value)] if cell.get("t") == "s" else value


def _text(element: ET.Element) -> str:
    return "".join(part.text or "" for part in element.iter(f"{_SPACE}t"))
