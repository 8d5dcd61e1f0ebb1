"""Tests of decoding and resizing, with valid and damaged files of every type."""

import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pictures import ramp, save, save_dicom

from harmonize.images.gray_levels import percentiles_to_uint8
from harmonize.images.image_header import JPEG_SCAN, UnreadableImage
from harmonize.images.pixels import Geometry, read_gray, read_radiograph, to_geometry


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_gray(path)
    return str(caught.value)


def test_an_eight_bit_png_is_not_changed(tmp_path: Path) -> None:
    image = ramp(30, 40)
    np.testing.assert_array_equal(read_gray(save(tmp_path / "a.png", image)), image)


def test_color_alpha_and_gray_png_give_the_same_gray(tmp_path: Path) -> None:
    image = ramp(30, 40)
    for channels in ((image,) * 3, (*(image,) * 3, np.full_like(image, 9))):
        np.testing.assert_array_equal(read_gray(save(tmp_path / "a.png", np.dstack(channels))), image)


def test_a_twelve_bit_image_in_a_16_bit_png_uses_the_full_range(tmp_path: Path) -> None:
    gray = read_gray(save(tmp_path / "a.png", ramp(64, 64, 4095)))
    assert gray.dtype == np.uint8
    assert (gray.min(), gray.max()) == (0, 255)
    assert abs(float(gray.mean()) - 127.5) < 2


def test_percentiles_equal_those_of_numpy_on_non_zero_pixels() -> None:
    image = np.random.default_rng(0).gamma(3, 300, (200, 200)).astype(np.uint16)
    image[:50] = 0
    low, high = np.percentile(image[image > 0], [0.5, 99.5])
    expected = np.clip((image - low) / (high - low), 0, 1) * 255
    assert np.abs(percentiles_to_uint8(image) - expected).max() <= 1.5


@pytest.mark.parametrize("value", [0, 1, 700, 65535])
def test_a_constant_16_bit_image_has_no_contrast(value: int) -> None:
    assert len(np.unique(percentiles_to_uint8(np.full((8, 8), value, np.uint16)))) == 1


def test_jpeg_is_decoded_at_a_fraction_while_both_sides_are_large_enough(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", ramp(400, 640))
    shapes = {least: read_gray(path, least).shape for least in (0, 401, 400, 200, 101, 100, 50, 1)}
    assert shapes == {
        0: (400, 640),
        401: (400, 640),
        400: (400, 640),
        200: (200, 320),
        101: (200, 320),
        100: (100, 160),
        50: (50, 80),
        1: (50, 80),
    }
    full_size = to_geometry(read_gray(path), Geometry(50)).astype(int)
    scaled = to_geometry(read_gray(path, 50), Geometry(50)).astype(int)
    assert np.abs(full_size - scaled).mean() < 1


def test_dicom_is_rescaled_windowed_and_inverted_according_to_its_tags(tmp_path: Path) -> None:
    stored = ramp(16, 16, 4095)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = read_gray(save_dicom(tmp_path / "a.dcm", stored, **window))
    assert (plain.min(), plain.max()) == (0, 255)
    np.testing.assert_allclose(plain, stored / 4095 * 255, atol=1)
    inverted = read_gray(save_dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1", **window))
    np.testing.assert_array_equal(inverted, 255 - plain)
    shifted = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 3996, "WindowWidth": 8191}
    np.testing.assert_allclose(read_gray(save_dicom(tmp_path / "c.dcm", stored, **shifted)), plain, atol=1)
    several = save_dicom(tmp_path / "d.dcm", stored, WindowCenter=[2048, 100], WindowWidth=[4096, 10])
    np.testing.assert_array_equal(read_gray(several), plain)


def test_a_window_clips_values_outside(tmp_path: Path) -> None:
    stored = np.tile(np.array([0, 999, 1500, 2000, 4000], np.uint16), (16, 4))
    gray = read_gray(save_dicom(tmp_path / "a.dcm", stored, WindowCenter=1500, WindowWidth=1000))
    assert gray[0, [0, 1, 3, 4]].tolist() == [0, 0, 255, 255]
    assert 126 <= gray[0, 2] <= 129


def test_dicom_without_a_window_uses_percentiles_also_when_signed(tmp_path: Path) -> None:
    stored = (ramp(64, 64, 4095).astype(np.int32) - 2000).astype(np.int16)
    gray = read_gray(save_dicom(tmp_path / "a.dcm", stored))
    assert (gray.min(), gray.max()) == (0, 255)
    assert read_gray(save_dicom(tmp_path / "b.dcm", ramp(16, 16, 4095), WindowCenter=5, WindowWidth=0)).max() == 255


def test_eight_bit_values_with_a_twelve_bit_header_are_not_black(tmp_path: Path) -> None:
    """Some VinDr-CXR files declare 12 bits and a matching window, but have 8-bit values."""
    stored = ramp(64, 64).astype(np.uint16)
    wrong_tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    gray = read_gray(save_dicom(tmp_path / "a.dcm", stored, **wrong_tags))
    assert (gray.min(), gray.max()) == (0, 255)
    inverted = read_gray(save_dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1", **wrong_tags))
    np.testing.assert_array_equal(inverted, 255 - gray)
    outside = save_dicom(tmp_path / "c.dcm", ramp(64, 64, 1000), WindowCenter=30_000, WindowWidth=2000)
    assert read_gray(outside).max() == 255


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_declared_number_of_bits_does_not_change_pixels(bits: int, tmp_path: Path) -> None:
    stored = ramp(32, 32, 4095)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    expected = read_gray(save_dicom(tmp_path / "a.dcm", stored, **window))
    path = save_dicom(tmp_path / "b.dcm", stored, BitsStored=bits, HighBit=bits - 1, **window)
    np.testing.assert_array_equal(read_gray(path), expected)


def test_files_that_are_no_images_raise_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404</html>")
    assert reason(tmp_path / "empty.png") == "empty file"
    assert reason(tmp_path / "text.png") == "not a JPEG, PNG or DICOM image"
    assert reason(tmp_path / "none.png").startswith("cannot open")


def test_a_truncated_jpeg_with_a_complete_thumbnail_raises_an_error(tmp_path: Path) -> None:
    thumbnail = save(tmp_path / "t.jpg", ramp(16, 16)).read_bytes()
    content = save(tmp_path / "a.jpg", ramp(200, 200)).read_bytes()
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    complete = content[:2] + exif + content[2:]
    (tmp_path / "a.jpg").write_bytes(complete)
    assert read_gray(tmp_path / "a.jpg").shape == (200, 200)
    (tmp_path / "a.jpg").write_bytes(complete[:-200])
    assert reason(tmp_path / "a.jpg") == "truncated JPEG"


def test_a_header_with_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.png", ramp(8, 8)).read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(bytes(content))
    assert "60000 x 60000 pixels" in reason(tmp_path / "a.png")
    content = bytearray(save(tmp_path / "a.jpg", ramp(8, 8)).read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    (tmp_path / "a.jpg").write_bytes(bytes(content))
    assert "60000 x 60000 pixels" in reason(tmp_path / "a.jpg")
    assert "more than" in reason(save_dicom(tmp_path / "a.dcm", ramp(8, 8), Rows=60_000, Columns=60_000))


def jpeg(image: NDArray[Any], *options: int) -> bytes:
    """Return the image as a JPEG file; options: pairs of an OpenCV flag and its value."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def textured(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(2).normal(0, 6, (height, width))
    return np.clip(ramp(height, width) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("at_least", [0, 64])
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_OPTIMIZE, 1)])
@pytest.mark.parametrize("damage", ["missing", "zeroed", "cut"])
def test_a_jpeg_with_damaged_data_is_unreadable(
    damage: str, options: tuple[int, ...], at_least: int, tmp_path: Path
) -> None:
    """libjpeg fills the rest of such an image with gray and reports the damage on stderr only."""
    content = jpeg(textured(512, 600), *options)
    first = content.index(JPEG_SCAN) + 20
    # nothing between the two bytes of a marker or of an escaped FF is removed
    start = next(k for k in range(len(content) // 2, len(content)) if 255 not in content[k - 1 : k + 1])
    assert start > first
    damaged = {
        "missing": content[:start] + content[start + 1500 :],
        "zeroed": content[:start] + bytes(2000) + content[start + 2000 :],
        "cut": content[:start] + b"\xff\xd9",
    }[damage]
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_gray(tmp_path / "a.jpg", at_least).ndim == 2
    (tmp_path / "a.jpg").write_bytes(damaged)
    with pytest.raises(UnreadableImage, match="damaged JPEG"):
        read_gray(tmp_path / "a.jpg", at_least)


@pytest.mark.parametrize("shape", [(64, 64), (50, 70, 3), (33, 47)])
def test_a_progressive_jpeg_without_its_last_scans_is_unreadable(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = np.random.default_rng(3).integers(0, 255, shape, dtype=np.uint8)
    content = jpeg(image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [match.start() for match in re.finditer(re.escape(JPEG_SCAN), content)]
    assert len(scans) in (6, 10)
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_gray(tmp_path / "a.jpg").shape == shape[:2]
    (tmp_path / "a.jpg").write_bytes(content[: scans[3]] + b"\xff\xd9")
    assert reason(tmp_path / "a.jpg") == "truncated JPEG: its last scans are missing"


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_a_complete_jpeg_with_a_gray_border_is_readable(options: tuple[int, ...], tmp_path: Path) -> None:
    """The gray value of missing data is also the value of some borders."""
    image = np.full((200, 200), 128, np.uint8)
    image[20:180, 20:180] = textured(160, 160)
    (tmp_path / "a.jpg").write_bytes(jpeg(image, *options))
    assert read_gray(tmp_path / "a.jpg").shape == (200, 200)


def exif(orientation: int) -> bytes:
    """Return EXIF data (TIFF, big-endian) with one entry: the orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\x00\x2a" + struct.pack(">I", 8) + struct.pack(">H", 1) + entry + struct.pack(">I", 0)


@pytest.mark.parametrize("top", [255, 65535])
def test_png_and_jpeg_are_turned_by_their_exif_orientation(top: int, tmp_path: Path) -> None:
    upright = ramp(40, 60, top)
    content = save(tmp_path / "a.png", upright).read_bytes()
    chunk = b"eXIf" + exif(6)
    header = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "b.png").write_bytes(content[:33] + header + content[33:])
    turned = np.rot90(read_gray(tmp_path / "a.png"), -1)
    np.testing.assert_array_equal(read_gray(tmp_path / "b.png"), turned)
    if top == 255:
        content = jpeg(upright)
        segment = b"Exif\0\0" + exif(6)
        header = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
        (tmp_path / "b.jpg").write_bytes(content[:2] + header + content[2:])
        np.testing.assert_allclose(read_gray(tmp_path / "b.jpg").astype(int), turned, atol=4)


def save_float_dicom(path: Path, image: NDArray[np.float32]) -> Path:
    data = pydicom.dcmread(save_dicom(path, np.zeros(image.shape, np.uint16)))
    del data.PixelData, data.PixelRepresentation, data.HighBit, data.BitsStored
    data.BitsAllocated = 32
    data.FloatPixelData = image.tobytes()
    data.save_as(path)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_dicom_with_values_that_are_no_numbers_is_unreadable(value: float, tmp_path: Path) -> None:
    image = ramp(20, 20, 4095).astype(np.float32)
    assert read_gray(save_float_dicom(tmp_path / "a.dcm", image)).max() == 255
    image[3, 4] = value
    assert "no numbers" in reason(save_float_dicom(tmp_path / "a.dcm", image))


@pytest.mark.parametrize("unit", [1e-6, 1 / 4095, 0.37, 1000, 8e34])
def test_a_dicom_with_fractions_or_large_values_keeps_its_gray_levels(unit: float, tmp_path: Path) -> None:
    image = ramp(40, 40, 4095)
    expected = read_gray(save_dicom(tmp_path / "a.dcm", image)).astype(int)
    found = read_gray(save_float_dicom(tmp_path / "b.dcm", image.astype(np.float32) * np.float32(unit)))
    np.testing.assert_allclose(found, expected, atol=1)
    rescaled = save_dicom(tmp_path / "c.dcm", image, RescaleSlope=f"{unit:.6g}", RescaleIntercept="0")
    np.testing.assert_allclose(read_gray(rescaled), expected, atol=1)
    around_zero = (image.astype(np.float32) - 2048) * np.float32(unit)
    np.testing.assert_allclose(read_gray(save_float_dicom(tmp_path / "d.dcm", around_zero)), expected, atol=1)


@pytest.mark.parametrize(("unit", "marker"), [(1 / 4095, 1e9), (1000, 3e38)])
def test_a_marker_with_a_large_value_does_not_hide_the_image(unit: float, marker: float, tmp_path: Path) -> None:
    image = ramp(80, 80, 4095)
    expected = read_gray(save_dicom(tmp_path / "a.dcm", image)).astype(int)
    marked = image.astype(np.float32) * np.float32(unit)
    marked[3, 4:7] = marker
    found = read_gray(save_float_dicom(tmp_path / "b.dcm", marked)).astype(int)
    assert (found[3, 4:7] == 255).all()
    expected[3, 4:7] = 255
    np.testing.assert_allclose(found, expected, atol=2)


def test_signed_values_over_the_full_range_keep_their_gray_levels(tmp_path: Path) -> None:
    image = ramp(40, 40, 65535)
    signed = (image.astype(np.int32) - 32768).astype(np.int16)
    expected = read_gray(save_dicom(tmp_path / "a.dcm", image))
    np.testing.assert_array_equal(read_gray(save_dicom(tmp_path / "b.dcm", signed)), expected)


@pytest.mark.parametrize(("center", "width"), [("nan", "100"), ("100", "inf"), ("abc", "100"), ("1,500", "8.125")])
def test_a_window_that_is_no_number_is_ignored(center: str, width: str, tmp_path: Path) -> None:
    image = ramp(20, 20, 4095)
    path = save_dicom(tmp_path / "a.dcm", image, WindowCenter="7.125", WindowWidth="8.125")
    content = path.read_bytes().replace(b"7.125", center.ljust(5).encode()).replace(b"8.125", width.ljust(5).encode())
    path.write_bytes(content)  # pydicom refuses to write such a value
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", image)))


@pytest.mark.parametrize(
    ("slope", "problem"), [("0", "RescaleSlope is 0"), ("nan", "no numbers"), ("1e400", "no numbers")]
)
def test_a_dicom_with_an_invalid_rescale_slope_is_unreadable(slope: str, problem: str, tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", ramp(20, 20, 4095), RescaleSlope="7.125", RescaleIntercept=0)
    content = path.read_bytes()
    # pydicom refuses to write such a value
    path.write_bytes(content.replace(b"7.125", slope.ljust(5).encode()))
    with pytest.raises(UnreadableImage, match=problem):
        read_radiograph(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.dcm"])
def test_a_blank_image_is_no_radiograph(name: str, tmp_path: Path) -> None:
    path = (save_dicom if name == "a.dcm" else save)(tmp_path / name, np.full((100, 90), 7, np.uint8))
    assert np.ptp(read_gray(path)) == 0
    with pytest.raises(UnreadableImage, match="no contrast"):
        read_radiograph(path)


def test_an_image_with_a_single_different_pixel_is_readable(tmp_path: Path) -> None:
    image = np.full((100, 90), 7, np.uint8)
    image[50, 41] = 9
    assert read_radiograph(save(tmp_path / "a.png", image)).max() == 9


def test_unreadable_image_can_be_pickled() -> None:
    assert str(pickle.loads(pickle.dumps(UnreadableImage("truncated")))) == "truncated"


@pytest.mark.parametrize("fit", ["squash", "letterbox", "smallest_crop"])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (50, 60), (33, 200), (64, 64), (1, 500)])
def test_every_geometry_gives_a_square_of_its_size(fit: str, shape: tuple[int, int]) -> None:
    result = to_geometry(ramp(*shape), Geometry(64, fit))
    assert result.shape == (64, 64)
    assert result.dtype == np.uint8


def test_letterbox_centers_the_image_on_black() -> None:
    result = to_geometry(np.full((300, 400), 200, np.uint8), Geometry(224, "letterbox"))
    rows = np.flatnonzero(result.any(axis=1))
    assert (rows[0], 223 - rows[-1]) == (28, 28)
    assert (result[28:196] == 200).all()


@pytest.mark.parametrize(
    ("shape", "size", "rows", "columns"),
    [((300, 400), 224, (28, 28), (0, 0)), ((3056, 2544), 512, (0, 0), (43, 43)), ((2544, 3056), 512, (43, 43), (0, 0))],
)
def test_letterbox_has_the_expected_margins(
    shape: tuple[int, int], size: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    result = to_geometry(np.full(shape, 200, np.uint8), Geometry(size, "letterbox"))
    for axis, margins in ((1, rows), (0, columns)):
        lit = np.flatnonzero(result.any(axis=axis))
        assert (lit[0], size - 1 - lit[-1]) == margins


def test_clahe_brightens_a_flat_image_as_opencv_does() -> None:
    flat = np.full((64, 64), 100, np.uint8)
    assert (to_geometry(flat, Geometry(64, clahe=(2.0, 8))) == 108).all()


def test_smallest_crop_keeps_the_entire_short_side() -> None:
    image = np.zeros((320, 390), np.uint8)
    image[:, 35:355] = 100
    assert (to_geometry(image, Geometry(320, "smallest_crop")) == 100).all()


def test_a_geometry_of_the_image_size_changes_nothing() -> None:
    image = np.maximum(ramp(64, 64), 1)  # 0 would be padding in a letterbox
    for fit in ("squash", "letterbox", "smallest_crop"):
        np.testing.assert_array_equal(to_geometry(image, Geometry(64, fit)), image)


def test_shrinking_averages_and_does_not_alias() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200
    assert (to_geometry(stripes, Geometry(64)) == 100).all()


def test_clahe_equals_that_of_opencv_on_the_resized_image() -> None:
    image = ramp(64, 64) // 4
    expected = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image)
    np.testing.assert_array_equal(to_geometry(image, Geometry(64, clahe=(2.0, 8))), expected)
    boxed = to_geometry(np.full((32, 64), 100, np.uint8), Geometry(64, "letterbox", (2.0, 4)))
    assert not boxed[:16].any()


@pytest.mark.parametrize("bad", [{"size": 4}, {"size": 64, "fit": "stretch"}, {"size": 64, "clahe": (0.0, 8)}])
def test_an_invalid_geometry_raises_an_error(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Geometry(**bad)  # type: ignore[arg-type]
