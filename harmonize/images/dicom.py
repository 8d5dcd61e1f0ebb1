"""A DICOM radiograph -> gray uint8 as a reader would see it: rescaled, windowed, bone bright."""

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from harmonize.images.gray_levels import percentiles_to_uint8, window_to_uint8
from harmonize.images.image_header import DEFLATED, UnreadableImage, check_size

_DARKEST = 16  # an 8-bit image in a 12-bit window takes up a sixteenth of it


def read_dicom(content: bytes) -> NDArray[np.uint8]:
    """Return the first frame as uint8 [H, W].

    A VOI table or window of the file is used (the first of several), else percentiles as for 16-bit PNG.
    MONOCHROME1 is inverted. Raises UnreadableImage, also for deflated files: their size is unknown until they are decompressed into memory.
    Source: DICOM PS3.3, C.11.1 (modality), C.11.2 (window), C.7.6.3.1.2 (photometric interpretation).
    """
    if DEFLATED in content:
        raise UnreadableImage("deflated DICOM: rewrite it uncompressed, e.g. with dcmconv")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd lengths, unknown private tags: nothing that changes a pixel
            data = pydicom.dcmread(io.BytesIO(content))
            _check_pixels(data)
            check_size(int(data.Rows), int(data.Columns) * int(data.get("NumberOfFrames") or 1))
            _trust_the_pixels(data)
            return _to_gray(data, data.pixel_array)
    except UnreadableImage:
        raise
    except Exception as error:  # pydicom and its decoders raise almost anything on damaged input
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableImage(f"damaged DICOM: {text[:200]}") from error


def _check_pixels(data: Any) -> None:
    """Raise UnreadableImage for a report, a presentation state or a header alone."""
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableImage("damaged DICOM: no pixel data")


def _trust_the_pixels(data: Any) -> None:
    """Use all allocated bits: pydicom would cut off the bits above a BitsStored that is too low.

    Left alone: signed values (their sign is at BitsStored), compressed ones (their stream knows), overlays in the same
    words.
    """
    compressed = data.file_meta.TransferSyntaxUID.is_compressed
    overlaid = any(tag.group & 0xFF00 == 0x6000 and tag.element == 0x0102 and data[tag].value for tag in data.keys())  # noqa: SIM118
    if not compressed and not overlaid and data.get("PixelRepresentation") == 0 and "BitsAllocated" in data:
        data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1


def _to_gray(data: Any, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return stored values as gray; the tags of `data` say how."""
    if int(data.get("SamplesPerPixel", 1)) > 1:
        stored = stored.reshape(-1, data.Rows, data.Columns, int(data.SamplesPerPixel))[0].mean(axis=2)
    elif stored.ndim == 3:
        stored = stored[0]
    values = apply_modality_lut(stored, data)
    if "VOILUTSequence" in data:
        shown = apply_voi_lut(values, data, index=0)
        gray = window_to_uint8(shown, float(shown.min()), float(shown.max()))
    elif (window := _window(data)) is not None and _shows(*window, values):
        gray = window_to_uint8(_curve(data, values, *window), 0.0, 1.0)
    else:
        floor = values.min()
        gray = percentiles_to_uint8(np.clip(values - floor, 0, 65535).astype(np.uint16))
    if data.get("PhotometricInterpretation", "MONOCHROME2") == "MONOCHROME1":
        gray = 255 - gray
    return np.ascontiguousarray(gray)


def _window(data: Any) -> tuple[float, float] | None:
    """Return center and width of the first window, None if the file has no valid window."""
    centre, width = (data.get(name) for name in ("WindowCenter", "WindowWidth"))
    first = [value[0] if isinstance(value, pydicom.multival.MultiValue) else value for value in (centre, width)]
    if any(value is None or value == "" for value in first) or not float(first[1]) > 1:
        return None
    return float(first[0]), float(first[1])


def _shows(centre: float, width: float, values: NDArray[Any]) -> bool:
    """Return whether a window shows the image: not where all values share a sixteenth of it, or lie outside it.

    Some files state 12 or more bits and a window to match, and hold 8: such a window would show black.
    """
    low, high = float(values.min()), float(values.max())
    inside = min(high, centre + width / 2) - max(low, centre - width / 2)
    return low == high or (inside > 0 and (high - low) * _DARKEST > width)


def _curve(data: Any, values: NDArray[Any], centre: float, width: float) -> NDArray[np.float32]:
    """Return values through the window's function, 0 to 1 inside it."""
    x = values.astype(np.float32)
    kind = data.get("VOILUTFunction", "LINEAR")
    if kind == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -60, 60))), np.float32)
    if kind == "LINEAR_EXACT":
        return np.asarray((x - centre) / width + 0.5, np.float32)
    return np.asarray((x - (centre - 0.5)) / (width - 1) + 0.5, np.float32)
