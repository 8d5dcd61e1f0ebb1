"""Size and completeness of a JPEG or PNG, from its bytes and without decoding."""

import zlib
from dataclasses import dataclass
from typing import Protocol

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million; a header may promise anything

DEFLATED = (
    b"1.2.840.10008.1.2.1.99"  # the DICOM transfer syntax that unfolds the whole file before anything of it is known
)


class UnreadableImage(Exception):  # noqa: N818  (named for what it is about: it ends as a row of the quarantine)
    """One image cannot be used; its only argument is the reason."""


class ImageFile(Protocol):
    """What an image is read from: a `Path`, or `InMemory`. `str()` of it is how it is named in answers."""

    @property
    def name(self) -> str:
        """Return the name without folders."""

    def read_bytes(self) -> bytes:
        """Return the whole content."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """An image file that lies on no disk, e.g. one that was uploaded."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        """Return the content."""
        return self.content

    def __str__(self) -> str:
        return self.name


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a JPEG; UnreadableImage when it is truncated or too large.

    Within compressed data FF is never followed by D9 or DA, so the end marker must come after the last start of scan.
    """
    scan, end = b"\xff\xda", content.rfind(b"\xff\xd9")
    if end < 0 or scan not in content or content.find(scan, end) >= 0:  # rfind(scan) would read the whole file
        raise UnreadableImage("truncated JPEG")
    at = 2
    while at + 9 <= len(content):
        if content[at] != 0xFF:
            break
        marker = content[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:  # fill byte, restart or start of image: no length follows
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height = int.from_bytes(content[at + 5 : at + 7], "big")
            width = int.from_bytes(content[at + 7 : at + 9], "big")
            return check_size(height, width)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise UnreadableImage("damaged JPEG: no frame header")


def png_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG; UnreadableImage when it is cut off, fails a checksum or is too large."""
    size = None
    at = 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        last = at + 8 + length
        if last + 4 > len(content):
            raise UnreadableImage("truncated PNG")
        if zlib.crc32(memoryview(content)[at + 4 : last]) != int.from_bytes(content[last : last + 4], "big"):
            raise UnreadableImage("damaged PNG: a checksum is wrong")
        if kind == b"IHDR":
            width, height = (int.from_bytes(content[start : start + 4], "big") for start in (at + 8, at + 12))
            size = check_size(height, width)
        if kind == b"IEND":
            if size is None:
                break
            return size
        at = last + 4
    raise UnreadableImage("truncated PNG")


def check_size(height: int, width: int) -> tuple[int, int]:
    """Return the size; raise UnreadableImage for a size of zero or a decompression bomb."""
    if height < 1 or width < 1:
        raise UnreadableImage("an image without pixels")
    if height * width > MAX_PIXELS:
        raise UnreadableImage(f"{height} x {width} pixels, more than {MAX_PIXELS:,}")
    return height, width
