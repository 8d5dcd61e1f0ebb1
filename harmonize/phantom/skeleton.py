"""Draw bones as maps of thickness: cm of water that would attenuate as much as the bone.

Ribs are projections of tilted rings; one formula gives the posterior half and the anterior half of a ring. A bone is a
faint area between two thin bright lines, the cortex. The thickness values are larger than real bones, because bone
attenuates more than water.
"""

import numpy as np

from harmonize.phantom.drawing import Layer, Map, Points, blank, ellipse, fill, spline, stroke
from harmonize.phantom.outlines import LUNG_BASE, lung_top
from harmonize.phantom.patient import LEFT, RIGHT, Patient, Study

# thickness in cm of water of ribs (posterior, anterior), shoulder and spine, at pixels with the value 255 in their layer
POSTERIOR_CM, ANTERIOR_CM, SHOULDER_CM, SPINE_CM = (2.5, 2.1, 3.5, 2.0)
RING = np.linspace(0.12, 2.45, 26)  # angle along a rib [rad]: 0 at the spine, pi/2 at the side
RIB_REACH = np.array([0.50, 0.70, 0.83, 0.91, 0.96, 1.0, 1.025, 1.035, 1.03, 1.0])
RIB_DROP = np.array([0.55, 0.8, 1.0, 1.12, 1.2, 1.28, 1.33, 1.35, 1.3, 1.2])


def ribs_and_shoulders(patient: Patient, study: Study, size: int, middle: float) -> Map:
    """Return a thickness map of ribs, clavicles, scapulae and humeri; `middle` is the x of the spine."""
    posterior, anterior, shoulder = blank(size), blank(size), blank(size)
    for side in (LEFT, RIGHT):
        _ribs(posterior, anterior, patient, study, side, middle)
        _clavicle(shoulder, patient, study, side, middle)
        _scapula(shoulder, patient, study, side, middle)
        _humerus(shoulder, middle + side * (patient.half_width + 0.125), side)
    thickness = posterior.astype(np.float32) * POSTERIOR_CM
    thickness += anterior.astype(np.float32) * ANTERIOR_CM
    thickness += shoulder.astype(np.float32) * SHOULDER_CM
    return thickness * (patient.bone_density / 255)


def _ribs(posterior: Layer, anterior: Layer, patient: Patient, study: Study, side: int, middle: float) -> None:
    upper, lower = _rib_edges(patient, study, side, middle)
    segments = (  # (layer, first and last sample along the ring, first and last rib, brightness)
        (posterior, 0, 15, 0, 10, 1.0),
        (anterior, 14, 26, 0, 6, 0.72),
        (anterior, 14, 21, 6, 9, 0.60),
    )
    for layer, start, stop, first, last, shade in segments:
        top, bottom = upper[first:last, start:stop], lower[first:last, start:stop]
        fill(layer, np.concatenate([top, bottom[:, ::-1]], 1), int(105 * shade))
        stroke(layer, top, 0.0028, 150 * shade)
        stroke(layer, bottom, 0.0032, 190 * shade)


def _rib_edges(patient: Patient, study: Study, side: int, middle: float) -> tuple[Points, Points]:
    """Return both edges of ten ribs, each edge as [10 ribs, 26 points, 2] (x, y)."""
    order = np.arange(10)
    top = lung_top(study)
    pitch = (LUNG_BASE * patient.length + 0.022 * study.breath - top) / 9.4 * 0.98
    reach = patient.half_width * 1.012 * RIB_REACH
    drop = patient.rib_slope * RIB_DROP * (0.85 if study.view == "AP" else 1.0)
    x = reach[:, None] * np.sin(RING) ** 0.9 * (1 + side * study.rotation * 2)
    start = (top - 0.028 + pitch * order + patient.rib_shape)[:, None]
    y = start + drop[:, None] * (1 - np.cos(RING)) - 0.022 * np.sin(2 * np.minimum(RING, 1.57))
    center = np.stack([middle + side * (x + 0.006), y], 2)
    along = np.gradient(center, axis=1)
    normal = np.stack([-along[..., 1], along[..., 0]], 2)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    width = patient.rib_width * (0.85 + 0.03 * order)[:, None, None]
    width = width * (1 + 0.25 * np.clip(RING - 1.9, 0, 1))[None, :, None]  # the anterior ends are wider
    return center + normal * width, center - normal * width


def _clavicle(layer: Layer, patient: Patient, study: Study, side: int, middle: float) -> None:
    y = 0.155 - (0.030 if study.view == "AP" else 0.0) + patient.clavicle
    landmarks = [
        (middle + side * (0.035 + study.rotation * side), y + 0.03),
        (middle + side * 0.10, y + 0.012),
        (middle + side * 0.19, y - 0.012),
        (middle + side * 0.27, y - 0.030),
        (middle + side * 0.345, y - 0.028),
    ]
    center = spline(landmarks, 5, closed=False)
    half_width = np.linspace(1.35, 1.0, len(center))[:, None] * np.array([[0.002, 0.0125]])
    fill(layer, [np.concatenate([center - half_width, (center + half_width)[::-1]])], 120)
    stroke(layer, [center - half_width, center + half_width], 0.003, 190)


def _scapula(layer: Layer, patient: Patient, study: Study, side: int, middle: float) -> None:
    offset_x = 0.035 if study.view == "PA" else -0.055  # in AP views the shoulder blades cover the lungs
    x = middle + side * (patient.half_width * 0.93 + offset_x)
    offsets = np.array(
        [
            (-0.035, 0.20),
            (-0.012, 0.30),
            (0.035, 0.43),
            (0.055, 0.445),
            (0.075, 0.36),
            (0.115, 0.22),
            (0.12, 0.15),
            (0.02, 0.16),
        ]
    )
    outline = spline(offsets * [side, 1] + [x, 0], 5)
    blade = blank(layer.shape[0])
    fill(blade, [outline], 55)
    stroke(blade, [outline], 0.0035, 120)
    # The brightness of the blade is added to the brightness of other bones, because rays cross both bones.
    np.add(layer, np.minimum(blade, 255 - layer), out=layer)


def _humerus(layer: Layer, x: float, side: int) -> None:
    y = 0.165
    head = ellipse(x, y, 0.047, 0.05, 24)
    shaft = np.array(
        [(x - side * 0.02, y + 0.03), (x + side * 0.03, y + 0.5), (x + side * 0.085, y + 0.5), (x + side * 0.045, y)]
    )
    fill(layer, [shaft], 85)
    fill(layer, [head], 95)
    stroke(layer, [head], 0.003, 120)


def spine(patient: Patient, size: int, middle: float) -> Map:
    """Return a thickness map of the spine: vertebral bodies with disc spaces, pedicles and spinous processes."""
    layer = blank(size)
    order = np.arange(17)[:, None]
    height, width = 0.047 + 0.0011 * order, 0.034 + 0.0007 * order
    y = -0.01 + 0.0545 * order + 0.00055 * order * (order - 1)
    x = middle + patient.scoliosis * np.sin(order * 0.45)
    across = np.array([[-1, -0.6, 0, 0.6, 1, 0.9, 1, 0.6, 0, -0.6, -1, -0.9]])
    down = np.array([[0, 0.02, 0.05, 0.02, 0, 0.5, 1, 0.98, 0.95, 0.98, 1, 0.5]])
    body = np.stack([x + width * across, y + height * down], 2)
    fill(layer, body, 120)
    stroke(layer, body[:, :5], 0.003, 190)
    stroke(layer, body[:, 6:11], 0.003, 190)
    angle = np.linspace(0, 2 * np.pi, 12)
    for side in (LEFT, RIGHT):
        pedicle_x = x + side * width * 0.62 + 0.007 * np.cos(angle)
        fill(layer, np.stack([pedicle_x, y + height * 0.38 + 0.011 * np.sin(angle)], 2), 180)
    process_x = x + np.array([[-0.005, 0.005, 0.007, -0.007]])
    fill(layer, np.stack([process_x, y + height * np.array([[0.6, 0.6, 1.05, 1.05]])], 2), 185)
    return layer.astype(np.float32) * (SPINE_CM * patient.bone_density / 255)
