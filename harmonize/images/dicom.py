"""Read a DICOM radiograph as gray uint8, as a viewer shows it: rescaled, windowed, with bright bone."""

import io
import textwrap
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from harmonize.images.gray_levels import HIGH_PERCENT, LOW_PERCENT, percentiles_to_uint8, window_to_uint8
from harmonize.images.image_header import (
    DEFLATED,
    INSTALL_DECODERS,
    UnreadableImage,
    check_size,
    checked_jpeg_size,
    jpeg2000_size,
)
from harmonize.images.pixels import read_jpeg

# values of the DICOM tag Modality for radiography and fluoroscopy (DICOM PS3.3, C.7.3.1.1.1)
MODALITIES = ("CR", "DX", "RG", "RF", "XA")
_NO_NUMBERS = "damaged DICOM: pixel values that are no numbers, e.g. because of RescaleSlope"
# A window is ignored if it is more than this many times as wide as the range of the pixel values. The ratio is 16 if a
# file with 8-bit values declares a 12-bit window.
_MAX_WINDOW_RATIO = 16

_SQUARE = 1.01  # largest ratio of the sides of a square pixel: spacings are rounded
_CHUNK = 2**22  # pixels; their values take 8 bytes each while they are converted

# The first byte of an RLE run has 256 possible values. For each value: the number of bytes from this run to the next,
# and the number of bytes of the run after decompression. A run that begins with 128 has no data.
_RLE_STEP = (*range(2, 130), 1, *[2] * 127)
_RLE_EXPANDED = (*range(1, 129), 0, *range(128, 1, -1))


def read_dicom(content: bytes) -> NDArray[np.uint8]:
    """Decode the first frame of a DICOM file to gray uint8 [H, W].

    Gray levels follow the file's first VOI table (a table of display values) or, without a table, its first window;
    without both, `percentiles_to_uint8` sets the gray levels. Images in MONOCHROME1 (low values are bright) are
    inverted. Colors, also of a palette, become the mean of the channels. Pixel padding becomes black, and does not
    affect the gray levels of the other pixels.

    Raises UnreadableImage for a damaged or too large file, for a compression without an installed decoder, for pixel
    values that are no numbers, and for a deflated file, whose size is unknown before decompression.
    Source: DICOM PS3.3, C.11.1 (modality), C.11.2 (window), C.7.6.3.1.2 (photometric interpretation), C.7.5.1.1.2
    (pixel padding).
    """
    if DEFLATED in content:
        raise UnreadableImage("deflated DICOM: rewrite it uncompressed, e.g. with dcmconv")
    syntax = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about odd lengths or private tags do not matter for pixels
            data = open_dicom(content)
            _check_pixels(data)
            syntax = data.file_meta.TransferSyntaxUID
            _check_decoder(syntax)
            _check_limits(data)
            if _bits_above(data) is False:
                data.pixel_array_options(correct_unused_bits=False)
            return _to_gray(data, _stored_values(data))
    except UnreadableImage:
        raise
    except Exception as error:  # pydicom and its decoders raise many types of errors for damaged files
        text = textwrap.shorten(str(error), 200, placeholder=" ...", break_on_hyphens=False) or type(error).__name__
        missing = get_decoder(syntax).missing_dependencies if syntax is not None and syntax.is_compressed else ()
        if syntax != RLELossless and any(name.startswith("pylibjpeg") for name in missing):  # the extra `dicom`
            raise UnreadableImage(f"damaged DICOM, or a decoder is missing ({INSTALL_DECODERS}): {text}") from error
        raise UnreadableImage(f"damaged DICOM: {text}") from error


def open_dicom(content: bytes, with_pixels: bool = True) -> Any:
    """Return the data set of a DICOM file, also of a file without preamble or without Transfer Syntax UID.

    A missing Transfer Syntax UID is set from the encoding of the elements. This encoding does not tell how pixels are
    compressed: raises UnreadableImage if compressed pixels have no Transfer Syntax UID.
    """
    data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=not with_pixels, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        if "PixelData" in data and data["PixelData"].is_undefined_length:
            raise UnreadableImage("DICOM with compressed pixels, but without Transfer Syntax UID")
        is_implicit, is_little_endian = data.original_encoding
        explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return data


def _check_decoder(syntax: Any) -> None:
    """Raise UnreadableImage if no decoder of the transfer syntax exists, or if none is installed."""
    if not syntax.is_transfer_syntax:
        raise UnreadableImage(f"DICOM with an unknown transfer syntax: {str(syntax)[:64]!a}")
    if not syntax.is_compressed:
        return
    name = syntax.name.partition(",")[0].partition(" Image Compression")[0]
    try:
        is_available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise UnreadableImage(f"no decoder for DICOM pixels in {name}") from error
    if not is_available:
        raise UnreadableImage(f"no decoder for {name}: {INSTALL_DECODERS}")


def _stored_values(data: Any) -> NDArray[Any]:
    """Return the decoded pixels; Pillow decodes if possible, so that further installed decoders change no pixels.

    Decoders of lossy JPEG and JPEG 2000 differ by a gray level. Pillow, a requirement of torchvision, is always installed.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed and "pillow" in get_decoder(syntax).available_plugins:
        data.pixel_array_options(decoding_plugin="pillow")
        try:
            return np.asarray(data.pixel_array)
        except Exception:  # noqa: BLE001  (Pillow has no 12-bit JPEG; the other decoders then state the reason)
            data.pixel_array_options(decoding_plugin="")
    return np.asarray(data.pixel_array)


def _check_pixels(data: Any) -> None:
    """Raise UnreadableImage for pixels that are not square, and without pixels: a report, or only a header."""
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        kind = UID(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID") or "").name
        modality = str(data.get("Modality") or "CR")
        if (kind and "Image Storage" not in kind) or modality not in MODALITIES:
            raise UnreadableImage(f"no image: {kind if 'Image' not in kind else f'DICOM modality {modality[:16]!r}'}")
        raise UnreadableImage("damaged DICOM: no pixel data")
    for name in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        sides = np.ravel(data.get(name) or 1).astype(float)
        if sides.max() > _SQUARE * sides.min():
            found = ":".join(f"{side:g}" for side in sides)
            raise UnreadableImage(f"DICOM with pixels that are not square ({name} {found}): resample it")


def _check_limits(data: Any) -> None:
    """Raise UnreadableImage if the pixels of a file need too much memory; compressed pixels are not decoded."""
    frames = int(data.get("NumberOfFrames") or 1)
    rows, columns, samples = int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel", 1))
    check_size(rows, columns, frames * samples * -(-int(data.BitsAllocated) // 8))
    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    for frame in generate_frames(data.PixelData, number_of_frames=frames):
        if syntax == RLELossless:
            _check_runs(frame, rows * columns)
        elif syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
            checked_jpeg_size(frame)
            if syntax == JPEGBaseline8Bit:
                read_jpeg(frame, at_least=1)  # small, to detect missing data
        elif syntax in JPEG2000TransferSyntaxes:
            jpeg2000_size(frame)


def _check_runs(frame: bytes, num_pixels: int) -> None:
    """Raise UnreadableImage if a segment of an RLE frame has more bytes than the image has pixels.

    pydicom expands a segment completely before it compares the sizes, and two bytes can become 128 bytes. So a damaged
    file could fill the memory.
    Source: DICOM PS3.5, G.3 (runs) and G.5 (header: number of segments, then their offsets).
    """
    offsets = np.frombuffer(frame[:64].ljust(64, b"\0"), "<u4").tolist()
    bounds = [*offsets[1 : 1 + min(offsets[0], 15)], len(frame)]
    # one byte may pad a segment to an even length
    limit = num_pixels + 1
    for start, end in pairwise(bounds):
        segment = frame[start:end]
        position, expanded, length = 0, 0, len(segment)
        while position < length and expanded <= limit:
            header = segment[position]
            position += _RLE_STEP[header]
            expanded += _RLE_EXPANDED[header]
        if expanded > limit:
            raise UnreadableImage("damaged DICOM: its compressed data are larger than the image")


def deviations(data: Any) -> list[str]:
    """Return remarks on elements of a file, read with its pixels, that contradict each other or its pixels."""
    remarks = []
    if (masked := _bits_above(data)) is not None:
        read = (
            "they are not read" if masked else f"they are read, because the {data.BitsStored} bits below are no image"
        )
        remarks.append(f"DICOM with pixels that use bits above BitsStored {data.BitsStored}: {read}")
    photometric, shape = str(data.get("PhotometricInterpretation")), str(data.get("PresentationLUTShape"))
    if (photometric, shape) in (("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")):
        done = "inverted" if _is_inverted(data) else "not inverted"
        remarks.append(f"DICOM PresentationLUTShape {shape} contradicts {photometric}: the image is {done}")
    values = data.Rows * data.Columns * data.get("SamplesPerPixel", 1) * int(data.get("NumberOfFrames") or 1)
    extra = len(data.get("PixelData") or b"") - values * data.BitsAllocated // 8
    if not data.file_meta.TransferSyntaxUID.is_compressed and extra > 1:
        remarks.append(f"DICOM with {extra:,} bytes more than Rows and Columns need")
    if data.get("PresentationIntentType") == "FOR PROCESSING":
        remarks.append("DICOM image FOR PROCESSING: raw pixels, not those that a radiologist sees")
    if data.get("SamplesPerPixel") == 3 and not data.file_meta.TransferSyntaxUID.is_compressed:
        stored = pixel_array(data, index=0, raw=True)
        other = stored.reshape(3, *stored.shape[:2])[0]
        if data.get("PlanarConfiguration") == 1:
            other = stored.transpose(2, 0, 1).reshape(stored.shape)[..., 0]
        if _roughness(other) < _roughness(stored[..., 0]):
            remarks.append(f"DICOM PlanarConfiguration {data.get('PlanarConfiguration')} does not fit the pixels")
    return remarks


def _bits_above(data: Any) -> bool | None:
    """Return whether to remove bits above BitsStored; None if no pixel has one.

    Such bits are unused and may have any value, such as an old overlay (PS3.5, 8.1.1). But some files state too few
    stored bits. Neighboring pixels are similar, so the smoother of the two images is the right one.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if (syntax.is_compressed and syntax != RLELossless) or not 0 < data.get("BitsStored", 0) < data.BitsAllocated:
        return None
    masked, whole = (pixel_array(data, index=0, correct_unused_bits=correct) for correct in (True, False))
    if np.array_equal(masked, whole) or (whole.min() >= 0 and whole.max() < 1 << data.BitsStored):
        return None
    return _roughness(masked) <= _roughness(whole)


def _roughness(image: NDArray[Any]) -> float:
    """Return the sum of the absolute differences of neighboring pixels in a row and in a column."""
    return sum(float(np.abs(np.diff(image.astype(np.int32), axis=axis)).sum(dtype=np.float64)) for axis in (0, 1))


def _is_inverted(data: Any) -> bool:
    """Return whether low values are bright: with MONOCHROME1, or with another element that states it.

    PresentationLUTShape IDENTITY does not overrule MONOCHROME1. Of raw pixels, PixelIntensityRelationshipSign 1 states
    that dense tissue has low values (PS3.3, C.8.11.3.1.2).
    """
    sign = data.get("PixelIntensityRelationshipSign")
    if data.get("PresentationIntentType") == "FOR PROCESSING" and sign in (1, -1):
        return bool(sign == 1)
    return "MONOCHROME1" in str(data.get("PhotometricInterpretation")) or data.get("PresentationLUTShape") == "INVERSE"


def _to_gray(data: Any, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return stored values as gray uint8, according to the tags of `data`."""
    if int(data.get("SamplesPerPixel", 1)) > 1:
        stored = stored.reshape(-1, data.Rows, data.Columns, int(data.SamplesPerPixel))[0].mean(axis=2)
    elif stored.ndim == 3:
        stored = stored[0]
    interpretation = data.get("PhotometricInterpretation", "MONOCHROME2")
    if interpretation == "PALETTE COLOR":
        descriptor = data["RedPaletteColorLookupTableDescriptor"]
        descriptor.value = [*descriptor.value[:2], 8 if descriptor.value[2] <= 8 else 16]  # bits of a type of numpy
        return _without_window(apply_color_lut(stored, data)[..., :3].mean(axis=-1))
    values = _rescaled(data, stored)
    padded = _padding(data, stored)
    if padded is not None:  # the minimum changes no range, and no percentile of values above it
        values = np.where(padded, values[~padded].min(), values)
    if values.dtype.kind == "f" and not np.isfinite([values.min(), values.max()]).all():
        raise UnreadableImage(_NO_NUMBERS)
    if (table := _table(data, "VOILUTSequence", is_signed=bool(values.min() < 0))) is not None:
        mapped = apply_voi(_within(table, values), data)
        gray = window_to_uint8(mapped, float(mapped.min()), float(mapped.max()))
    elif (window := _window(data)) is not None and _shows_image(*window, values):
        gray = window_to_uint8(_apply_window(data, values, *window), 0.0, 1.0)
    else:
        gray = _without_window(values)
    if _is_inverted(data):
        gray = 255 - gray
    if padded is not None:
        gray[padded] = 0
    return np.ascontiguousarray(gray)


def _rescaled(data: Any, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the stored values after the modality table, or after slope and intercept (1 and 0 if empty)."""
    table = _table(data, "ModalityLUTSequence")
    if table is not None:
        return np.asarray(apply_modality_lut(_within(table, stored), data))
    if "RescaleSlope" in data or "RescaleIntercept" in data:
        if data.get("RescaleSlope") == 0:
            raise UnreadableImage("damaged DICOM: RescaleSlope is 0, so all pixels are equal")
        data.pop("ModalityLUTSequence", None)  # without a table
        data.RescaleSlope = 1 if data.get("RescaleSlope") is None else data.RescaleSlope
        data.RescaleIntercept = 0 if data.get("RescaleIntercept") is None else data.RescaleIntercept
        return np.asarray(apply_modality_lut(stored, data))
    return stored


def _table(data: Any, name: str, is_signed: bool = False) -> Any:
    """Return the first lookup table of a sequence in a form that pydicom can apply, or None if there is no table.

    With implicit VR, the first mapped value of a table has no sign: with `is_signed`, 64512 is -1024.

    pydicom stores the positions in a table with as many bits as the entries have. So entries are stated as 16 bits
    wide: 12 bits are no type of numpy, and 8 bits are too few for the position of a 12-bit value.
    """
    items = data.get(name)
    if not items or any(items[0].get(tag) is None for tag in ("LUTDescriptor", "LUTData")):
        return None
    item = items[0]
    entries, first = item.LUTDescriptor[:2]
    item.LUTDescriptor = [entries, first - 2**16 if is_signed and first >= 2**15 else first, 16]
    if isinstance(item.LUTData, bytes) and len(item.LUTData) <= (item.LUTDescriptor[0] or 2**16) + 1:
        item["LUTData"].VR = "US"  # one byte for each entry; pydicom would read two
        item["LUTData"].value = list(item.LUTData)
    return item


def _within(table: Any, values: NDArray[Any]) -> NDArray[np.int32]:
    """Return values as whole numbers, clipped to the values that a lookup table maps."""
    num_entries, first, _ = table.LUTDescriptor
    last = first + (num_entries or 2**16) - 1
    return np.clip(np.round(values.astype(np.float32)), first, last).astype(np.int32)


def _padding(data: Any, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return the mask of pixel padding; None if the image has no padding, or if all pixels are padding.

    A padding value of the other sign is read with the bits of the pixels: -2000 is 63536 for unsigned 16-bit pixels.
    """
    value = data.get("PixelPaddingValue")
    if stored.dtype.kind not in "iu" or not isinstance(value, int):
        return None
    limit = data.get("PixelPaddingRangeLimit")
    ends = np.array([value, limit if isinstance(limit, int) else value]).astype(stored.dtype)
    padded = (stored >= ends.min()) & (stored <= ends.max())
    return np.asarray(padded) if padded.any() and not padded.all() else None


def _without_window(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the gray levels of a file without a window, as `percentiles_to_uint8` defines them for uint16.

    Values with fractions, or over a larger range than uint16 has, are scaled from their own percentiles, so that they keep their
    gray levels: pixels from 0.0 to 1.0 would otherwise become black, and a marker with a large value would hide the image.
    """
    low = np.float64(values.min())  # a difference of two int16 may be larger than int16
    span = np.float64(values.max()) - low
    if not np.isfinite(span):
        raise UnreadableImage(_NO_NUMBERS)
    chunks = np.array_split(values, -(-values.size // _CHUNK))
    has_fractions = values.dtype.kind == "f" and any(((chunk - low) % 1).any() for chunk in chunks)
    if not has_fractions and span <= 65535:
        return percentiles_to_uint8(np.concatenate([np.round(chunk - low).astype(np.uint16) for chunk in chunks]))
    sample = values.ravel()[:: max(1, values.size // _CHUNK)].astype(np.float64)
    above = sample[sample > low]
    if not above.size:
        return np.zeros(values.shape, np.uint8)
    bottom, top = np.percentile(above, [LOW_PERCENT, HIGH_PERCENT])
    bottom = bottom if bottom < above.max() else low  # of an image with two gray levels, the lower becomes black
    width = max(top - bottom, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):  # far above the percentiles, infinity is white, too
        return np.concatenate([window_to_uint8((chunk - bottom) / width, 0.0, 1.0) for chunk in chunks])


def _window(data: Any) -> tuple[float, float] | None:
    """Return center and width of the first window, or None if the file has no valid window."""
    center, width = (data.get(name) for name in ("WindowCenter", "WindowWidth"))
    try:
        first = [value[0] if isinstance(value, pydicom.multival.MultiValue) else value for value in (center, width)]
        window = float(first[0]), float(first[1])
    except (TypeError, ValueError, IndexError):  # missing, empty or no numbers
        return None
    return window if np.isfinite(window).all() and window[1] > 1 else None


def _shows_image(center: float, width: float, values: NDArray[Any]) -> bool:
    """Return whether a window shows the image: values lie inside it and span more than a sixteenth of its width.

    Some files declare 12 or more bits and a matching window, but contain 8-bit values; with this window, the image
    would be black.
    """
    low, high = float(values.min()), float(values.max())
    overlap = min(high, center + width / 2) - max(low, center - width / 2)
    return low == high or (overlap > 0 and (high - low) * _MAX_WINDOW_RATIO > width)


def _apply_window(data: Any, values: NDArray[Any], center: float, width: float) -> NDArray[np.float32]:
    """Map values so that the window becomes 0 to 1; the tag VOILUTFunction names the function (default LINEAR)."""
    gray = values.astype(np.float32)
    function = data.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (gray - center) / width, -60, 60))), np.float32)
    if function == "LINEAR_EXACT":
        return np.asarray((gray - center) / width + 0.5, np.float32)
    return np.asarray((gray - (center - 0.5)) / (width - 1) + 0.5, np.float32)
