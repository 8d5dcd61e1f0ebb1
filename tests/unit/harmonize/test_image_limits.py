"""Tests of the limits of `harmonize.images.limits`: small files that would need much memory or time, and tiny images."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pictures import ramp, save, save_dicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from harmonize.images import dicom, image_header, pixels
from harmonize.images.image_header import JPEG_SCAN, UnreadableImage
from harmonize.images.limits import MAX_DECODED_BYTES, MAX_PIXELS, MAX_SCANS, MIN_SIDE
from harmonize.images.pixels import read_gray


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_gray(path)
    return str(caught.value)


def compressed_dicom(path: Path, frame: bytes, syntax: str, rows: int = 64, columns: int = 50) -> Path:
    """Write an 8-bit DICOM with one compressed frame."""
    data = pydicom.dcmread(save_dicom(path, ramp(rows, columns)))
    data.PixelData = encapsulate([frame])
    data.file_meta.TransferSyntaxUID = syntax
    data["PixelData"].VR = "OB"
    data.save_as(path, implicit_vr=False, little_endian=True)
    return path


def rle(*segments: bytes) -> bytes:
    """Return an RLE frame of these segments."""
    offsets = np.cumsum([64, *(len(segment) for segment in segments)])[:-1].tolist()
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def test_rle_segments_larger_than_the_image_are_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(dicom, "_to_gray", fails)
    path = compressed_dicom(tmp_path / "a.dcm", rle(b"\x81\x00" * 1000), RLELossless)
    assert reason(path) == "damaged DICOM: its compressed data are larger than the image"


def test_rle_images_are_readable(tmp_path: Path) -> None:
    """A run, literal values, a byte without meaning (128), and a byte that pads the segment."""
    values = bytes(range(100)) + bytes([7]) * 3100
    runs = b"\x63" + bytes(range(100)) + b"\x80" + b"\x81\x07" * 24 + b"\xe5\x07" + b"\x00"
    path = compressed_dicom(tmp_path / "a.dcm", rle(runs), RLELossless)
    np.testing.assert_array_equal(read_gray(path).ravel()[:100], read_gray_of(tmp_path, values).ravel()[:100])
    data = pydicom.dcmread(save_dicom(tmp_path / "b.dcm", ramp(40, 30, 4095)))
    expected = read_gray(tmp_path / "b.dcm")
    data.compress(RLELossless)
    data.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_gray(tmp_path / "b.dcm"), expected)


def read_gray_of(folder: Path, values: bytes) -> np.ndarray:
    return read_gray(save_dicom(folder / "plain.dcm", np.frombuffer(values, np.uint8).reshape(64, 50)))


def with_more_scans(content: bytes, number: int) -> bytes:
    """Return a progressive JPEG with further scans that hold no data."""
    last = content.rfind(JPEG_SCAN)
    header = content[last : last + 10]
    return content[:-2] + header * number + b"\xff\xd9"


def test_a_jpeg_with_many_scans_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = cv2.imencode(".jpg", ramp(64, 50), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    own = content.count(JPEG_SCAN)
    compressed_dicom(tmp_path / "b.dcm", with_more_scans(content, MAX_SCANS - own + 1), JPEGBaseline8Bit)
    (tmp_path / "a.jpg").write_bytes(with_more_scans(content, MAX_SCANS - own))
    assert read_gray(tmp_path / "a.jpg").shape == (64, 50)
    monkeypatch.setattr(pixels, "_decode", None)
    (tmp_path / "a.jpg").write_bytes(with_more_scans(content, MAX_SCANS - own + 1))
    assert reason(tmp_path / "a.jpg") == f"JPEG with more than {MAX_SCANS} scans"
    assert reason(tmp_path / "b.dcm") == f"JPEG with more than {MAX_SCANS} scans"


def png_header(height: int, width: int, bits: int, color: int) -> bytes:
    """Return a PNG file without pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("bits", "color", "bytes_per_pixel"), [(8, 0, 1), (16, 0, 2), (8, 2, 3), (16, 2, 6), (2, 3, 4), (16, 6, 8)]
)
def test_the_limit_of_memory_counts_channels_and_bits(bits: int, color: int, bytes_per_pixel: int) -> None:
    width = 10_000
    height = min(MAX_PIXELS, MAX_DECODED_BYTES // bytes_per_pixel) // width
    assert image_header.png_size(png_header(height, width, bits, color)) == (height, width)
    with pytest.raises(UnreadableImage, match="more than"):
        image_header.png_size(png_header(height + 1, width, bits, color))


def test_a_progressive_color_jpeg_has_a_lower_limit(tmp_path: Path) -> None:
    """The decoder keeps all its coefficients: two bytes for each pixel and channel."""
    image = np.dstack([ramp(64, 64)] * 3)
    for progressive, readable in ((0, True), (1, False)):
        content = bytearray(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes())
        frame = content.index(b"\xff\xc2" if progressive else b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", 7000, 7000)
        if readable:
            assert image_header.checked_jpeg_size(bytes(content)) == (7000, 7000)
        else:
            with pytest.raises(UnreadableImage, match="7000 x 7000 pixels with 6 bytes each"):
                image_header.checked_jpeg_size(bytes(content))


def test_a_dicom_with_many_frames_is_unreadable(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", ramp(20, 20, 4095), NumberOfFrames=1_000_000)
    assert "more than" in reason(path)


@pytest.mark.parametrize("shape", [(1, 1), (3000, 1), (1, 3000), (MIN_SIDE - 1, 400)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.dcm"])
def test_an_image_with_a_tiny_side_is_unreadable(name: str, shape: tuple[int, int], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    path = (save_dicom if name == "a.dcm" else save)(tmp_path / name, image)
    assert f"a side has less than {MIN_SIDE}" in reason(path)


def test_a_small_image_is_readable(tmp_path: Path) -> None:
    assert read_gray(save(tmp_path / "a.png", ramp(MIN_SIDE, MIN_SIDE))).shape == (MIN_SIDE, MIN_SIDE)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp(20, 20))
    os.truncate(path, 10**12)  # a sparse file: it takes no space on the disk
    assert "1,000,000,000,000 bytes, more than" in reason(path)


def test_pipes_folders_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to("/dev/zero")
    for name in ("a.png", "b.png", "c.png"):
        assert reason(tmp_path / name) == "not a file, but a folder, pipe, socket or device"
