"""Read sex and age from DICOM headers, for a dataset whose tables do not state them (VinDr-CXR)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from harmonize.images.image_header import DEFLATED

Progress = Callable[[str, int, int], None]
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def read_people(files: Sequence[Path], workers: int = 1, progress: Progress | None = None) -> pd.DataFrame:
    """Return image_id (the file's name without suffix), sex (F, M or "") and age in years (NaN if not stated).

    Only two tags of each header are read. A file that has no such tags, or is not DICOM, gives "" and NaN.
    Format of an age: nnnD, nnnW, nnnM or nnnY for days, weeks, months or years (DICOM PS3.5, 6.2, AS).
    """
    rows = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, (path, (sex, age)) in enumerate(zip(files, pool.map(_sex_and_age, files), strict=True), start=1):
            rows.append((path.stem, sex, age))
            if progress is not None:
                progress("read headers", done, len(files))
    return pd.DataFrame(rows, columns=["image_id", "sex", "age"])


def _sex_and_age(path: Path) -> tuple[str, float]:
    import pydicom  # imported only when needed, because the import takes half a second

    try:
        with path.open("rb") as file:
            if DEFLATED in file.read(2**16):  # pydicom would have to decompress the complete file
                return "", float("nan")
        data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientSex", "PatientAge"], force=True)
        sex, age = str(data.get("PatientSex") or "").strip().upper(), str(data.get("PatientAge") or "").strip().upper()
    except Exception:  # noqa: BLE001  (pydicom raises almost any error for files that are not DICOM)
        return "", float("nan")
    return sex if sex in ("F", "M") else "", _years(age)


def _years(text: str) -> float:
    """Return the age in years that a DICOM age string states.

    >>> _years("045Y"), _years("006M"), _years("")
    (45.0, 0.5, nan)
    """
    number, unit = text.rstrip("YMWD"), text[-1:]
    if not number.isdigit():
        return float("nan")
    return int(number) / _PER_YEAR.get(unit, 1.0)
