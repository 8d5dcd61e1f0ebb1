"""Read the size of a JPEG or PNG from its bytes, and check limits and completeness; nothing is decoded."""

import zlib
from dataclasses import dataclass
from typing import Protocol

from harmonize.images.limits import MAX_DECODED_BYTES, MAX_PIXELS, MAX_SCANS, MIN_SIDE

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")  # endings of the names of image files, in lower case
JPEG_SCAN = b"\xff\xda"  # the marker at the start of a scan
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)  # frame markers of progressive JPEG
_NUM_COEFFICIENTS = 64  # number of coefficients in a JPEG block
# color type of a PNG -> bytes per pixel that OpenCV needs at 8 bits per channel; palette colors (type 3) may have alpha
_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}
_PNG_HEADER = 13  # length in bytes of IHDR, the header chunk of a PNG

# transfer syntax of deflated DICOM; the header is not readable before the entire file is decompressed
DEFLATED = b"1.2.840.10008.1.2.1.99"

INSTALL_DECODERS = "pip install 'unseen-cxr[dicom]'"  # the command with which to read DICOM pixels of every compression


class UnreadableImage(Exception):  # noqa: N818  (not always an error: the image becomes a row of the quarantine)
    """The error for an image that cannot be used; the only argument is the reason."""


class ImageFile(Protocol):
    """The interface of an image file: a `Path` or an `InMemory`. Results name an image file by `str(file)`."""

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


def checked_jpeg_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a JPEG; raise UnreadableImage if it is truncated or exceeds a limit.

    Compressed data never contain FF D9 (end of image) or FF DA (start of scan). So in a complete file, FF D9 comes
    after the last FF DA.
    """
    end = content.rfind(b"\xff\xd9")
    # find(JPEG_SCAN, end) is faster than rfind(JPEG_SCAN), which would search the entire file
    if end < 0 or JPEG_SCAN not in content or content.find(JPEG_SCAN, end) >= 0:
        raise UnreadableImage("truncated JPEG")
    frame = _frame_header(content)
    height = int.from_bytes(content[frame + 5 : frame + 7], "big")
    width = int.from_bytes(content[frame + 7 : frame + 9], "big")
    return check_size(height, width, _check_scans(content, frame))


def is_gray_jpeg(content: bytes) -> bool:
    """Return whether a JPEG has one channel; raise UnreadableImage if it has no frame header."""
    return content[_frame_header(content) + 9] == 1


def _frame_header(content: bytes) -> int:
    """Return the position of the frame header of a JPEG; raise UnreadableImage if there is none."""
    position = 2
    while position + 11 <= len(content):
        if content[position] != 0xFF:
            break
        marker = content[position + 1]
        # markers without a length field: fill byte, restart, start of image
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
            continue
        # start of frame; F7 is that of JPEG-LS
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return position
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    raise UnreadableImage("damaged JPEG: no frame header")


def _check_scans(content: bytes, frame: int) -> int:
    """Check the scans of the JPEG whose frame header starts at `frame`; return the bytes per pixel that decoding needs.

    With several scans, the decoder keeps two bytes for each coefficient of each channel.
    Raises UnreadableImage for too many scans, and for a progressive JPEG without its last scans.
    """
    scan = content.find(JPEG_SCAN, frame)
    if scan < 0:
        raise UnreadableImage("damaged JPEG: no scan")
    num_channels, first_channel = content[frame + 9], content[frame + 10]
    is_progressive = content[frame + 1] in _PROGRESSIVE
    if not is_progressive and len(_scan_header(content, scan)[0]) >= num_channels:
        return 1
    if content.count(JPEG_SCAN, scan) > MAX_SCANS:
        raise UnreadableImage(f"JPEG with more than {MAX_SCANS} scans")
    complete: set[int] = set()  # coefficients of the first channel whose bits are all in the file
    while is_progressive and scan >= 0:
        channels, low, high, low_bit = _scan_header(content, scan)
        if first_channel in channels and low_bit == 0:
            complete.update(range(low, high + 1))
        scan = content.find(JPEG_SCAN, scan + 2)
    if is_progressive and len(complete) < _NUM_COEFFICIENTS:
        raise UnreadableImage("truncated JPEG: its last scans are missing")
    return 2 * num_channels


def _scan_header(content: bytes, scan: int) -> tuple[bytes, int, int, int]:
    """Return the channels of the JPEG scan at byte `scan`, its first and last coefficient, and its lowest bit.

    The scan stores the coefficients from the first to the last, without the bits below the lowest bit.
    """
    end = scan + 5 + 2 * int.from_bytes(content[scan + 4 : scan + 5], "big")
    low, high, bits = content[end : end + 3].ljust(3, b"\xff")
    return content[scan + 5 : end : 2], low, high, bits & 0x0F


def jpeg2000_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a JPEG 2000 codestream; raise UnreadableImage if it has no header or exceeds a limit.

    The limit of memory counts two bytes for each pixel and channel. Source: ISO/IEC 15444-1, A.5.1 (SIZ).
    """
    start = content.find(b"\xff\x4f\xff\x51")  # start of codestream, then the marker SIZ
    header = content[start + 8 : start + 42]
    if start < 0 or len(header) < 34:
        raise UnreadableImage("damaged JPEG 2000: no header")
    right, bottom, left, top = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4, 8, 12))
    return check_size(bottom - top, right - left, 2 * int.from_bytes(header[32:34], "big"))


def is_image(content: bytes) -> bool:
    """Return whether a file that begins with these bytes is JPEG, PNG or DICOM."""
    return content.startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n")) or is_dicom(content)


def is_dicom(content: bytes) -> bool:
    """Return whether a file is DICOM: with a preamble, or a data set that begins with an element of group 2 or 8."""
    if content[128:132] == b"DICM":
        return True
    kind, length = content[4:6], int.from_bytes(content[4:8], "little")
    has_element = (kind.isalpha() and kind.isupper()) or length < len(content)
    return content[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and has_element


def png_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG; raise UnreadableImage if it is truncated, exceeds a limit, or fails a checksum."""
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
            if length != _PNG_HEADER:
                raise UnreadableImage("damaged PNG: invalid header")
            width = int.from_bytes(content[position + 8 : position + 12], "big")
            height = int.from_bytes(content[position + 12 : position + 16], "big")
            channels = _PNG_CHANNELS.get(content[position + 17], 4)
            size = check_size(height, width, channels * (2 if content[position + 16] == 16 else 1))
        if chunk_type == b"IEND":
            if size is None:
                break
            return size
        position = data_end + 4
    raise UnreadableImage("truncated PNG")


def check_size(height: int, width: int, bytes_per_pixel: int = 1) -> tuple[int, int]:
    """Return (height, width) unchanged; raise UnreadableImage for an image that is too small or too large."""
    if min(height, width) < MIN_SIDE:
        raise UnreadableImage(f"{height} x {width} pixels: a side has less than {MIN_SIDE}")
    if height * width > MAX_PIXELS:
        raise UnreadableImage(f"{height} x {width} pixels, more than {MAX_PIXELS:,}")
    if height * width * bytes_per_pixel > MAX_DECODED_BYTES:
        size = f"{height} x {width} pixels with {bytes_per_pixel} bytes each"
        raise UnreadableImage(f"{size}, more than {MAX_DECODED_BYTES:,} bytes")
    return height, width
