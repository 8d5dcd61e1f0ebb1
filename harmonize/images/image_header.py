"""Read the size of a JPEG or PNG from its bytes, and check that the file is complete; nothing is decoded."""

import zlib
from dataclasses import dataclass
from typing import Protocol

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million; a damaged header may state any size

DEFLATED = b"1.2.840.10008.1.2.1.99"  # DICOM transfer syntax; reading the header means decompressing the entire file


class UnreadableImage(Exception):  # noqa: N818  (not always an error: the image becomes a row of the quarantine)
    """The error for an image that cannot be used; the only argument is the reason."""


class ImageFile(Protocol):
    """The interface of an image's source: a `Path` or `InMemory`. Results name an image by `str()` of its source."""

    @property
    def name(self) -> str:
        """Return the file name without folders."""

    def read_bytes(self) -> bytes:
        """Return the bytes of the file."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """An image file in memory, e.g. an upload."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        """Return the bytes of the file."""
        return self.content

    def __str__(self) -> str:
        return self.name


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a JPEG; raise UnreadableImage if it is truncated or too large.

    Compressed data never contain FF D9 (end of image) or FF DA (start of scan). So in a complete file, FF D9 comes
    after the last FF DA.
    """
    scan, end = b"\xff\xda", content.rfind(b"\xff\xd9")
    if (
        end < 0 or scan not in content or content.find(scan, end) >= 0
    ):  # faster than rfind(scan), which would search the entire file
        raise UnreadableImage("truncated JPEG")
    position = 2
    while position + 9 <= len(content):
        if content[position] != 0xFF:
            break
        marker = content[position + 1]
        if (
            marker == 0xFF or 0xD0 <= marker <= 0xD8
        ):  # markers without a length field: fill byte, restart, start of image
            position += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height = int.from_bytes(content[position + 5 : position + 7], "big")
            width = int.from_bytes(content[position + 7 : position + 9], "big")
            return check_size(height, width)
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    raise UnreadableImage("damaged JPEG: no frame header")


def png_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG; raise UnreadableImage if it is truncated, too large, or fails a checksum."""
    size = None
    position = 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        chunk_type = content[position + 4 : position + 8]
        data_end = position + 8 + length
        if data_end + 4 > len(content):
            raise UnreadableImage("truncated PNG")
        if zlib.crc32(memoryview(content)[position + 4 : data_end]) != int.from_bytes(
            content[data_end : data_end + 4], "big"
        ):
            raise UnreadableImage("damaged PNG: a checksum is wrong")
        if chunk_type == b"IHDR":
            width, height = (
                int.from_bytes(content[start : start + 4], "big") for start in (position + 8, position + 12)
            )
            size = check_size(height, width)
        if chunk_type == b"IEND":
            if size is None:
                break
            return size
        position = data_end + 4
    raise UnreadableImage("truncated PNG")


def check_size(height: int, width: int) -> tuple[int, int]:
    """Return the size unchanged; raise UnreadableImage if a side is zero or the image has too many pixels."""
    if height < 1 or width < 1:
        raise UnreadableImage("the image has no pixels")
    if height * width > MAX_PIXELS:
        raise UnreadableImage(f"{height} x {width} pixels, more than {MAX_PIXELS:,}")
    return height, width
