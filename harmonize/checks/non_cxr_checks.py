"""Detect files that are not frontal chest radiographs: color, or another modality, body part or view.

A remark is a text that states what is unusual about a file. Only the check for color reads pixels; all other checks
read the header of a DICOM file. So a file without remarks may still show something other than a chest.
"""

import io
import warnings
from typing import Any

import cv2
import numpy as np

from harmonize.images.image_header import ImageFile

# In a color pixel, the largest channel is more than this number of gray levels above the smallest. JPEG noise causes
# smaller differences.
MIN_COLOR_DIFFERENCE = 32
SHARE = 0.02  # an image with a larger share of color pixels is a color image; an arrow or a logo has fewer color pixels
# values of the DICOM tag Modality for radiography and fluoroscopy (DICOM PS3.3, C.7.3.1.1.1)
MODALITIES = ("CR", "DX", "RG", "RF", "XA")
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORSO", "TRUNK")
_LATERAL = ("LL", "RL", "LATERAL", "LLD", "RLD", "ML")


def unlike_radiograph(path: ImageFile) -> list[str]:
    """Return remarks on what is unusual about a file; [] if the checks detect nothing.

    Call `read_gray` first, because it checks the size of the image.
    """
    content = path.read_bytes()
    if content[128:132] == b"DICM":
        return _of_dicom(content)
    # byte 25 of a PNG file is its color type: 0 is gray, 4 is gray with transparency
    is_gray = content[:8] == b"\x89PNG\r\n\x1a\n" and content[25:26] in (b"\x00", b"\x04")
    if is_gray:
        return []
    share = _share_of_color(content)
    return [f"color image ({100 * share:.0f} % of its pixels): radiographs are gray"] if share > SHARE else []


def _share_of_color(content: bytes) -> float:
    """Return the share of color pixels (0 to 1) in the image at an eighth of its width and height; 0 if unreadable."""
    small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    return (
        0.0
        if small is None or small.size == 0
        else float(((small.max(2) - small.min(2)) > MIN_COLOR_DIFFERENCE).mean())
    )


def _of_dicom(content: bytes) -> list[str]:
    """Return remarks on tags in the header of a DICOM file."""
    import pydicom  # imported only when needed, because the import takes half a second

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            modality, body_part, view = (_text(data, name) for name in ("Modality", "BodyPartExamined", "ViewPosition"))
            frames = int(data.get("NumberOfFrames") or 1)
    except Exception:  # noqa: BLE001  (the pixels could be read, so a damaged header gives no remarks)
        return []
    remarks = []
    if modality and modality not in MODALITIES:
        remarks.append(f"DICOM modality {modality} is not a radiograph")
    if body_part and not any(word in body_part for word in _CHEST):
        remarks.append(f"DICOM body part {body_part} is not the chest")
    if view in _LATERAL:
        remarks.append(f"DICOM view {view} is lateral: by default, runs train on frontal images")
    if frames > 1:
        remarks.append(f"{frames} frames: only the first is used")
    return remarks


def _text(data: Any, name: str) -> str:
    """Return at most 32 characters of a DICOM tag, in capitals; "?" replaces characters unsafe in terminals or HTML."""
    text = str(data.get(name) or "").strip().upper()
    return "".join(c if c.isprintable() and c not in "<>&;" else "?" for c in text)[:32]
