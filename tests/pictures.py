"""Image files of every kind, written from an array."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def ramp(height: int, width: int, top: int = 255) -> NDArray[Any]:
    """Return a smooth image whose values run from 0 to `top`."""
    y, x = np.mgrid[:height, :width]
    image = (x / max(width - 1, 1) + y / max(height - 1, 1)) / 2 * top
    return image.round().astype(np.uint8 if top < 256 else np.uint16)


def save(path: Path, image: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def save_dicom(path: Path, image: NDArray[Any], **tags: object) -> Path:
    """Write an uncompressed DICOM; tags by keyword, e.g. WindowCenter=10."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns = image.shape[:2]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * image.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(image.dtype.kind == "i")
    data.PixelData = image.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path
