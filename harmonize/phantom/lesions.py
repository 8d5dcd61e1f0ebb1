"""Paint findings: one function per finding changes the maps of a chest and stores a mask of the finding.

A painter takes the chest, the severity (0..1), a random stream and a side. Lengths are fractions of the canvas. The
exponents of the severities were set by experiment: a small network, trained and tested on images without shortcut,
reaches AUROCs of 0.6 to 0.99. Cardiomegaly has no painter, because cardiomegaly is only a wider heart outline.
"""

from collections.abc import Callable, Mapping

import numpy as np

from harmonize.phantom.chest import Chest, Lung
from harmonize.phantom.drawing import Map, Points, blank, blur, bump, cloud, ellipse, fill, soft, spline, stroke
from harmonize.phantom.patient import CANVAS_CM, LEFT, RIGHT
from harmonize.phantom.vessels import tree

Painter = Callable[[Chest, float, np.random.Generator, int], None]


def heart_ratio(severity: float) -> float:
    """Return the cardiothoracic ratio of an enlarged heart: above 0.5, the upper limit of a normal heart."""
    return 0.501 + 0.076 * float(severity**1.6)


def edema_width(severity: float) -> float:
    """Return the factor by which edema widens vessels."""
    return 1 + 0.40 * float(severity**1.5)


def volume_loss(severity: float) -> float:
    """Return the distance by which atelectasis raises the diaphragm on its side."""
    return 0.05 * severity


def edema(chest: Chest, severity: float, rng: np.random.Generator, _side: int) -> None:
    """Paint a butterfly haze around both hila, and Kerley B lines at the lateral bases."""
    strength = severity**1.5
    wings = chest.near_hila(0.055, 0.045, 0.095, 0.155)
    wings *= np.clip(1 + 0.35 * cloud(rng, chest.size, 90, 1.3), 0.2, 1.8)
    chest.solid = np.maximum(chest.solid, wings * (0.62 * strength))
    both_lungs = np.maximum(chest.lungs[LEFT].mask, chest.lungs[RIGHT].mask)
    chest.masks["Edema"] = np.where(wings > 0.32, both_lungs, np.float32(0))
    lines = blank(chest.size)
    for lung in chest.lungs.values():
        stroke(lines, _kerley_lines(lung, rng), 0.0024)
    chest.dense += soft(lines, 0.0012) * (0.8 * strength)


def _kerley_lines(lung: Lung, rng: np.random.Generator) -> Points:
    """Return seven short horizontal lines that touch the pleura, as [7 lines, 2 ends, 2] (x, y)."""
    y = lung.frame.base - 0.06 - 0.017 * np.arange(7) + rng.normal(0, 0.003, 7)
    x = 0.5 + lung.side * lung.frame.width * rng.uniform(0.94, 0.98, 7)
    inner_x = x - lung.side * rng.uniform(0.03, 0.06, 7)
    inner_y = y + rng.normal(0.002, 0.003, 7)
    return np.stack([np.stack([x, y], 1), np.stack([inner_x, inner_y], 1)], 1)


def consolidation(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint one lobe or segment with a sharp fissure edge and dark airways inside."""
    lung = chest.lungs[side]
    u = rng.random(6)
    zone = int(u[0] * 3)
    center = np.array([(0.55, 0.24), (0.60, 0.58), (0.55, 0.74)][zone]) + (u[1:3] - 0.5) * [0.20, 0.08]
    x = float(0.5 + side * center[0] * lung.frame.width)
    y = float(lung.frame.top + center[1] * lung.frame.height)
    half_width = float((0.40 + 0.25 * u[3]) * lung.frame.width)
    half_height = float((0.17 + 0.10 * u[4]) * lung.frame.height)
    distance = np.sqrt(((chest.x - x) / half_width) ** 2 + ((chest.y - y) / half_height) ** 2) + 0.16 * cloud(
        rng, chest.size, 70, 1.8
    )
    filled = np.clip((1.08 - distance) / 0.42, 0, 1)
    # the fissure is the lower border in the upper zone (0), and the upper border in the other two zones
    direction = 1 if zone == 0 else -1
    fissure = y + direction * half_height * 0.45 + float(u[5] - 0.5) * 0.25 * (chest.x - x)
    filled *= np.clip(0.5 + direction * (fissure - chest.y) / 0.024, 0, 1)
    airways = blank(chest.size)
    tree(airways, rng, (x - side * 0.10, y - 0.01), side, branches=5, levels=3, length=0.07)
    filled *= 1 - 0.40 * soft(airways, 0.0016)
    _fill_airspace(chest, "Consolidation", filled, lung, 0.74 * (0.22 + 0.78 * severity))


def pneumonia(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint three patchy, ill-defined foci in one lung."""
    lung = chest.lungs[side]
    filled = np.zeros((chest.size, chest.size), np.float32)
    for number, (across, down, radius) in enumerate(rng.random((3, 3)).tolist()):
        x = 0.5 + side * (0.38 + 0.45 * across) * lung.frame.width
        y = lung.frame.top + (0.35 + 0.48 * down) * lung.frame.height
        spread = 1.414 * (0.045 + 0.04 * radius)
        focus = bump(chest.size, x, y, spread, spread)
        filled = np.maximum(filled, focus * (1.0 if number == 0 else 0.8))
    filled = np.clip(filled * (1 + 0.45 * cloud(rng, chest.size, 60, 1.25)), 0, 1)
    _fill_airspace(chest, "Pneumonia", filled, lung, 0.52 * (0.22 + 0.78 * severity))


def _fill_airspace(chest: Chest, finding: str, filled: Map, lung: Lung, density: float) -> None:
    """Replace a share of the air in a lung, and store the mask of the finding.

    The share at each pixel is `filled` (a map 0..1) times `density` (a number 0..1).
    """
    chest.masks[finding] = (filled > 0.33) * lung.mask
    chest.solid = np.maximum(chest.solid, filled * density * lung.mask)


def atelectasis(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint one to three plates and a haze above the dome of the diaphragm, which `volume_loss` raises."""
    lung = chest.lungs[side]
    width, dome = lung.frame.width, lung.frame.dome
    plates = blank(chest.size)
    for u in rng.random((1 + int(rng.random() * 3), 5)).tolist():
        inner, outer = 0.5 + side * (0.18 + 0.25 * u[0]) * width, 0.5 + side * (0.62 + 0.32 * u[1]) * width
        y = dome - 0.035 - 0.10 * u[2]
        tilted = y + 0.07 * (u[3] - 0.35)
        plate = spline([(inner, y), ((inner + outer) / 2, (y + tilted) / 2 - 0.006), (outer, tilted)], 5, closed=False)
        stroke(plates, [plate], 0.008 + 0.009 * u[4])
    band = soft(plates, 0.003)
    chest.dense += band * (3.4 * severity)
    haze = np.exp(-(((chest.y - (dome + 0.005)) / 0.055) ** 2)) * lung.mask
    chest.solid = np.maximum(chest.solid, haze * (0.34 * severity))
    chest.masks["Atelectasis"] = (blur(band, 0.010) > 0.12) * lung.mask


def lung_lesion(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint one nodule or mass, sometimes with smaller satellites in either lung."""
    outlines = blank(chest.size)
    thickness = np.zeros((chest.size, chest.size), np.float32)
    largest = 0.020 + 0.036 * severity
    for number in range(1 + int(rng.random() < 0.35) + int(rng.random() < 0.2)):
        same_side = number == 0 or rng.random() < 0.5
        lung = chest.lungs[side if same_side else -side]
        radius = largest * (1 if number == 0 else 0.7)
        across, down, phase, other_phase = rng.random(4).tolist()
        x = 0.5 + lung.side * (0.36 + 0.48 * across) * lung.frame.width
        y = lung.frame.top + (0.14 + 0.62 * down) * lung.frame.height
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        lobes = 1 + 0.07 * np.sin(3 * angle + 6 * phase) + 0.05 * np.sin(5 * angle + 6 * other_phase)
        fill(outlines, [ellipse(x, y, radius * lobes, radius * lobes, 28)])
        distance = ((chest.x - x) ** 2 + (chest.y - y) ** 2) / radius**2
        profile = (0.35 + 0.65 * np.sqrt(np.clip(1 - 0.85 * distance, 0, 1))) * (distance < 1.6)
        thickness = np.maximum(thickness, profile * (2 * radius * CANVAS_CM * 1.9))
    chest.dense += soft(outlines, 0.0026) * thickness
    chest.masks["Lung Lesion"] = soft(outlines, 0.001)


def pneumothorax(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint a dark rim without vessels at the apex and the side of a lung; its inner border is the pleural line."""
    del rng  # not used: the shape depends on the lung and the severity only
    lung = chest.lungs[side]
    size = 0.10 + 0.75 * severity**1.2
    collapsed, line = blank(chest.size), blank(chest.size)
    inner, detached = _collapse(lung, size)
    fill(collapsed, [inner])
    stroke(line, [np.roll(inner, -60, 0)[np.roll(detached, -60)]], 0.0034)
    rim = np.clip(lung.mask - soft(collapsed, 0.0022), 0, 1)
    chest.dense *= 1 - rim
    chest.texture = chest.texture * (1 - rim)
    chest.air += rim * (1.2 + 1.6 * min(1.0, size))
    chest.solid = np.maximum(chest.solid * (1 - rim), soft(collapsed, 0.003) * (0.10 * size))
    chest.dense += soft(line, 0.0010) * 0.85 * lung.mask
    chest.masks["Pneumothorax"] = rim * (chest.y < lung.frame.dome - 0.02)


def _collapse(lung: Lung, size: float) -> tuple[Points, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return the outline of the collapsed lung, and the mask of its points that are visibly away from the chest wall.

    `size` is the size of the pneumothorax, from 0 to 1.
    """
    above_base = np.clip((lung.frame.base - lung.outline[:, 1]) / lung.frame.height, 0, 1)
    lateral = np.clip(np.abs(lung.outline[:, 0] - 0.5) / lung.frame.width, 0, 1)
    pull = size * 0.30 * above_base**0.8 * (0.35 + 0.65 * lateral)
    hilum = np.array([[lung.hilum[0], lung.hilum[1] + 0.10]])
    return lung.outline + (hilum - lung.outline) * pull[:, None], (above_base > 0.10) & (lateral > 0.25)


def pleural_effusion(chest: Chest, severity: float, rng: np.random.Generator, side: int) -> None:
    """Paint fluid with a meniscus that rises from the costophrenic angle; 30 % of effusions are on both sides."""
    fluid = np.zeros((chest.size, chest.size), np.float32)
    volume = severity**1.7
    for fluid_side, share in ((side, 1.0),) if rng.random() < 0.7 else ((side, 1.0), (-side, 0.6)):
        fluid = np.maximum(fluid, _pleural_fluid(chest, chest.lungs[fluid_side], volume * share))
    chest.solid = np.maximum(chest.solid, fluid * (0.62 + 0.35 * min(1.0, 2 * volume)))
    chest.dense *= 1 - 0.9 * fluid
    chest.masks["Pleural Effusion"] = (fluid > 0.4) * (1 - chest.mediastinum)


def _pleural_fluid(chest: Chest, lung: Lung, volume: float) -> Map:
    """Return a map of the fluid in one pleural space: 1 where the fluid is, 0 elsewhere, with soft edges."""
    across = np.clip((chest.x - 0.5) * lung.side / lung.frame.width, 0, 1.05)
    meniscus = (0.022 + 0.08 * volume) * np.clip((across - 0.45) / 0.55, 0, 1) ** 2.2
    meniscus += 0.012 * np.clip((0.35 - across) / 0.35, 0, 1)
    level = lung.frame.base - 0.004 - 0.24 * volume - meniscus
    below: Map = np.clip((chest.y - level) / (0.016 + 0.03 * volume), 0, 1)
    return lung.mask * below


PAINTERS: Mapping[str, Painter] = {  # in the order of painting: findings painted later cover earlier findings
    "Edema": edema,
    "Consolidation": consolidation,
    "Pneumonia": pneumonia,
    "Atelectasis": atelectasis,
    "Lung Lesion": lung_lesion,
    "Pneumothorax": pneumothorax,
    "Pleural Effusion": pleural_effusion,
}
