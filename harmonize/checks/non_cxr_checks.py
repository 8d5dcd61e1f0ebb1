"""Detect files that are not frontal chest radiographs, and images whose gray levels differ from those of others.

A remark is a text that states what is unusual about a file. `bench check` and `bench predict` make remarks with the
same functions. A file without remarks may still show something other than a chest.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images.image_header import ImageFile, is_dicom, is_gray_jpeg

# In a color pixel, the largest channel is more than this number of gray levels above the smallest. JPEG noise causes
# smaller differences.
MIN_COLOR_DIFFERENCE = 32
SHARE = 0.02  # an image with a larger share of color pixels is a color image; an arrow or a logo has fewer color pixels
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORSO", "TRUNK")
_LATERAL = ("LL", "RL", "LATERAL", "LLD", "RLD", "ML")
_FRONTAL = ("AP", "PA")
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_LATERAL_WORDS = re.compile(r"(?<![A-Z])(LAT|LATERAL|LATERO\w*|LL|RL|SEIT\w*|PROFIL|PERFIL)(?![A-Z])")
_FRONTAL_WORDS = re.compile(r"(?<![A-Z])(AP|PA|A\.?P\.?|P\.?A\.?|FRONTAL|POSTERO\W?ANT\w+|ANTERO\W?POST\w+)(?![A-Z])")
# of 1,500 real radiographs, the lowest number of gray levels is 107, the largest change between neighboring pixels .17 standard
# deviations, and the second largest share of rows with one gray value .17
_LEAST_LEVELS, _ROUGHEST, _MOST_EMPTY = 32, 0.25, 0.2
_MOST_BLACK, _MOST_WHITE = 0.6, 0.3  # of 2,259 real radiographs, the largest shares of pixels are .52 and .27
_LONG = 2.0  # maximum ratio of the long side to the short side of a chest radiograph
_FENCE = 3.0  # interquartile ranges from a quartile to the end of the usual range: Tukey's outer fences
_BLOCK = 2**24  # number of pixels whose gray values are computed at once; each takes 8 bytes
# names of gray values, with the minimum width that an interquartile range counts as: in most cohorts without black
# borders, both quartiles of the share of black pixels are 0
_MIN_WIDTH = {"mean gray": 5.0, "contrast": 5.0, "black pixels": 0.05, "white pixels": 0.05}


def unlike_radiograph(path: ImageFile, image: NDArray[np.uint8]) -> list[str]:
    """Return remarks on what is unusual about a file; [] if the checks detect nothing. `image`: the result of `read_gray`."""
    content = path.read_bytes()
    remarks = [*(_of_dicom(content) if is_dicom(content) else _of_colors(content)), *_of_pixels(image)]
    height, width = image.shape
    if max(height, width) > _LONG * min(height, width):
        remarks.append(f"{width} x {height} pixels is not a shape of a chest radiograph")
    return remarks


def gray_values(image_NP: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Return mean and standard deviation of the gray values, and shares of black and of white pixels, of N images.

    P is the number of pixels of an image.
    """
    image_NP = image_NP.reshape(len(image_NP), -1)
    blocks = np.array_split(image_NP, -(-image_NP.size // _BLOCK) or 1)
    return {
        "mean gray": np.concatenate([block.mean(axis=1) for block in blocks]),
        "contrast": np.concatenate([block.std(axis=1) for block in blocks]),
        "black pixels": np.concatenate([(block < 6).mean(axis=1) for block in blocks]),
        "white pixels": np.concatenate([(block > 249).mean(axis=1) for block in blocks]),
    }


def usual_range(values: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[float, float]]:
    """Return {name of a value of `gray_values`: (lowest, highest)}, the range of usual values; {} without images.

    The range ends three interquartile ranges below and above the quartiles.
    Source: Tukey 1977, Exploratory Data Analysis (outer fences).
    """
    ranges = {}
    for name, value_N in values.items():
        if len(value_N):
            low, high = np.percentile(value_N, [25, 75])
            width = _FENCE * max(high - low, _MIN_WIDTH[name])
            most = 1.0 if name.endswith("pixels") else 255.0
            ranges[name] = (float(max(0.0, low - width)), float(min(most, high + width)))
    return ranges


def unusual_gray(
    values: Mapping[str, NDArray[np.float64]], usual: Mapping[str, tuple[float, float]], whose: str
) -> list[list[str]]:
    """Return the remarks on each of N images whose gray values lie outside the usual range of the images `whose`."""
    remarks: list[list[str]] = [[] for _ in next(iter(values.values()))]
    for name, (low, high) in usual.items():
        scale, unit = (100, " %") if name.endswith("pixels") else (1, "")
        for row in np.flatnonzero((values[name] < low) | (values[name] > high)):
            shown, lowest, highest = (f"{scale * value:.3g}" for value in (values[name][row], low, high))
            remarks[row].append(f"{name}: {shown}{unit} ({whose}: {lowest} to {highest}{unit})")
    return remarks


def _of_pixels(image: NDArray[np.uint8]) -> Iterator[str]:
    """Yield remarks on pixels that a radiograph does not have, but a file with a damaged part or a wrong header has."""
    height = len(image)
    number_of_level = np.bincount(image.ravel(), minlength=256)
    if (levels := np.count_nonzero(number_of_level)) < _LEAST_LEVELS:
        yield f"only {levels} gray levels"
    rows = image[: height - 1 : max(1, height // 256)].astype(np.int16)
    below = image[1 :: max(1, height // 256)].astype(np.int16)
    change = max(np.abs(rows - below).mean(), np.abs(np.diff(rows, axis=1)).mean())
    if change > _ROUGHEST * image.std():
        yield "neighboring pixels differ as in noise"
    # rows of one gray value, and a different number for each other row
    row_value = np.where((image == image[:, :1]).all(axis=1), image[:, 0], np.arange(256, 256 + height))
    ends = np.flatnonzero(np.diff(row_value, append=-1))
    if (empty := int(np.diff(ends, prepend=-1).max())) > _MOST_EMPTY * height:
        yield f"{empty} of {height} rows have one gray value"
    for name, part, most in (("black", slice(6), _MOST_BLACK), ("white", slice(250, 256), _MOST_WHITE)):
        if (share := number_of_level[part].sum() / image.size) > most:
            yield f"{100 * share:.0f} % of the pixels are {name}: a window or padding may hide the image"


def _of_colors(content: bytes) -> list[str]:
    """Return a remark if a JPEG or PNG is a color image."""
    is_png = content[:8] == b"\x89PNG\r\n\x1a\n"
    # byte 25 of a PNG file is its color type: 0 is gray, 4 is gray with transparency
    if content[25:26] in (b"\x00", b"\x04") if is_png else is_gray_jpeg(content):
        return []
    # at an eighth of its width and height
    small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    return [] if small is None else _color_remark(small)


def _color_remark(image: NDArray[Any]) -> list[str]:
    """Return a remark if many pixels of an image [H, W, 3] have a color."""
    share = float((np.ptp(image, axis=2) > MIN_COLOR_DIFFERENCE).mean())
    return [f"color image ({100 * share:.0f} % of its pixels): radiographs are gray"] if share > SHARE else []


def _of_dicom(content: bytes) -> list[str]:
    """Return remarks on a DICOM file."""
    # imported only when needed, because the import takes half a second
    from pydicom.pixels.utils import pixel_array

    from harmonize.images.dicom import MODALITIES, deviations, open_dicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = open_dicom(content)
            modality, body_part, view = (_text(data, name) for name in ("Modality", "BodyPartExamined", "ViewPosition"))
            frames = int(data.get("NumberOfFrames") or 1)
            remarks = deviations(data)
            if data.get("SamplesPerPixel") == 3 and data.BitsAllocated == 8:
                remarks += _color_remark(pixel_array(data, index=0)[::8, ::8])
            sides = [str(side).upper()[:1] for side in data.get("PatientOrientation") or ()]
            words = " ".join(_text(data, name, 64) for name in _DESCRIPTIONS)
            words += "".join(" " + _text(item, "CodeMeaning", 64) for item in data.get("ViewCodeSequence") or ())
    except Exception:  # noqa: BLE001  (the pixels could be read, so a damaged header gives no remarks)
        return []
    if modality and modality not in MODALITIES:
        remarks.append(f"DICOM modality {modality} is not a radiograph")
    if body_part and not any(word in body_part for word in _CHEST):
        remarks.append(f"DICOM body part {body_part} is not the chest")
    if view in _LATERAL:
        remarks.append(f"DICOM view {view} is lateral: by default, runs train on frontal images")
    elif len(sides) == 2 and sides[0] in ("A", "P"):
        remarks.append(f"DICOM PatientOrientation {sides[0]}\\{sides[1]} is that of a lateral image")
    elif view not in _FRONTAL and _LATERAL_WORDS.search(words) and not _FRONTAL_WORDS.search(words):
        remarks.append(f"DICOM description {words.strip()[:32]} is that of a lateral image")
    if len(sides) == 2 and sides[0] not in ("A", "P") and sides != ["L", "F"]:
        remarks.append(f"DICOM PatientOrientation {sides[0]}\\{sides[1]}, not L\\F: the image is mirrored or turned")
    if frames > 1:
        remarks.append(f"{frames} frames: only the first is used")
    return remarks


def _text(data: Any, name: str, limit: int = 32) -> str:
    """Return the first characters of a DICOM tag, in capitals; "?" replaces characters unsafe in terminals or HTML."""
    text = str(data.get(name) or "").strip().upper()
    return "".join(c if c.isprintable() and c not in "<>&;" else "?" for c in text)[:limit]
