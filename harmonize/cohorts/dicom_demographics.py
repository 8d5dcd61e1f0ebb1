"""Read sex, age and size of the image from DICOM headers, for a dataset whose tables do not state them (VinDr-CXR)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from harmonize.images.image_header import DEFLATED
from harmonize.progress import Progress

_TAGS = ("PatientSex", "PatientAge", "Rows", "Columns")
_UNKNOWN = ("", float("nan"), None, None)
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def read_people(files: Sequence[Path], workers: int = 1, progress: Progress | None = None) -> pd.DataFrame:
    """Return image_id (the file's name without suffix), sex (F, M or ""), age in years, rows and columns.

    Rows and columns are the height and width in pixels. Only these tags of each header are read. A file that has no
    such tags, or is not DICOM, gives "" for the sex and a missing value for the others.
    Format of an age: nnnD, nnnW, nnnM or nnnY for days, weeks, months or years (DICOM PS3.5, 6.2, AS).
    """
    rows = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, (path, values) in enumerate(zip(files, pool.map(_header, files), strict=True), start=1):
            rows.append((path.stem, *values))
            if progress is not None:
                progress("read headers", done, len(files))
    table = pd.DataFrame(rows, columns=["image_id", "sex", "age", "rows", "columns"])
    return table.astype({"rows": "Int64", "columns": "Int64"})


def _header(path: Path) -> tuple[str, float, int | None, int | None]:
    """Return sex, age, rows and columns of one file."""
    import pydicom  # imported only when needed, because the import takes half a second

    try:
        with path.open("rb") as file:
            if DEFLATED in file.read(2**16):  # pydicom would have to decompress the complete file
                return _UNKNOWN
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        rows, columns = (None if data.get(name) is None else int(data[name].value) for name in _TAGS[2:])
        sex, age = str(data.get("PatientSex") or "").strip().upper(), str(data.get("PatientAge") or "").strip().upper()
    except Exception:  # noqa: BLE001  (pydicom raises almost any error for files that are not DICOM)
        return _UNKNOWN
    return sex if sex in ("F", "M") else "", _years(age), rows, columns


def _years(text: str) -> float:
    """Return the age in years that a DICOM age string states.

    >>> _years("045Y"), _years("006M"), _years("")
    (45.0, 0.5, nan)
    """
    number, unit = text.rstrip("YMWD"), text[-1:]
    if not number.isdigit():
        return float("nan")
    return int(number) / _PER_YEAR.get(unit, 1.0)
