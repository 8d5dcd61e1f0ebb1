"""Properties of a file that a frontal chest radiograph does not have: color, or another modality, body part or view.

The checks use headers, not pixels: a file without a remark may still show anything.
"""

import io
import warnings
from typing import Any

import cv2
import numpy as np

from harmonize.images.image_header import ImageFile

COLOURED = 32  # gray levels between the channels of a pixel: more than JPEG's noise
SHARE = 0.02  # of such pixels, from which a picture counts as coloured: an arrow or a logo is less
MODALITIES = ("CR", "DX", "RG", "RF", "XA")  # DICOM PS3.3, C.7.3.1.1.1: radiography and fluoroscopy
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORSO", "TRUNK")
_LATERAL = ("LL", "RL", "LATERAL", "LLD", "RLD", "ML")


def unlike_radiograph(path: ImageFile) -> list[str]:
    """Return remarks on a file that `read_gray` has read: its size is known to be fine. [] for what cannot be told."""
    content = path.read_bytes()
    if content[128:132] == b"DICM":
        return _of_dicom(content)
    gray = content[:8] == b"\x89PNG\r\n\x1a\n" and content[25:26] in (b"\x00", b"\x04")  # its colour types of gray
    if gray:
        return []
    share = _coloured(content)
    return [f"a colour picture ({100 * share:.0f} % of its pixels): radiographs are gray"] if share > SHARE else []


def _coloured(content: bytes) -> float:
    """Return the share of pixels that have a colour, on an eighth of the sides."""
    small = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    return 0.0 if small is None or small.size == 0 else float(((small.max(2) - small.min(2)) > COLOURED).mean())


def _of_dicom(content: bytes) -> list[str]:
    import pydicom  # half a second to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            modality, part, view = (_text(data, name) for name in ("Modality", "BodyPartExamined", "ViewPosition"))
            frames = int(data.get("NumberOfFrames") or 1)
    except Exception:  # noqa: BLE001  (the pixels could be read: damaged remarks are no remarks)
        return []
    found = []
    if modality and modality not in MODALITIES:
        found.append(f"DICOM modality {modality} is no radiograph")
    if part and not any(word in part for word in _CHEST):
        found.append(f"DICOM body part {part} is no chest")
    if view in _LATERAL:
        found.append(f"DICOM view {view} is lateral: runs learn frontal images unless their grid says otherwise")
    if frames > 1:
        found.append(f"{frames} frames: only the first is looked at")
    return found


def _text(data: Any, name: str) -> str:
    """Return a tag as short printable capitals: it is shown on terminals and pages."""
    text = str(data.get(name) or "").strip().upper()
    return "".join(c if c.isprintable() and c not in "<>&;" else "?" for c in text)[:32]
