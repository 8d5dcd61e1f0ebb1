"""Read radiograph files (JPEG, 8- or 16-bit PNG, DICOM) as gray uint8, and fit them to a square.

A truncated file raises an error; OpenCV would silently fill the missing rows with gray. `harmonize.images.limits` lists
the limits of size and memory.
Increase PIXELS_VERSION after a change that may give different pixels for the same file; then all caches are built
again.
"""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images import roi
from harmonize.images.gray_levels import percentiles_to_uint8
from harmonize.images.image_header import JPEG_SCAN, ImageFile, UnreadableImage, checked_jpeg_size, is_dicom, png_size
from harmonize.images.limits import MAX_FILE_BYTES
from harmonize.images.shards import file_bytes, file_of

PIXELS_VERSION = 3
FITS = ("squash", "letterbox", "smallest_crop")
INTERPOLATIONS = ("", "bicubic", "bilinear", "bilinear_no_antialias")
REGIONS = ("roi", "adaptive_roi")
_Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

# unlike IMREAD_UNCHANGED, these flags turn the image by its EXIF orientation, as JPEG images are
_PNG = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
_MISSING = 128  # libjpeg's gray value of pixels whose data are missing
_BLOCK = 8  # px, the side of a JPEG block
# a marker, except the restart markers inside a scan, or bytes that no encoder writes: 255 before 0 stands for one byte
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]|\xff\xff\x00")
# end of the image, number of lines, a comment, data of a program
_AFTER_SCAN = re.compile(rb"\xff[\xd9\xdc\xfe\xe0-\xef]")
_FILLER = bytes(range(1, 255))  # additional scan data: bytes that contain no marker and do not decode to uniform gray

Gray = NDArray[np.uint8]


def read_gray(path: ImageFile, at_least: int = 0) -> Gray:
    """Return the image as uint8 [H, W], bright bone on dark air.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if both sides keep at least `at_least` pixels (0: always full
    size). In 16-bit images and DICOM without a window, the 0.5 to 99.5 percentiles of non-zero pixels become 0 to 255.
    JPEG and PNG are turned by their EXIF orientation.
    Raises UnreadableImage with the reason: empty, truncated, damaged, beyond a limit, or not an image.
    """
    content = _content(path)
    if content.startswith(b"\xff\xd8"):
        return read_jpeg(content, at_least)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(content)
    if is_dicom(content):
        # imported only when needed, because the import takes half a second
        from harmonize.images.dicom import read_dicom

        return read_dicom(content)
    raise UnreadableImage("not a JPEG, PNG or DICOM image")


def read_radiograph(path: ImageFile, at_least: int = 0) -> Gray:
    """Return the image as `read_gray` does, for training and prediction; also raise UnreadableImage for a blank image."""
    image = read_gray(path, at_least)
    # The pixels of every 64th row and column are tested first. In nearly every image, these pixels differ, so the other
    # pixels are rarely tested.
    if np.ptp(image[::64, ::64]) == 0 and np.ptp(image) == 0:
        raise UnreadableImage("no contrast: all its pixels are equal")
    return image


def file_size(content: bytes, image: Gray) -> tuple[int, int]:
    """Return height and width of an image file in pixels; `image` is the decoded file.

    A JPEG may be decoded at a reduced size, so the size of a JPEG is read from the file, and turned as the image is.
    """
    height, width = checked_jpeg_size(content) if content.startswith(b"\xff\xd8") else image.shape
    is_turned = (height < width) != (image.shape[0] < image.shape[1])
    return (width, height) if is_turned else (height, width)


def _content(path: ImageFile) -> bytes:
    """Return the bytes of an image file; raise UnreadableImage if it is no file, empty or too large.

    Opening a named pipe would wait forever, and a device may have no end.
    """
    try:
        if isinstance(path, Path) and file_of(str(path)) == str(path):
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage("not a file, but a folder, pipe, socket or device")
            if status.st_size > MAX_FILE_BYTES:
                raise UnreadableImage(f"{status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        content = file_bytes(path)
    except OSError as error:
        raise UnreadableImage(f"cannot open: {error.strerror}") from error
    if not content:
        raise UnreadableImage("empty file")
    return content


def read_jpeg(content: bytes, at_least: int) -> Gray:
    """Decode a JPEG to gray, at a reduced size if `at_least` allows it; raise UnreadableImage for a truncated file."""
    height, width = checked_jpeg_size(content)
    marker = _END_OF_SCAN.search(content, content.rfind(JPEG_SCAN) + len(JPEG_SCAN))
    if marker and not _AFTER_SCAN.match(marker[0]):
        raise UnreadableImage("damaged JPEG: a part of its data is overwritten")
    scale = 1
    if at_least > 0:
        scale = max(factor for factor in _REDUCED if factor == 1 or min(height, width) // factor >= at_least)
    image = _decode(content, _REDUCED[scale]).astype(np.uint8, copy=False)
    if _has_missing_data(content, image, _REDUCED[scale]):
        raise UnreadableImage("damaged JPEG: its data end before the last row")
    return image


def _has_missing_data(content: bytes, image: Gray, flags: int) -> bool:
    """Return whether the last scan of a JPEG ends before its last block of pixels.

    libjpeg fills missing blocks with gray 128, and reports them only on stderr. Missing blocks are at the end of the
    last row, but a turn by EXIF can move this end to any corner of the image. If the pixels at a corner are all gray
    128, filler bytes are appended to the scan, and the image is decoded again. The decoder reads filler bytes only if
    data are missing, so a different image means missing data.

    `image` is the decoded image, `flags` are the OpenCV flags with which it was decoded.
    """
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    if not any((end == _MISSING).all() for edge in edges for end in (edge[:_BLOCK], edge[-_BLOCK:])):
        return False
    marker = _END_OF_SCAN.search(content, content.rfind(JPEG_SCAN) + len(JPEG_SCAN))
    if marker is None:
        return False
    prolonged = content[: marker.start()] + _FILLER + content[marker.start() :]
    return not np.array_equal(_decode(prolonged, flags), image)


def _read_png(content: bytes) -> Gray:
    """Decode a PNG of any bit depth to gray, without its alpha channel; raise UnreadableImage for a truncated file."""
    png_size(content)
    image = _decode(content, _PNG)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.uint16:
        return percentiles_to_uint8(image)
    raise UnreadableImage(f"pixels of type {image.dtype}")


def _decode(content: bytes, flags: int) -> NDArray[Any]:
    """Decode an image file with OpenCV; raise UnreadableImage if OpenCV cannot decode the file."""
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise UnreadableImage(f"cannot decode: {error.err}") from error
    if image is None or image.size == 0:
        raise UnreadableImage("cannot decode: the file is damaged")
    decoded: NDArray[Any] = image
    return decoded


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of the images in a cache, and how images are fitted to this size.

    fit     squash: both sides become `size`; letterbox: the long side becomes `size`, and padding fills the rest;
            smallest_crop: the short side becomes `size`, then center crop (an image with height 320 and width 390 loses
            18 % of its width). In a letterbox, only padding has the gray value 0: black pixels of the image become 1
    interpolation  "": INTER_AREA for sides that shrink, INTER_LINEAR for sides that grow; bicubic, bilinear: the resize of
            Pillow, transformers and torchvision, which smooths before it shrinks; bilinear_no_antialias: the resize of
            OpenCV's INTER_LINEAR, which skips pixels. Except for "", JPEG files are then decoded at full size
    clahe   clip limit and tiles per side of a contrast-limited equalization of the resized image, or None
    region  crop before the resize: (roi, share of each side to keep inside the black border), (adaptive_roi, margin
            around the lungs), or None. If no lungs are detected, adaptive_roi uses the default crop of roi
    """

    size: int
    fit: str = "squash"
    clahe: tuple[float, int] | None = None
    region: tuple[str, float] | None = None
    interpolation: str = ""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise ValueError(f"size must be 8 to 4096 pixels, not {self.size}")
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}, not {self.fit!r}")
        if self.interpolation not in INTERPOLATIONS:
            named = ", ".join(INTERPOLATIONS[1:])
            raise ValueError(f"interpolation must be one of {named}, or not given, not {self.interpolation!r}")
        if self.clahe is not None and (self.clahe[0] <= 0 or self.clahe[1] < 1):
            raise ValueError(f"clahe must be (clip limit > 0, tiles >= 1), not {self.clahe}")
        if self.region is not None and (
            self.region[0] not in REGIONS
            or not (0 < self.region[1] <= 1 if self.region[0] == "roi" else 0 <= self.region[1] <= 1)
        ):
            raise ValueError(
                f"region must be (roi, share in (0, 1]) or (adaptive_roi, margin in [0, 1]), not {self.region}"
            )

    def num_bytes(self, n: int) -> int:
        """Return the disk space in bytes that n unpacked images need; packed images need less.

        >>> Geometry(224).num_bytes(223_414)
        11210020864
        """
        return n * self.size**2

    @property
    def decode_at(self) -> int:
        """Return the minimum side at which a JPEG is decoded: `size`, or twice `size` if a region is cropped.

        With another interpolation than the default, the result is 0: full size.
        """
        if self.interpolation:
            return 0
        return self.size if self.region is None else 2 * self.size

    @property
    def adaptive(self) -> bool:
        """Return whether the region depends on detected lungs."""
        return self.region is not None and self.region[0] == "adaptive_roi"

    @property
    def key(self) -> str:
        """Return a name for folders and fingerprints.

        >>> Geometry(224, "letterbox", (2.0, 8)).key
        '224-letterbox-from1-clahe2x8'
        """
        clahe = f"-clahe{self.clahe[0]:g}x{self.clahe[1]}" if self.clahe else ""
        region = f"-{self.region[0]}{self.region[1]:g}" if self.region else ""
        # in this version of letterbox, image pixels are 1 to 255
        fit = "letterbox-from1" if self.fit == "letterbox" else self.fit
        interpolation = f"-{self.interpolation}" if self.interpolation else ""
        return f"{self.size}-{fit}{interpolation}{clahe}{region}"


def crop_box(image: Gray, geometry: Geometry) -> tuple[roi.Box, bool]:
    """Return the box of an image that a geometry keeps, and whether lung detection failed."""
    if geometry.region is None:
        return (slice(0, image.shape[0]), slice(0, image.shape[1])), False
    name, amount = geometry.region
    box = roi.adaptive(image, amount) if name == "adaptive_roi" else roi.fixed(image, amount)
    return (box, False) if box is not None else (roi.fixed(image), True)


def region(image: Gray, geometry: Geometry) -> tuple[Gray, bool]:
    """Return the crop of an image that a geometry keeps, and whether lung detection failed."""
    box, fell_back = crop_box(image, geometry)
    return image[box], fell_back


def to_geometry(image: Gray, geometry: Geometry) -> Gray:
    """Crop an image to the region of `geometry` and fit the crop to uint8 [size, size]."""
    return fit_to_square(region(image, geometry)[0], geometry)


def fit_to_square(image: Gray, geometry: Geometry) -> Gray:
    """Fit an image to uint8 [size, size], with the interpolation of the geometry."""
    height, width = image.shape
    size = geometry.size
    resize = _RESIZES[geometry.interpolation]
    if geometry.fit == "squash":
        resized = resize(image, size, size)
    else:
        side = max(height, width) if geometry.fit == "letterbox" else min(height, width)
        resized = resize(image, max(1, round(height * size / side)), max(1, round(width * size / side)))
    if geometry.clahe is not None:  # equalization comes before padding, so that padding stays black
        clip, tiles = geometry.clahe
        resized = _gray(cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(resized))
    height, width = resized.shape
    if geometry.fit == "letterbox":
        canvas = np.zeros((size, size), np.uint8)
        top, left = (size - height) // 2, (size - width) // 2
        canvas[top : top + height, left : left + width] = np.maximum(resized, 1)  # 0 is padding
        return canvas
    # squash: already of this size; crop: the center of the longer side
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


def _resize(image: Gray, height: int, width: int) -> Gray:
    """Resize an image: first shrink the sides that become shorter, then enlarge the sides that become longer."""
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    if shrunk != image.shape:
        image = _gray(cv2.resize(image, (shrunk[1], shrunk[0]), interpolation=cv2.INTER_AREA))
    if (height, width) != image.shape:
        image = _gray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    return image


def _gray(image: Any) -> Gray:
    """Return an OpenCV result as a typed array; OpenCV's stubs do not state the type."""
    return np.asarray(image, np.uint8)


def _resize_without_smoothing(image: Gray, height: int, width: int) -> Gray:
    """Resize an image as OpenCV does with INTER_LINEAR, and torchvision with `antialias=False`."""
    return _gray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _resize_smoothed(image: Gray, height: int, width: int, kernel: _Kernel, reach: int) -> Gray:
    """Resize an image as Pillow does with BICUBIC or BILINEAR: the width first, then the height, each rounded to uint8.

    `kernel` gives the weights of pixels by their distance in pixels; they are 0 from `reach` on.

    The height comes first if it shrinks while the width grows. Where a side shrinks, the kernel is as much wider, so
    that fine lines are averaged and not skipped.
    """
    height_first = height < image.shape[0] and width > image.shape[1]
    if height_first:
        image = _resize_columns(image.T, height, kernel, reach).T
    if width != image.shape[1]:
        image = _resize_columns(image, width, kernel, reach)
    if height != image.shape[0]:
        image = _resize_columns(image.T, height, kernel, reach).T
    return np.ascontiguousarray(image)


def _resize_columns(image: Gray, width: int, kernel: _Kernel, reach: int) -> Gray:
    """Return the image with another width: each new column is a weighted sum of neighboring columns."""
    scale = image.shape[1] / width
    stretch = max(scale, 1.0)
    center = (np.arange(width) + 0.5) * scale
    first = np.maximum((center - reach * stretch + 0.5).astype(np.int64), 0)
    last = np.minimum((center + reach * stretch + 0.5).astype(np.int64), image.shape[1])
    column = first[:, None] + np.arange(int((last - first).max()))
    weight = np.where(column < last[:, None], kernel((column - center[:, None] + 0.5) / stretch), 0.0)
    weight /= weight.sum(1, keepdims=True)
    source = np.ascontiguousarray(image.T, np.float32)
    total = np.zeros((width, image.shape[0]), np.float32)
    for tap, share in zip(column.T.clip(max=image.shape[1] - 1), weight.T.astype(np.float32), strict=True):
        total += share[:, None] * source[tap]
    return _gray(np.floor(total + 0.5).clip(0, 255).astype(np.uint8).T)


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of the cubic kernel with a = -0.5 at some distances in pixels.

    Source: Keys 1981, doi:10.1109/TASSP.1981.1163711.
    """
    x = np.abs(distance)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of linear interpolation at some distances in pixels."""
    weight: NDArray[np.float64] = np.maximum(1 - np.abs(distance), 0.0)
    return weight


_RESIZES: dict[str, Callable[[Gray, int, int], Gray]] = {
    "": _resize,
    "bicubic": partial(_resize_smoothed, kernel=_keys, reach=2),
    "bilinear": partial(_resize_smoothed, kernel=_triangle, reach=1),
    "bilinear_no_antialias": _resize_without_smoothing,
}
