"""Draw tissue around the lungs as maps in cm of water: trunk, breasts, trachea, stomach gas, calcified aorta."""

import numpy as np

from harmonize.phantom.chest import Chest
from harmonize.phantom.drawing import Layer, Map, blank, blur, cloud, ellipse, fill, rounded, soft, spline, stroke
from harmonize.phantom.outlines import body_outline
from harmonize.phantom.patient import LEFT, RIGHT, Patient, Study

AIRWAY_CM, GAS_CM, CALCIUM_CM = 1.9, 3.6, 0.9


def trunk(patient: Patient, chest: Chest, rng: np.random.Generator) -> tuple[Map, Layer]:
    """Return the thickness of a body without lungs and bones in cm of water, and the body's silhouette."""
    body = blank(chest.size)
    fill(body, [body_outline(patient)])
    thickness = rounded(body, 0.15) * (patient.depth_cm + 5 * patient.fat)
    thickness *= (0.80 + 0.30 * np.clip(chest.y, 0, 1)) * soft(body, 0.002)
    thickness *= 1 - 0.22 * np.clip((0.12 - chest.y) / 0.12, 0, 1)  # neck and shoulders are thinner
    thickness += cloud(rng, chest.size, 120) * 0.22 * soft(body, 0.01)
    for side in (LEFT, RIGHT):
        thickness += _breast(patient, chest, side)
    return thickness, body


def _breast(patient: Patient, chest: Chest, side: int) -> Map:
    """Return the thickness of a breast, or of a pectoral muscle for male patients."""
    female = patient.sex == "F"
    x, y = 0.5 + side * patient.half_width * 0.68, 0.60 if female else 0.47
    lower = 0.5 + 0.5 * np.sin(np.linspace(0, 2 * np.pi, 32, endpoint=False))
    layer = blank(chest.size)
    fill(layer, [ellipse(x, y, patient.half_width * 0.46, 0.115 + 0.02 * patient.breast * lower)])
    if not female:
        return soft(layer, 0.035) * 0.9
    profile: Map = np.clip((chest.y - (y - 0.12)) / 0.17, 0, 1)
    return soft(layer, 0.007) * rounded(layer, 0.10) * profile * (patient.breast * 1.5)


def airway(patient: Patient, study: Study, chest: Chest) -> Map:
    """Return a map [cm] of the air in trachea and main bronchi; the caller subtracts the map."""
    layer = blank(chest.size)
    carina = chest.frame.top + 0.36 * chest.frame.height
    x = chest.middle + study.rotation * 0.5 + patient.scoliosis + 0.004
    trachea = spline([(x, -0.02), (x, 0.12), (x - 0.004, carina - 0.03), (x - 0.004, carina)], closed=False)
    stroke(layer, [trachea], 0.034)
    for side, length in ((LEFT, 0.055), (RIGHT, 0.085)):
        bronchus = [
            (x - 0.004, carina - 0.004),
            (x + side * length * 0.45, carina + 0.032),
            (x + side * length, carina + 0.058),
        ]
        stroke(layer, [np.array(bronchus)], 0.022, 170)
    return soft(layer, 0.005) * AIRWAY_CM


def stomach_gas(patient: Patient, chest: Chest) -> Map:
    """Return a map [cm] of the gas bubble under the left dome; the caller subtracts the map."""
    layer = blank(chest.size)
    x, y = 0.655 + 0.03 * patient.gas, chest.lungs[RIGHT].frame.dome + 0.07
    fill(layer, [ellipse(x, y, 0.035 + 0.04 * patient.gas, 0.022 + 0.018 * patient.gas)])
    unevenness: Map = np.clip(1 + 0.25 * chest.texture, 0.4, 1.6)
    bubble = blur(soft(layer, 0.003), 0.007) * unevenness
    below_the_lung = 1 - chest.lungs[RIGHT].mask * (1 - chest.organs)
    return bubble * (GAS_CM * (0.3 + 0.7 * patient.gas)) * below_the_lung


def aortic_calcium(study: Study, chest: Chest) -> Map:
    """Return the thickness of the calcified rim of an aortic knob."""
    layer = blank(chest.size)
    angle = np.linspace(-0.9, 0.9, 10)
    x, y = 0.542 + study.rotation, chest.frame.top + 0.35 * chest.frame.height
    stroke(layer, [np.stack([x + 0.02 * np.cos(angle), y + 0.026 * np.sin(angle)], 1)], 0.004)
    return soft(layer, 0.001) * CALCIUM_CM
