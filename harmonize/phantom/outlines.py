"""Make the outlines of lungs, heart, mediastinum and body, as splines through landmarks.

Lengths are canvas fractions. The numbers were chosen by eye to resemble frontal radiographs; they are not measured.
"""

from dataclasses import dataclass

import numpy as np

from harmonize.phantom.drawing import Points, spline
from harmonize.phantom.patient import RIGHT, Patient, Study

LUNG_BASE = 0.80  # vertical position (y) of a lung's base, for a lung of length 1 at medium breath
# The landmarks of a lung that vary between patients; the medial border and the angles do not vary.
FREE = (1, 2, 3, 4, 5, 10, 11, 12)


@dataclass(frozen=True, slots=True, eq=False)
class LungFrame:
    """Landmarks of one lung: vertical positions (y) of three points, and height and width of the lung."""

    top: float  # y of the apex
    base: float  # y of the costophrenic angle
    dome: float  # y of the dome of the diaphragm
    height: float
    width: float


def lung_top(study: Study) -> float:
    """Return the vertical position (y) of the apices of the lungs; apices are higher in the image in AP views."""
    return 0.118 - (0.012 if study.view == "AP" else 0.0)


def lung_outline(patient: Patient, study: Study, side: int, lift: float = 0.0) -> tuple[Points, LungFrame]:
    """Return the closed outline of one lung and its frame; `lift` raises the diaphragm (volume loss)."""
    top = lung_top(study)
    base = LUNG_BASE * patient.length + 0.022 * study.breath - lift
    height = base - top
    width = patient.half_width * (1 + side * study.rotation * 2)
    dome_height = patient.dome + 0.004 * study.breath - (patient.dome_difference if side == RIGHT else 0)
    dome = base - dome_height
    landmarks = np.array(
        [
            (0.36, top),
            (0.56, top + 0.035 * height),
            (0.75, top + 0.16 * height),
            (0.885, top + 0.36 * height),
            (0.955, top + 0.58 * height),
            (0.99, top + 0.80 * height),
            (1.0, base - 0.045),
            (0.985, base),
            (0.975, base),  # costophrenic angle
            (0.92, base - 0.042),
            (0.78, dome + 0.022),
            (0.56, dome),
            (0.36, dome + 0.008),
            (0.16, dome + 0.04),
            (0.09, dome - 0.02),  # medial border, behind the heart
            (0.09, top + 0.45 * height),
            (0.12, top + 0.20 * height),
            (0.21, top + 0.035 * height),
        ]
    )
    landmarks[list(FREE)] += patient.lung_shape[int(side == RIGHT)][list(FREE)]
    landmarks[:, 0] = 0.5 + side * landmarks[:, 0] * width + study.rotation * 0.3
    return spline(landmarks), LungFrame(top, base, dome, height, width)


def heart_width(patient: Patient, study: Study, ratio: float) -> float:
    """Return the width of the heart for a cardiothoracic ratio; the heart is wider in AP views, which magnify."""
    return 2 * patient.half_width * ratio * (1.10 if study.view == "AP" else 1.0)


def heart_outline(patient: Patient, study: Study, frame: LungFrame, ratio: float) -> Points:
    """Return the outline of the heart: right atrium, apex, left ventricle, appendage, pulmonary trunk."""
    width = heart_width(patient, study, ratio)
    # widths of the patient's right and left side of the heart; the right side is smaller, and on the left of the image
    right, left = 0.36 * width, 0.64 * width

    def level(share: float) -> float:
        return frame.top + share * (frame.dome + 0.02 - frame.top)

    landmarks = np.array(
        [
            (-0.045, level(0.56)),
            (-0.80 * right, level(0.66)),
            (-right, level(0.79)),
            (-0.93 * right, level(0.92)),
            (-0.60 * right, level(1.02)),
            (0.25 * left, level(1.07)),
            (0.85 * left, level(1.05)),
            (left, level(0.965)),
            (0.955 * left, level(0.87)),
            (0.80 * left, level(0.76)),
            (0.57 * left, level(0.655)),
            (0.47 * left, level(0.57)),
            (0.03, level(0.52)),
        ]
    )
    is_free = np.abs(landmarks[:, :1]) < 0.9 * left  # the apex does not vary, so that the cardiothoracic ratio is exact
    landmarks += patient.heart_shape * [[0.6 + 4 * (ratio - 0.4), 1]] * is_free
    landmarks[:, 0] += 0.5 + study.rotation * 1.2
    return spline(landmarks)


def mediastinum_outline(patient: Patient, study: Study, frame: LungFrame, ratio: float) -> Points:
    """Return the outline of the mediastinum with the aortic knob, from the neck to behind the heart."""
    width_factor = 1.15 if study.view == "AP" else 1.0
    enlargement = max(0.0, ratio - 0.46)
    knob = patient.aortic_knob

    def level(share: float) -> float:
        return frame.top + share * (frame.dome + 0.02 - frame.top)

    landmarks = np.array(
        [
            (-0.085, -0.03),
            (-0.060 * width_factor, 0.06),
            (-0.047 * width_factor, level(0.14)),
            (-0.046 * width_factor, level(0.28)),
            (-0.052 * width_factor, level(0.42)),
            (-0.060, level(0.55)),
            (-0.05, level(0.75)),
            (-0.045, level(1.1)),
            (0.05, level(1.1)),
            (0.06, level(0.7)),
            (0.070 + 0.20 * enlargement, level(0.56)),
            (0.074 + 0.25 * enlargement, level(0.505)),
            (0.066, level(0.455)),
            (0.058 + 1.2 * knob, level(0.40)),
            (0.060 + 1.35 * knob, level(0.35)),
            (0.050 + 0.5 * knob, level(0.30)),
            (0.046 * width_factor, level(0.24)),
            (0.050 * width_factor, level(0.12)),
            (0.062 * width_factor, 0.06),
            (0.085, -0.03),
        ]
    )
    landmarks[:, 0] += 0.5 + study.rotation * 1.2
    return spline(landmarks)


def body_outline(patient: Patient) -> Points:
    """Return the outline of the body: neck, shoulders with arms, axillae and flanks."""
    flank = patient.half_width + 0.045 + 0.05 * patient.fat
    half = np.array(
        [
            (0.098, -0.08),
            (0.105, -0.01),
            (0.15, 0.008),
            (0.27, 0.026),
            (0.40, 0.046),
            (0.50, 0.085),
            (0.62, 0.28),
            (0.62, 0.50),
            (0.53, 0.50),
            (flank + 0.045, 0.36),
            (flank + 0.012, 0.40),
            (flank + 0.004, 0.55),
            (flank + 0.012, 0.75),
            (flank + 0.03, 1.05),
        ]
    )
    left_half, right_half = half.copy(), half[::-1].copy()
    left_half[:, 0] = 0.5 + left_half[:, 0]
    right_half[:, 0] = 0.5 - right_half[:, 0]
    return spline(np.concatenate([left_half, right_half]), 5)
