"""Build the healthy chest: maps of air, vessels and organs, which lesions then change.

The unit of thickness is cm of water along the ray; `compose` subtracts the air. R is the side of the canvas in pixels.
A painter is a function of `lesions` that draws one finding.
"""

from dataclasses import dataclass, field

import numpy as np

from harmonize.phantom.drawing import Layer, Map, Points, blank, bump, cloud, fill, grid, rounded, soft
from harmonize.phantom.outlines import LungFrame, heart_outline, lung_outline, mediastinum_outline
from harmonize.phantom.patient import LEFT, RIGHT, Patient, Study, rng_of
from harmonize.phantom.vessels import tree

LUNG_DEPTH_CM = 15.5
VESSEL_CM, HILUM_CM = 1.9, 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Lung:
    """A lung: outline, landmarks (`frame`), hilum (x, y), and two masks: uint8 `layer`, and soft-edged `mask` 0..1."""

    side: int  # LEFT or RIGHT, in the image
    outline: Points
    frame: LungFrame
    hilum: tuple[float, float]
    layer: Layer
    mask: Map


@dataclass(slots=True, eq=False)
class Chest:
    """The maps that painters read, each float32 [R, R]. Painters change only air, dense, solid, texture and masks."""

    size: int
    x: Map
    y: Map
    middle: float  # x of the spine
    frame: LungFrame  # landmarks: the mean over both lungs
    lungs: dict[int, Lung]
    heart: Map
    mediastinum: Map
    organs: Map  # share of the ray inside heart and mediastinum, 0..1
    air: Map  # cm
    dense: Map  # cm of water inside the lungs: vessels, bands, nodules
    solid: Map  # share of the air replaced by tissue or fluid, 0..1
    texture: Map  # texture of the aerated lung
    masks: dict[str, Map] = field(default_factory=dict)  # finding -> 0..1

    def near_hila(self, outwards: float, downwards: float, half_width: float, half_height: float) -> Map:
        """Return a map of a butterfly shape: about 1 at two centers near the hila, and decreasing with the distance.

        The centers lie `outwards` and `downwards` of the hila. All lengths are fractions of the canvas.
        """
        wings = np.zeros((self.size, self.size), np.float32)
        for side, lung in self.lungs.items():
            x, y = lung.hilum[0] + side * outwards, lung.hilum[1] + downwards
            wings += bump(self.size, x, y, half_width, half_height)
        return wings


def build_chest(
    patient: Patient, study: Study, size: int, *, heart_ratio: float, lift: dict[int, float], vessel_width: float
) -> Chest:
    """Return the healthy chest on a canvas of size x size pixels.

    heart_ratio   cardiothoracic ratio
    lift          side -> distance by which the diaphragm is raised on this side; 0 for a missing side
    vessel_width  width of the vessels relative to normal vessels
    """
    x, y = grid(size)
    lungs, frame = _lungs(patient, study, size, lift)
    heart, mediastinum = blank(size), blank(size)
    fill(heart, [heart_outline(patient, study, frame, heart_ratio)])
    fill(mediastinum, [mediastinum_outline(patient, study, frame, heart_ratio)])
    heart_map, mediastinum_map = soft(heart, 0.0035), soft(mediastinum, 0.003)
    air = np.zeros((size, size), np.float32)
    for lung in lungs.values():
        air += lung.mask * rounded(lung.layer, 0.10) * LUNG_DEPTH_CM
    chest = Chest(
        size=size,
        x=x,
        y=y,
        middle=0.5 + study.rotation * 0.3,
        frame=frame,
        lungs=lungs,
        heart=heart_map,
        mediastinum=mediastinum_map,
        organs=np.maximum(heart_map * (0.60 + 0.38 * rounded(heart, 0.13)), mediastinum_map * 0.90),
        air=air,
        dense=_vessels(patient, lungs, size, vessel_width),
        solid=np.zeros((size, size), np.float32),
        texture=cloud(rng_of("lung texture", patient, study.index), size, 110, 1.35),
    )
    for side, lung in lungs.items():  # hilar soft tissue, shaped like a comma
        chest.dense += HILUM_CM * bump(size, lung.hilum[0] + side * 0.012, lung.hilum[1] + 0.012, 0.0269, 0.0636)
    chest.solid += chest.near_hila(0.04, 0.06, 0.10, 0.17) * study.haze
    return chest


def _lungs(patient: Patient, study: Study, size: int, lift: dict[int, float]) -> tuple[dict[int, Lung], LungFrame]:
    shapes = {side: lung_outline(patient, study, side, lift.get(side, 0.0)) for side in (LEFT, RIGHT)}
    left, right = shapes[LEFT][1], shapes[RIGHT][1]
    frame = LungFrame(
        top=(left.top + right.top) / 2,
        base=(left.base + right.base) / 2,
        dome=(left.dome + right.dome) / 2,
        height=(left.height + right.height) / 2,
        width=(left.width + right.width) / 2,
    )
    hila = {
        LEFT: (0.425 + study.rotation, frame.top + 0.50 * frame.height),
        RIGHT: (0.578 + study.rotation, frame.top + 0.465 * frame.height),  # the patient's left hilum is higher
    }
    lungs = {}
    for side, (outline, lung_frame) in shapes.items():
        layer = blank(size)
        fill(layer, [outline])
        lungs[side] = Lung(side, outline, lung_frame, hila[side], layer, soft(layer, 0.0022))
    return lungs, frame


def _vessels(patient: Patient, lungs: dict[int, Lung], size: int, width_factor: float) -> Map:
    """Return the vessels in cm; they are the same in all studies of a patient."""
    layer = blank(size)
    for side, lung in lungs.items():
        tree(
            layer,
            rng_of("vessels", patient, side),
            lung.hilum,
            side,
            width_factor=width_factor,
            length=0.088 * patient.length,
        )
    return soft(layer, 0.0012) * VESSEL_CM
