"""Tests of DICOM files as hospitals write them: compressed, with lookup tables, with padding, without a header.

Expected pixels are those of pydicom's own functions, or of the same picture in a plain file.
"""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pictures import ramp, save_dicom
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from harmonize.checks.non_cxr_checks import unlike_radiograph
from harmonize.images import dicom
from harmonize.images.gray_levels import percentiles_to_uint8, window_to_uint8
from harmonize.images.image_header import INSTALL_DECODERS, UnreadableImage
from harmonize.images.pixels import read_gray

STORED = ramp(48, 40, 4095)
STORED_GRAY = (STORED // 16).astype(np.uint8)


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_gray(path)
    return str(caught.value)


def changed(path: Path, change: Callable[[Any], object], image: NDArray[Any] = STORED, **tags: object) -> Path:
    """Write a DICOM file after a change of its data set."""
    data = pydicom.dcmread(save_dicom(path, image, **tags))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(data)
        data.save_as(path)
    return path


def table(descriptor: list[int], entries: NDArray[Any]) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "US" if entries.dtype == np.uint16 else "OW", entries.tolist())
    if entries.dtype == np.uint8:
        item["LUTData"].value = entries.tobytes()
    return item


def shipped(name: str) -> Path:
    """Return a test file of pydicom; skip the test if the file is not in the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not shipped with this version of pydicom")
    return Path(path)


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),  # JPEG Lossless
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_expb.dcm", "MR_small.dcm"),  # big endian
        ("MR_small_padded.dcm", "MR_small.dcm"),  # bytes after the pixels
    ],
)
def test_every_compression_gives_the_pixels_of_the_plain_file(compressed: str, plain: str) -> None:
    pytest.importorskip("libjpeg")
    np.testing.assert_array_equal(read_gray(shipped(compressed)), read_gray(shipped(plain)))


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "693_J2KI.dcm", "examples_jpeg2k.dcm", "CT_small.dcm"])
def test_files_of_pydicom_keep_the_order_of_their_gray_levels(name: str) -> None:
    pytest.importorskip("libjpeg")
    data = pydicom.dcmread(shipped(name))
    values = apply_modality_lut(data.pixel_array, data)
    values = values.mean(axis=2) if values.ndim == 3 else values
    gray = read_gray(shipped(name)).astype(int)
    order = np.argsort(values, axis=None)
    assert len(np.unique(gray)) > 50
    assert (np.diff(gray.ravel()[order]) >= 0).all()


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm"])
def test_installed_decoders_do_not_change_the_pixels_of_pillow(name: str) -> None:
    data = pydicom.dcmread(shipped(name))
    data.pixel_array_options(decoding_plugin="pillow")
    np.testing.assert_array_equal(dicom._stored_values(pydicom.dcmread(shipped(name))), data.pixel_array)


class NoDecoder:
    """A compression for which pydicom has a decoder, but whose packages are not installed."""

    is_available = False
    available_plugins = ()
    missing_dependencies = ("pylibjpeg - requires pylibjpeg>=2.0",)


def test_a_missing_decoder_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "get_decoder", lambda _syntax: NoDecoder)
    assert reason(shipped("SC_rgb_jpeg_gdcm.dcm")) == f"no decoder for JPEG Lossless: {INSTALL_DECODERS}"
    assert reason(shipped("MR_small_jpeg_ls_lossless.dcm")) == f"no decoder for JPEG-LS Lossless: {INSTALL_DECODERS}"
    NoDecoder.is_available = True  # Pillow has a decoder of JPEG Extended, but only for 8 bits
    monkeypatch.setattr(dicom, "_stored_values", lambda _data: (_ for _ in ()).throw(RuntimeError("12 bits " * 99)))
    text = reason(shipped("JPGExtended.dcm"))
    assert text.startswith(f"damaged DICOM, or a decoder is missing ({INSTALL_DECODERS}): 12 bits")
    assert text.endswith(("12 ...", "bits ..."))
    NoDecoder.is_available = False


def test_a_video_in_dicom_has_no_decoder(tmp_path: Path) -> None:
    def video(data: Any) -> None:
        data.PixelData = encapsulate([b"\0" * 64])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"

    assert (
        reason(changed(tmp_path / "a.dcm", video)) == "no decoder for DICOM pixels in MPEG2 Main Profile / Main Level"
    )


@pytest.mark.parametrize(("name", "syntax"), [("ls", JPEGLSLossless), ("2000", JPEG2000Lossless)])
def test_a_compressed_frame_larger_than_any_radiograph_is_not_decoded(
    name: str, syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enlarge(data: Any) -> None:
        frame = bytearray(next(generate_frames(data.PixelData, number_of_frames=1)))
        assert data.file_meta.TransferSyntaxUID == syntax
        if name == "ls":
            start = frame.index(b"\xff\xf7")
            frame[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
        else:
            frame[8:16] = struct.pack(">II", 60_000, 60_000)
        data.PixelData = encapsulate([bytes(frame)])

    data = pydicom.dcmread(shipped({"ls": "MR_small_jpeg_ls_lossless.dcm", "2000": "MR_small_jp2klossless.dcm"}[name]))
    data.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(dicom, "_check_decoder", lambda _syntax: None)
    monkeypatch.setattr(dicom, "_stored_values", None)
    enlarge(data)
    data.save_as(tmp_path / "a.dcm")
    assert "60000 x 60000 pixels, more than" in reason(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 16])
def test_the_table_of_a_palette_is_applied(bits: int, tmp_path: Path) -> None:
    entries = np.arange(255, -1, -1).astype(np.uint16) * (1 if bits == 8 else 257)

    def palette(data: Any) -> None:
        data.PhotometricInterpretation = "PALETTE COLOR"
        for color in ("Red", "Green", "Blue"):
            data.add_new(f"{color}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
            content = entries.astype(np.uint8 if bits == 8 else "<u2").tobytes()
            data.add_new(f"{color}PaletteColorLookupTableData", "OW", content)

    index = ramp(48, 40)
    path = changed(tmp_path / "a.dcm", palette, index)
    data = pydicom.dcmread(path)
    colors = apply_color_lut(data.pixel_array, data).mean(axis=2)
    gray = read_gray(path)
    assert np.corrcoef(gray.ravel(), colors.ravel())[0, 1] > 0.9999
    assert np.corrcoef(gray.ravel(), index.ravel())[0, 1] < -0.999


def test_the_palette_of_a_color_picture_gives_the_gray_of_its_colors() -> None:
    path = shipped("examples_palette.dcm")
    data = pydicom.dcmread(path)
    colors = apply_color_lut(data.pixel_array, data).mean(axis=2)
    order = np.argsort(colors, axis=None)
    assert (np.diff(read_gray(path).ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_modality_table_of_any_width_is_applied(bits: int, tmp_path: Path) -> None:
    entries = np.linspace(2**bits - 1, 0, 4096).round().astype(np.uint16)
    path = changed(
        tmp_path / "a.dcm", lambda data: setattr(data, "ModalityLUTSequence", [table([4096, 0, bits], entries)])
    )
    np.testing.assert_array_equal(read_gray(path), percentiles_to_uint8(entries[STORED]))
    if bits in (8, 16):
        data = pydicom.dcmread(path)
        np.testing.assert_array_equal(entries[STORED], apply_modality_lut(data.pixel_array, data))


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("first", [0, 500])
def test_a_voi_table_is_applied_before_the_inversion(first: int, interpretation: str, tmp_path: Path) -> None:
    entries = (np.linspace(0, 1, 3000) ** 2 * 1023).round().astype(np.uint16)
    path = changed(
        tmp_path / "a.dcm",
        lambda data: setattr(data, "VOILUTSequence", [table([3000, first, 10], entries)]),
        PhotometricInterpretation=interpretation,
    )
    data = pydicom.dcmread(path)
    shown = window_to_uint8(apply_voi(data.pixel_array, data), 0, 1023)
    np.testing.assert_array_equal(read_gray(path), 255 - shown if interpretation == "MONOCHROME1" else shown)


def test_a_table_may_begin_below_zero(tmp_path: Path) -> None:
    entries = np.square(np.arange(5000) // 20).astype(np.uint16)
    item = table([5000, 0, 16], entries)
    item["LUTDescriptor"].VR = "SS"
    item.LUTDescriptor = [5000, -500, 16]
    path = changed(tmp_path / "a.dcm", lambda data: setattr(data, "ModalityLUTSequence", [item]))
    np.testing.assert_array_equal(read_gray(path), percentiles_to_uint8(entries[STORED + 500] - entries[500]))


def test_a_table_below_zero_is_read_without_its_sign(tmp_path: Path) -> None:
    """With implicit VR, a table that begins at -1024 states 64512."""
    entries = np.linspace(0, 65535, 4096).round().astype(np.uint16)
    tags = {"VOILUTSequence": [table([4096, 64512, 16], entries)], "RescaleIntercept": -1024, "RescaleSlope": 1}
    path = changed(tmp_path / "a.dcm", lambda data: [setattr(data, name, value) for name, value in tags.items()])
    np.testing.assert_array_equal(read_gray(path), window_to_uint8(entries[STORED].astype(np.int32), 0, 65535))


def overlaid(image: NDArray[Any], bit: int) -> NDArray[Any]:
    changed_image = image.copy()
    changed_image[10:30, 5:25] |= np.uint16(1 << bit)
    return changed_image


@pytest.mark.parametrize("bit", [12, 15])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_an_overlay_above_the_stored_bits_is_removed_with_a_remark(
    bit: int, window: dict[str, int], tmp_path: Path
) -> None:
    bits = {"BitsStored": 12, "HighBit": 11}
    path = save_dicom(tmp_path / "a.dcm", overlaid(STORED, bit), **bits, **window)
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", STORED, **bits, **window)))
    (remark,) = unlike_radiograph(path, STORED_GRAY)
    assert remark == "DICOM with pixels that use bits above BitsStored 12: they are not read"


def test_bits_that_the_image_needs_are_read_with_a_remark(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", STORED, BitsStored=10, HighBit=9)
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", STORED)))
    (remark,) = unlike_radiograph(path, STORED_GRAY)
    assert "they are read" in remark
    negative = (STORED.astype(np.int32) - 2048).astype(np.int16)
    unsigned = save_dicom(tmp_path / "c.dcm", negative & 4095, BitsStored=12, HighBit=11)  # the sign is in bit 11
    np.testing.assert_array_equal(read_gray(unsigned), read_gray(save_dicom(tmp_path / "d.dcm", negative)))
    assert unlike_radiograph(unsigned, STORED_GRAY) == []


RAW, LOW = {"PresentationIntentType": "FOR PROCESSING"}, {"PhotometricInterpretation": "MONOCHROME1"}


@pytest.mark.parametrize(
    ("tags", "inverted", "said"),
    [
        (LOW | {"PresentationLUTShape": "INVERSE"}, True, None),
        ({"PresentationLUTShape": "IDENTITY"}, False, None),
        ({"PresentationLUTShape": "INVERSE"}, True, "INVERSE contradicts MONOCHROME2: the image is inverted"),
        (LOW | {"PresentationLUTShape": "IDENTITY"}, True, "IDENTITY contradicts"),
        (RAW, False, "FOR PROCESSING"),
        (RAW | {"PixelIntensityRelationshipSign": 1}, True, "FOR PROCESSING"),
        (RAW | LOW | {"PixelIntensityRelationshipSign": -1}, False, "FOR PROCESSING"),
        ({"PixelIntensityRelationshipSign": 1, "PresentationIntentType": "FOR PRESENTATION"}, False, None),
    ],
)
def test_every_element_that_inverts_an_image_is_read(
    tags: dict[str, Any], inverted: bool, said: str | None, tmp_path: Path
) -> None:
    plain = read_gray(save_dicom(tmp_path / "a.dcm", STORED))
    path = save_dicom(tmp_path / "b.dcm", STORED, **tags)
    np.testing.assert_array_equal(read_gray(path), 255 - plain if inverted else plain)
    remarks = unlike_radiograph(path, STORED_GRAY)
    assert remarks == [] if said is None else said in remarks[0]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PatientOrientation": ["R", "F"]}, "mirrored or turned"),
        ({"PatientOrientation": ["L", "H"]}, "mirrored or turned"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({"PatientOrientation": ["L", "F"]}, None),
        ({"SeriesDescription": "Chest Lateral"}, "lateral"),
        ({"SeriesDescription": "THORAX_LAT"}, "lateral"),
        ({"ProtocolName": "Thorax seitlich"}, "lateral"),
        ({"SeriesDescription": "CHEST PA AND LATERAL"}, None),
        ({"SeriesDescription": "Chest bilateral"}, None),
        ({"ViewPosition": "PA", "SeriesDescription": "LATERAL"}, None),
    ],
)
def test_the_orientation_and_the_description_give_remarks(
    tags: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    remarks = unlike_radiograph(save_dicom(tmp_path / "a.dcm", STORED, **tags), STORED_GRAY)
    assert remarks == [] if said is None else said in remarks[0]


def test_colors_and_wrong_planes_give_a_remark(tmp_path: Path) -> None:
    image = np.repeat(ramp(48, 40)[..., None].astype(np.uint8), 3, axis=2)
    colors = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    for planar, stored in ((0, image), (1, image.transpose(2, 0, 1))):
        tags = {"Rows": 48, "Columns": 40, "PixelData": stored.tobytes()} | colors
        right = save_dicom(tmp_path / "a.dcm", stored, **tags, PlanarConfiguration=planar)
        assert unlike_radiograph(right, STORED_GRAY) == []
        wrong = save_dicom(tmp_path / "b.dcm", stored, **tags, PlanarConfiguration=1 - planar)
        assert "PlanarConfiguration" in unlike_radiograph(wrong, STORED_GRAY)[0]
    red = save_dicom(tmp_path / "c.dcm", image // np.array([1, 2, 4], np.uint8), **colors, PlanarConfiguration=0)
    assert "color image" in unlike_radiograph(red, STORED_GRAY)[0]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"}, "no image: Comprehensive SR Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.5"}, "no image: RT Plan Storage"),
        ({"Modality": "ECG"}, "no image: DICOM modality 'ECG'"),
        ({"Modality": "DX"}, "damaged DICOM: no pixel data"),
    ],
)
def test_reports_and_plans_are_no_images(tags: dict[str, str], said: str, tmp_path: Path) -> None:
    def without_pixels(data: Any) -> None:
        del data.PixelData
        for name, value in tags.items():
            setattr(data, name, value)

    assert reason(changed(tmp_path / "a.dcm", without_pixels)) == said


@pytest.mark.parametrize("packed", [False, True])
def test_a_voi_table_of_8_bits_maps_values_of_12_bits(packed: bool, tmp_path: Path) -> None:
    """pydicom keeps positions in the table with 8 bits, and two entries in each word of packed data."""
    entries = np.linspace(255, 0, 4096).round().astype(np.uint8 if packed else np.uint16)
    path = changed(tmp_path / "a.dcm", lambda data: setattr(data, "VOILUTSequence", [table([4096, 0, 8], entries)]))
    np.testing.assert_array_equal(read_gray(path), entries[STORED])


@pytest.mark.parametrize("empty", ["RescaleSlope", "RescaleIntercept", "both", "no intercept"])
def test_an_empty_slope_is_1_and_an_empty_intercept_is_0(empty: str, tmp_path: Path) -> None:
    def rescale(data: Any) -> None:
        data.RescaleSlope = None if empty in ("RescaleSlope", "both") else "-1"
        if empty != "no intercept":
            data.RescaleIntercept = None if empty in ("RescaleIntercept", "both") else "3"

    sign = 1 if empty in ("RescaleSlope", "both") else -1
    expected = percentiles_to_uint8((sign * STORED.astype(int) + (0 if sign == 1 else 4095)).astype(np.uint16))
    np.testing.assert_array_equal(read_gray(changed(tmp_path / "a.dcm", rescale)), expected)


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("items", [[], [pydicom.Dataset()]])
def test_an_empty_sequence_of_tables_changes_nothing(name: str, items: list[Any], tmp_path: Path) -> None:
    marked = STORED.copy()
    marked[:2, :2] = 65535
    path = changed(tmp_path / "a.dcm", lambda data: setattr(data, name, items), marked)
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", marked)))


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("with_meta", [True, False])
def test_a_file_without_preamble_or_transfer_syntax_is_readable(
    explicit: bool, with_meta: bool, tmp_path: Path
) -> None:
    data = pydicom.dcmread(save_dicom(tmp_path / "a.dcm", STORED))
    expected = read_gray(tmp_path / "a.dcm")
    if with_meta:
        del data.file_meta.TransferSyntaxUID
    else:
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.preamble = None
    path = tmp_path / "b.dcm"
    data.save_as(path, implicit_vr=not explicit, little_endian=True, enforce_file_format=False)
    assert (path.read_bytes()[128:132] == b"DICM") == with_meta
    np.testing.assert_array_equal(read_gray(path), expected)


def test_compressed_pixels_without_transfer_syntax_are_unreadable(tmp_path: Path) -> None:
    data = pydicom.dcmread(shipped("MR_small_jp2klossless.dcm"))
    del data.file_meta.TransferSyntaxUID
    data.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert reason(tmp_path / "a.dcm") == "DICOM with compressed pixels, but without Transfer Syntax UID"


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
@pytest.mark.parametrize(
    ("value", "limit", "kind"), [(65535, None, np.uint16), (60000, 65535, np.uint16), (-2000, None, np.int16)]
)
def test_padding_is_black_and_changes_no_other_pixel(
    value: int, limit: int | None, kind: type, window: dict[str, object], interpretation: str, tmp_path: Path
) -> None:
    image = STORED.astype(kind) + kind(1)
    padded = image.copy()
    padded[:, :13] = value
    padded[:5, :5] = value if limit is None else (value + limit) // 2
    tags = {"PixelPaddingValue": value} | ({} if limit is None else {"PixelPaddingRangeLimit": limit})
    gray = read_gray(save_dicom(tmp_path / "a.dcm", padded, PhotometricInterpretation=interpretation, **tags, **window))
    inner = np.ascontiguousarray(image[:, 13:])
    expected = read_gray(save_dicom(tmp_path / "b.dcm", inner, PhotometricInterpretation=interpretation, **window))
    assert not gray[:, :13].any()
    np.testing.assert_array_equal(gray[:, 13:], expected)


def test_padding_of_the_whole_image_is_ignored(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", STORED, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", STORED)))


def test_the_first_of_two_frames_is_read(tmp_path: Path) -> None:
    two = np.stack([STORED, STORED[::-1]])

    def frames(data: Any) -> None:
        data.Rows, data.Columns, data.NumberOfFrames = 48, 40, 2

    path = changed(tmp_path / "a.dcm", frames, two)
    np.testing.assert_array_equal(read_gray(path), read_gray(save_dicom(tmp_path / "b.dcm", STORED)))


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope is 0"),
        ({"PixelAspectRatio": [2, 1]}, "PixelAspectRatio 2:1"),
        ({"PixelSpacing": [0.3, 0.15]}, "PixelSpacing 0.3:0.15"),
        ({"ImagerPixelSpacing": [0.143, 0.2]}, "ImagerPixelSpacing 0.143:0.2"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_refused(tags: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = changed(tmp_path / "a.dcm", lambda data: [setattr(data, name, value) for name, value in tags.items()])
    assert said in reason(path)
    square = {"PixelAspectRatio": [3, 3], "RescaleSlope": 1, "PixelSpacing": [0.143, 0.1431], "ImagerPixelSpacing": 0.1}
    valid = changed(path, lambda data: [setattr(data, name, value) for name, value in square.items()])
    np.testing.assert_array_equal(read_gray(valid), read_gray(save_dicom(tmp_path / "b.dcm", STORED)))


def test_a_jpeg_whose_data_end_early_is_unreadable(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (48, 40)))[1].tobytes()
    data = pydicom.dcmread(save_dicom(tmp_path / "a.dcm", STORED_GRAY))
    data.file_meta.TransferSyntaxUID, data.PixelData = JPEGBaseline8Bit, encapsulate([jpeg[:1000] + b"\xff\xd9"])
    data.save_as(tmp_path / "a.dcm")
    assert "data end before the last row" in reason(tmp_path / "a.dcm")


@pytest.mark.parametrize("slope", [1, 0.25, 1000])
def test_of_two_gray_levels_one_is_white_and_the_other_black(slope: float, tmp_path: Path) -> None:
    levels = (np.indices((40, 48)).sum(0) // 20 % 2).astype(np.uint16)
    path = changed(tmp_path / "a.dcm", lambda data: setattr(data, "RescaleSlope", slope), levels)
    np.testing.assert_array_equal(read_gray(path), 255 * levels)


def test_an_image_with_one_bit_for_each_pixel_is_read(tmp_path: Path) -> None:
    levels = (np.indices((40, 48)).sum(0) // 20 % 2).astype(np.uint8)
    bits = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    path = save_dicom(tmp_path / "a.dcm", levels, **bits, PixelData=np.packbits(levels, bitorder="little").tobytes())
    np.testing.assert_array_equal(read_gray(path), 255 * levels)
