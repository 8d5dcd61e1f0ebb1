"""Find the image files that a user names. This module imports neither pandas nor torch, so a missing file is reported at once."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harmonize.errors import DatasetError
from harmonize.images.image_header import IMAGE_ENDINGS, is_image

_HEAD = 4096  # bytes of a file that show what it is


def images_of(given: Sequence[Path], say: Callable[[str], object] = warnings.warn) -> list[Path]:
    """Return the image files that some paths name.

    A path is an image file, a folder (all files below the folder that are PNG, JPEG or DICOM by content or ending are
    returned), or a CSV. A CSV names one image per row in its column `path` or `image`, relative to the CSV. Each image is
    returned once. `say` is called with the number of other files of a folder, by ending. Raises DatasetError for a missing
    path, an unreadable folder, and for a folder or a CSV without images.
    """
    files: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            walk = os.walk(path, onerror=DatasetError.refuse_folder)
            below = sorted(Path(at) / name for at, _, names in walk for name in names)
            images = [file for file in below if _is_image(file)]
            kinds = Counter(file.suffix.lower() or "without ending" for file in set(below).difference(images))
            others = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
            if not images:
                found = f" (other files: {others})" if others else ""
                raise DatasetError(f"no images below this folder{found}", str(path), "give PNG, JPEG or DICOM files")
            if others:
                say(f"{path}: left out, because their content is no PNG, JPEG or DICOM: {others}")
        elif not path.is_file():
            raise DatasetError("no such file or folder", str(path), "give image files, a folder of them, or a CSV")
        else:
            images = _listed(path) if path.suffix.lower() == ".csv" else [path]
        files |= dict.fromkeys(images)
    return list(files)


def _is_image(path: Path) -> bool:
    """Return whether a file is an image by its ending or content, or unreadable: then the reader states the reason."""
    if path.suffix.lower() in IMAGE_ENDINGS:
        return True
    try:
        if not path.is_file():  # a pipe has no end
            return False
        with path.open("rb") as file:
            return is_image(file.read(_HEAD))
    except OSError:
        return True


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
    listed = [path.parent / name for name in table[column] if name.strip()]
    if not listed:
        raise DatasetError(f"the column `{column}` names no image", str(path), "name one image file in each row")
    return listed
