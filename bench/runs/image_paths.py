"""Find the image files that a user names. This module imports neither pandas nor torch, so a missing file is reported at once."""

import os
from collections.abc import Sequence
from pathlib import Path

from harmonize.errors import DatasetError
from harmonize.images.image_header import IMAGE_ENDINGS


def images_of(given: Sequence[Path]) -> list[Path]:
    """Return the image files that some paths name.

    A path is an image file, a folder (all PNG, JPEG and DICOM files below the folder are returned), or a CSV. A CSV
    names one image per row in its column `path` or `image`, relative to the CSV. Each image is returned once. Raises
    DatasetError for a missing path, an unreadable folder, and for a folder or a CSV without images.
    """
    files: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            walk = os.walk(path, onerror=DatasetError.refuse_folder)
            below = [Path(at) / name for at, _, names in walk for name in names]
            own = sorted(file for file in below if file.suffix.lower() in IMAGE_ENDINGS)
            if not own:
                fix = f"give a folder with {', '.join(IMAGE_ENDINGS)} files, or name the files"
                raise DatasetError("no images below this folder", str(path), fix)
        elif not path.is_file():
            raise DatasetError("no such file or folder", str(path), "give image files, a folder of them, or a CSV")
        else:
            own = _listed(path) if path.suffix.lower() == ".csv" else [path]
        files |= dict.fromkeys(own)
    return list(files)


def _listed(path: Path) -> list[Path]:
    """Return the image files in the column `path` or `image` of a CSV file."""
    from harmonize.datasets.user_table import read_user_table

    try:
        table = read_user_table(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read this CSV: {error}", str(path), "give a table with a column `path`") from error
    column = next((name for name in ("path", "image") if name in table), None)
    if column is None:
        raise DatasetError("no column `path` or `image`", str(path), "name the column of image files `path`")
    if not (listed := [path.parent / name for name in table[column] if name.strip()]):
        raise DatasetError(f"the column `{column}` names no image", str(path), "name one image file in each row")
    return listed
