"""One radiograph file -> gray uint8, whatever it was: JPEG, 8- or 16-bit PNG, DICOM.

A file that is cut off is refused: OpenCV would fill the missing part with gray and say nothing.
Raise PIXELS_VERSION when the same file may give other pixels: caches are then made again.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images import roi
from harmonize.images.gray_levels import percentiles_to_uint8
from harmonize.images.image_header import MAX_PIXELS, ImageFile, UnreadableImage, jpeg_size, png_size

PIXELS_VERSION = 2  # 2: a DICOM window that would show black is not used
FITS = ("squash", "letterbox", "smallest_crop")
REGIONS = ("roi", "adaptive_roi")
_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

Gray = NDArray[np.uint8]


def read_gray(path: ImageFile, at_least: int = 0) -> Gray:
    """Return the image as uint8 [H, W], bright bone on dark air.

    JPEG may be decoded at 1/2, 1/4 or 1/8 while both sides stay >= at_least (0: always in full).
    16-bit values and DICOM without a window: the 0.5 to 99.5 percentile of non-zero pixels becomes 0 to 255.
    Raises UnreadableImage with the reason: empty, truncated, damaged, over 100 megapixels, or no image.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot open: {error.strerror}") from error
    if not content:
        raise UnreadableImage("empty file")
    if content.startswith(b"\xff\xd8"):
        return _read_jpeg(content, at_least)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(content)
    if content[128:132] == b"DICM":
        from harmonize.images.dicom import read_dicom  # half a second to import, for one dataset of six

        return read_dicom(content)
    raise UnreadableImage("not a JPEG, PNG or DICOM image")


def _read_jpeg(content: bytes, at_least: int) -> Gray:
    """Return a whole JPEG in gray, perhaps decoded at a fraction of its size."""
    height, width = jpeg_size(content)
    scale = 1
    if at_least > 0:
        scale = max(factor for factor in _REDUCED if factor == 1 or min(height, width) // factor >= at_least)
    return _decode(content, _REDUCED[scale]).astype(np.uint8, copy=False)


def _read_png(content: bytes) -> Gray:
    """Return a whole PNG of any depth in gray; an alpha channel is dropped."""
    png_size(content)
    image = _decode(content, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY) if image.shape[2] >= 3 else image[..., 0]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.uint16:
        return percentiles_to_uint8(image)
    raise UnreadableImage(f"pixels of type {image.dtype}")


def _decode(content: bytes, flags: int) -> NDArray[Any]:
    """Call OpenCV; whatever it cannot decode is unreadable."""
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
    """Size and fit that every cached image gets.

    fit    squash: both sides to `size`; letterbox: long side to `size`, padding around; smallest_crop: short side to
           `size`, centre crop (a 320 x 390 image loses 18 % of its width). In a letterbox 0 means padding and nothing
           else: what is black in the image becomes 1, so that whoever reads the pixels knows what is image
    clahe  clip limit and tiles per side of a contrast-limited equalisation of the resized image, or None
    region what is cut out before all that: (roi, share of the sides kept inside the black border), (adaptive_roi,
           margin around the lungs), or None. Where no lungs are found, adaptive_roi keeps what roi keeps by default
    """

    size: int
    fit: str = "squash"
    clahe: tuple[float, int] | None = None
    region: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise ValueError(f"size is 8 to 4096 pixels, not {self.size}")
        if self.fit not in FITS:
            raise ValueError(f"fit is one of {', '.join(FITS)}, not {self.fit!r}")
        if self.clahe is not None and (self.clahe[0] <= 0 or self.clahe[1] < 1):
            raise ValueError(f"clahe is (clip limit > 0, tiles >= 1), not {self.clahe}")
        if self.region is not None and (
            self.region[0] not in REGIONS
            or not (0 < self.region[1] <= 1 if self.region[0] == "roi" else 0 <= self.region[1] <= 1)
        ):
            raise ValueError(f"region is (roi, share in (0, 1]) or (adaptive_roi, margin in [0, 1]), not {self.region}")

    @property
    def decode_at(self) -> int:
        """Return the sides that an image needs at least where it is decoded: a region is a half of them, or more."""
        return self.size if self.region is None else 2 * self.size

    @property
    def adaptive(self) -> bool:
        """Return whether the region depends on the detected lungs."""
        return self.region is not None and self.region[0] == "adaptive_roi"

    @property
    def key(self) -> str:
        """Return a name for folders and fingerprints.

        >>> Geometry(224, "letterbox", (2.0, 8)).key
        '224-letterbox-from1-clahe2x8'
        """
        equalised = f"-clahe{self.clahe[0]:g}x{self.clahe[1]}" if self.clahe else ""
        region = f"-{self.region[0]}{self.region[1]:g}" if self.region else ""
        fit = "letterbox-from1" if self.fit == "letterbox" else self.fit  # the image's values: 1 to 255
        return f"{self.size}-{fit}{equalised}{region}"


def kept(image: Gray, geometry: Geometry) -> tuple[roi.Box, bool]:
    """Return the box of an image that a geometry keeps, and whether the lung detection failed."""
    if geometry.region is None:
        return (slice(0, image.shape[0]), slice(0, image.shape[1])), False
    name, amount = geometry.region
    found = roi.adaptive(image, amount) if name == "adaptive_roi" else roi.fixed(image, amount)
    return (found, False) if found is not None else (roi.fixed(image), True)


def region(image: Gray, geometry: Geometry) -> tuple[Gray, bool]:
    """Return the region of an image that a geometry keeps, and whether the lung detection failed."""
    box, fell_back = kept(image, geometry)
    return image[box], fell_back


def to_geometry(image: Gray, geometry: Geometry) -> Gray:
    """Return uint8 [S, S] of an image: its region, fitted."""
    return fitted(region(image, geometry)[0], geometry)


def fitted(image: Gray, geometry: Geometry) -> Gray:
    """Return uint8 [S, S]: INTER_AREA along sides that shrink, INTER_LINEAR along sides that grow."""
    height, width = image.shape
    size = geometry.size
    if geometry.fit == "squash":
        resized = _resize(image, size, size)
    else:
        side = max(height, width) if geometry.fit == "letterbox" else min(height, width)
        resized = _resize(image, max(1, round(height * size / side)), max(1, round(width * size / side)))
    if geometry.clahe is not None:  # before the black border comes: its tiles would be stretched too
        clip, tiles = geometry.clahe
        resized = _gray(cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles)).apply(resized))
    height, width = resized.shape
    if geometry.fit == "letterbox":
        canvas = np.zeros((size, size), np.uint8)
        top, left = (size - height) // 2, (size - width) // 2
        canvas[top : top + height, left : left + width] = np.maximum(resized, 1)
        return canvas
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


def _resize(image: Gray, height: int, width: int) -> Gray:
    """Return the image at that size, shrinking before enlarging."""
    shrunk = (min(height, image.shape[0]), min(width, image.shape[1]))
    if shrunk != image.shape:
        image = _gray(cv2.resize(image, (shrunk[1], shrunk[0]), interpolation=cv2.INTER_AREA))
    if (height, width) != image.shape:
        image = _gray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    return image


def _gray(image: Any) -> Gray:
    """Return an OpenCV result as a typed array; OpenCV's stubs do not state the type."""
    return np.asarray(image, np.uint8)


__all__ = [
    "FITS",
    "MAX_PIXELS",
    "PIXELS_VERSION",
    "REGIONS",
    "Geometry",
    "UnreadableImage",
    "fitted",
    "kept",
    "read_gray",
    "region",
    "to_geometry",
]
