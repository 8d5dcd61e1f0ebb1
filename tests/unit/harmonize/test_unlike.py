"""Tests of remarks on files that are not frontal chest radiographs."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pictures import ramp
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from harmonize.checks.non_cxr_checks import gray_values, unlike_radiograph, unusual_gray, usual_range
from harmonize.images.pixels import read_gray

GRAY = ramp(96, 80)


def written(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def dicom(path: Path, **tags: object) -> Path:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 96, 80, 8, 8, 7
    data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    data.PixelData = GRAY.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_color_photo_gives_a_remark(tmp_path: Path, name: str) -> None:
    y, x = np.mgrid[0:300, 0:400]
    path = written(tmp_path / name, np.stack([x * 255 // 400, y * 255 // 300, 128 + 0 * x], 2).astype(np.uint8))
    (remark,) = unlike_radiograph(path, ramp(300, 400))
    assert "color image" in remark


def test_gray_in_three_channels_and_a_small_color_mark_give_no_remark(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(np.repeat(GRAY[:, :, None], 3, 2), (9, 9), 3)
    assert unlike_radiograph(written(tmp_path / "rgb.jpg", smooth), GRAY) == []
    large = cv2.resize(smooth, (800, 960))
    large[:40, :40] = (0, 0, 255)
    assert unlike_radiograph(written(tmp_path / "mark.png", large), ramp(960, 800)) == []
    assert unlike_radiograph(written(tmp_path / "deep.png", GRAY.astype(np.uint16) * 200), GRAY) == []


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"Modality": "CT"}, "modality CT is not a radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "HAND"}, "body part HAND is not the chest"),
        ({"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "LL"}, "view LL is lateral"),
        ({"Modality": "<b>\nx"}, "modality ?B??X is not a radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "PORT CHEST", "ViewPosition": "PA"}, None),
        ({}, None),
    ],
)
def test_dicom_tags_of_other_images_give_a_remark(tmp_path: Path, tags: dict[str, str], expected: str | None) -> None:
    with pydicom.config.disable_value_validation():
        path = dicom(tmp_path / "a.dcm", **tags)
    assert read_gray(path).shape == (96, 80)
    remarks = unlike_radiograph(path, GRAY)
    assert (expected is None and remarks == []) or (
        expected is not None and expected in remarks[0] and len(remarks) == 1
    )


def test_frames_and_a_long_shape_give_remarks_also_without_a_preamble(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", NumberOfFrames=2, PixelData=GRAY.tobytes() * 2)
    assert unlike_radiograph(path, GRAY) == ["2 frames: only the first is used"]
    assert unlike_radiograph(written(tmp_path / "a.png", GRAY), ramp(20, 90)) == [
        "90 x 20 pixels is not a shape of a chest radiograph"
    ]
    content = path.read_bytes()
    path.write_bytes(content[132:])  # from the file meta information on
    assert unlike_radiograph(path, GRAY) == ["2 frames: only the first is used"]


def test_the_usual_range_ends_three_interquartile_ranges_from_the_quartiles() -> None:
    images = np.repeat(np.arange(100, 181, 20, dtype=np.uint8), 64).reshape(5, 64)  # quartiles of the mean: 120 and 160
    usual = usual_range(gray_values(images))
    assert usual["mean gray"] == (0.0, 255.0)
    assert usual["contrast"] == (0.0, 15.0)
    assert usual["white pixels"] == pytest.approx((0.0, 0.15))
    narrow = usual_range(gray_values(images[2:3]))
    assert narrow["mean gray"] == (125.0, 155.0)
    new = np.stack([images[2], np.full(64, 124, np.uint8), np.full(64, 250, np.uint8)])
    assert unusual_gray(gray_values(new), narrow, "images of a") == [
        [],
        ["mean gray: 124 (images of a: 125 to 155)"],
        ["mean gray: 250 (images of a: 125 to 155)", "white pixels: 100 % (images of a: 0 to 15 %)"],
    ]
