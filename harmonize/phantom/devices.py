"""Draw support devices (leads, line, pacemaker, tube); their probability depends on the view, not on the findings."""

from collections.abc import Callable

import numpy as np

from harmonize.phantom.drawing import Layer, Map, blank, ellipse, fill, soft, spline, stroke
from harmonize.phantom.patient import Study

Painter = Callable[[Layer, np.random.Generator], None]

# device -> (probability in AP views, probability in PA views, thickness in cm of water), in studies with devices
CHANCES = {
    "leads": (0.75, 0.25, 2.6),
    "line": (0.55, 0.15, 1.7),
    "pacemaker": (0.18, 0.18, 6.0),
    "tube": (0.35, 0.0, 1.6),
}


def devices(study: Study, rng: np.random.Generator, size: int) -> tuple[Map, Map]:
    """Return the thickness of the devices in cm of water, and their mask 0..1."""
    thickness, mask = np.zeros((size, size), np.float32), blank(size)
    for name, (ap, pa, dense_cm) in CHANCES.items():
        # each device has its own random stream, so that devices do not influence each other
        device_rng = np.random.default_rng(rng.integers(2**62))
        if device_rng.random() < (ap if study.view == "AP" else pa):
            layer = blank(size)
            PAINTERS[name](layer, device_rng)
            np.maximum(mask, layer, out=mask)
            thickness += soft(layer, 0.0008) * dense_cm
    return thickness, (mask > 0).astype(np.float32)


def _leads(layer: Layer, rng: np.random.Generator) -> None:
    u = rng.random(8)
    ends = [
        (0.28 + 0.05 * u[0], 0.20),
        (0.73 - 0.05 * u[1], 0.21),
        (0.30, 0.70 + 0.05 * u[2]),
        (0.74, 0.66 + 0.06 * u[3]),
    ]
    for (x, y), sway in zip(ends[: 2 + int(3 * rng.random())], u[4:], strict=False):
        fill(layer, [ellipse(x, y, 0.0095, 0.0095, 16)], 210)
        offset = x - 0.5
        wire = [(x, y), (x + 0.06 * (sway - 0.5), y + 0.10), (0.5 + offset * 1.3, y + 0.25), (0.5 + offset * 1.2, 1.05)]
        stroke(layer, [spline(wire, closed=False)], 0.0030, 190)


def _line(layer: Layer, rng: np.random.Generator) -> None:
    side = -1 if rng.random() < 0.6 else 1
    u = rng.random(3)
    if u[0] < 0.5:  # the line comes from the arm or from below the clavicle
        path = [(0.5 + side * 0.34, 0.10 + 0.03 * u[1]), (0.5 + side * 0.20, 0.145), (0.5 + side * 0.06, 0.20)]
        path += [(0.455, 0.27), (0.448, 0.40 + 0.06 * u[2])]
    else:  # the line comes from the jugular vein
        path = [(0.5 + side * 0.075, -0.02), (0.5 + side * 0.055, 0.12), (0.455, 0.24), (0.447, 0.41)]
    stroke(layer, [spline(path, 8, closed=False)], 0.0045, 230)


def _pacemaker(layer: Layer, rng: np.random.Generator) -> None:
    x, y, half = 0.735 + 0.03 * float(rng.random()), 0.235, 0.034
    corners = [
        (x - half, y - half),
        (x + half, y - half * 0.9),
        (x + half, y + half),
        (x - half * 0.9, y + half * 0.95),
    ]
    case = spline(corners)
    fill(layer, [case], 200)
    fill(layer, [(case - [x, y]) * 0.7 + [x, y + 0.003]], 255)
    ventricle = [
        (x - 0.02, y - 0.03),
        (x - 0.10, 0.165),
        (0.545, 0.20),
        (0.455, 0.30),
        (0.452, 0.50),
        (0.49, 0.66),
        (0.57, 0.70),
    ]
    atrium = [(x - 0.02, y - 0.02), (x - 0.09, 0.172), (0.54, 0.21), (0.46, 0.31), (0.455, 0.46), (0.475, 0.52)]
    stroke(layer, [spline(ventricle, 8, closed=False), spline(atrium, 8, closed=False)], 0.0030, 240)


def _tube(layer: Layer, rng: np.random.Generator) -> None:
    tip = 0.25 + 0.02 * float(rng.random())
    stroke(layer, [spline([(0.505, -0.02), (0.503, 0.10), (0.5, 0.19), (0.499, tip)], closed=False)], 0.0055, 200)


PAINTERS: dict[str, Painter] = {"leads": _leads, "line": _line, "pacemaker": _pacemaker, "tube": _tube}
