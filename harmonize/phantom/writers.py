"""Write images in the format of each hospital: JPEG, 8-bit PNG, 16-bit PNG with 12 bits, DICOM with a window."""

from pathlib import Path

import cv2
import numpy as np

from harmonize.phantom.drawing import Map
from harmonize.phantom.sites import Site

UID_ROOT = "2.25."  # start of DICOM UIDs that are made from a number; here, the number is the image's hexadecimal id


def write_image(path: Path, image: Map, site: Site, name: str, rng: np.random.Generator) -> None:
    """Write an image (float32 [H, W], 0..1) in the format of the path's suffix and the hospital; create the folders.

    `name` is the image id, `rng` draws the window and the inversion of a DICOM file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dicom":
        maximum = 2**site.bits - 1
        window = (int(rng.integers(0, maximum // 10)), int(rng.integers(maximum * 3 // 4, maximum)))
        inverted = bool(rng.random() < site.monochrome1)
        write_dicom(path, image, uid=f"{UID_ROOT}{int(name, 16)}", bits=site.bits, window=window, inverted=inverted)
        return
    stored = np.rint(image * (2**site.bits - 1)).astype(np.uint8 if site.bits == 8 else np.uint16)
    jpeg = path.suffix == ".jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, site.jpeg_quality] if jpeg else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    ok, data = cv2.imencode(path.suffix, stored, options)  # cv2.imwrite would return False, and fails for some names
    if not ok:
        raise RuntimeError(f"cannot encode {path.suffix}")
    path.write_bytes(data.tobytes())


def write_dicom(path: Path, image: Map, *, uid: str, bits: int, window: tuple[int, int], inverted: bool) -> None:
    """Write a de-identified DICOM file with 16-bit pixel values from window[0] to window[1].

    `bits` is the stated number of used bits. `inverted` means photometric interpretation MONOCHROME1: low values are
    bright.
    """
    low, high = window
    pixels = np.rint(low + (1 - image if inverted else image) * (high - low)).astype("<u2")
    from pydicom.dataset import Dataset, FileMetaDataset  # imported only when needed: the import takes half a second
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID(uid)
    data.Modality, data.ViewPosition = "DX", "PA"
    data.PatientName = data.PatientID = ""
    data.PatientIdentityRemoved = "YES"
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.Rows, data.Columns = pixels.shape
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    # With the linear window (PS3.3 C.11.2.1.2), low becomes black and high becomes white.
    data.WindowCenter, data.WindowWidth = (low + high + 1) / 2, high - low + 1
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
