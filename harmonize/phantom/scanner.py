"""Make a radiograph from a thickness map: positioning, exposure, scatter, noise, and the hospital's processing.

The frame is the area of the stored image, which can be rectangular. Image and masks stay aligned, because the same
affine map transforms both from the square canvas to the frame. R is the side of the canvas in pixels. The tag (a white
tag with text; `token` in names) is in the corner of some images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.phantom import stamps
from harmonize.phantom.drawing import Map, gaussian, resize
from harmonize.phantom.patient import Patient, Study, rng_of
from harmonize.phantom.sites import SITES, Site

ATTENUATION = 0.165  # attenuation of water at about 120 kV with filtration [1/cm]
# direct rays, scatter and background, as shares of the exposure behind the anti-scatter grid
PRIMARY, SCATTER, LEAKAGE = 0.70, 0.24, 0.002
ZOOM = 1.15

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnRadiograph:
    """A radiograph before it is stored: image float32 [H, W] from 0 to 1 (bright = dense), and masks [H, W]."""

    image: Map
    masks: dict[str, Mask]


def expose(
    patient: Patient, study: Study, thickness: Map, masks: Mapping[str, Map], *, scanner: str, size: int, token: bool
) -> DrawnRadiograph:
    """Return the radiograph that the hospital `scanner` takes.

    `thickness` [R, R] is in cm of water, `masks` [R, R] have values 0 to 1, and `size` is the long side of the
    radiograph in pixels. `token`: whether the tag is drawn.
    """
    site = SITES[scanner]
    rng = rng_of("acquisition", patient, study.index)
    height, width = _frame(site, rng, size)
    affine = _affine(site, study, thickness.shape[0], height, width)

    def move(image: Map) -> Map:
        moved = cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.float32)

    density = _detect(move(thickness), site, size)
    density += _quantum_noise(density, patient, study, site, size)
    image = _process(density, site, rng)
    open_field = _collimator(site, rng, height, width, size)
    moved = {name: move(mask) for name, mask in masks.items()}
    if open_field is not None:
        image = image * open_field + 0.02 * (1 - open_field)
        moved = {name: mask * open_field for name, mask in moved.items()}
    stamps.lead_letter(image, site, study, rng_of("marker", patient, study.index), size)
    token_mask = np.zeros((height, width), bool)
    if token:
        stamps.token(image, token_mask, rng_of("token", patient, study.index), size)
    return DrawnRadiograph(
        np.clip(image, 0, 1), {name: mask > 0.5 for name, mask in moved.items()} | {"token": token_mask}
    )


def _frame(site: Site, rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Return height and width of the stored image; the long side is `size`."""
    aspect = site.aspect * float(np.exp(rng.normal(0, site.aspect_spread)))
    return (round(size / aspect), size) if aspect >= 1 else (size, round(size * aspect))


def _affine(site: Site, study: Study, canvas: int, height: int, width: int) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix that maps canvas pixels to frame pixels."""
    scale = ZOOM * float(np.sqrt(width * height)) / canvas * site.zoom * study.magnification
    angle = np.deg2rad(study.tilt_deg)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[cos, -sin], [sin, cos]])
    center = np.array([0.5 + study.shift[0], 0.48 + study.shift[1]]) * canvas
    return np.concatenate([turn, (np.array([width / 2, height / 2]) - turn @ center)[:, None]], 1)


def _detect(thickness: Map, site: Site, size: int) -> Map:
    """Return the optical density: minus the logarithm of the exposure, which is at most 1.

    The exposure is the direct rays (Beer-Lambert law) plus scatter and background, blurred by the detector.
    """
    height, width = thickness.shape
    exposure: Map = np.asarray(cv2.exp(thickness * np.float32(-ATTENUATION)), np.float32)
    coarse = 24
    bounded: Map = np.minimum(resize(exposure, (coarse, coarse), smooth=False), np.float32(0.6))
    spread = gaussian(bounded, coarse * 0.11)
    exposure *= PRIMARY
    exposure += resize(spread, (height, width)) * SCATTER + LEAKAGE
    if site.blur * size > 0.3:
        exposure = gaussian(exposure, site.blur * size)
    return np.asarray(-cv2.log(np.minimum(exposure, 1)), np.float32)


def _quantum_noise(density: Map, patient: Patient, study: Study, site: Site, size: int) -> Map:
    """Return quantum noise: an amplitude proportional to 1 / sqrt(local exposure), so dense areas have more noise."""
    rng = rng_of("noise", patient, study.index)
    strength = site.noise * min(1.0, size / 512) ** 0.5 * float(np.exp(study.exposure))
    white: Map = rng.standard_normal(density.shape, dtype=np.float32)
    local: Map = np.sqrt(0.09 * np.asarray(cv2.exp(density), np.float32))
    white *= local * strength
    return white


def _process(density: Map, site: Site, rng: np.random.Generator) -> Map:
    """Return the processed image 0..1, after unsharp mask, automatic window, sigmoid curve, equalization and gamma."""
    height, width = density.shape
    coarse = resize(density, (48, 48), smooth=False)
    density = (
        density
        + (density - resize(np.asarray(cv2.GaussianBlur(coarse, (0, 0), 2.2), np.float32), (height, width)))
        * site.unsharp
    )
    thorax = density[
        height // 12 : -height // 12 : max(1, height // 60), width // 8 : -width // 8 : max(1, width // 60)
    ]
    low, high = (float(value) for value in np.percentile(thorax, [2.0, 99.6]))
    low -= site.lift * (high - low)
    shown = np.clip((density - low) / (high - low + 1e-6), -0.6, 1.7)
    slope = site.slope * float(np.exp(rng.normal(0, 0.06)))
    floor, ceiling = (float(1 / (1 + np.exp(slope * shift))) for shift in (0.5, -0.52))
    curve = 1 / (1 + np.asarray(cv2.exp((0.5 - shown) * slope), np.float32))
    image = np.clip((curve - floor) / (ceiling - floor), 0, 1)
    if site.equalize > 0:
        flat = np.asarray(cv2.equalizeHist((image * 255).astype(np.uint8)), np.float32) / 255
        image = image * (1 - site.equalize) + flat * site.equalize
    return np.asarray(cv2.pow(image, site.gamma * float(np.exp(rng.normal(0, 0.05)))), np.float32)


def _collimator(site: Site, rng: np.random.Generator, height: int, width: int, size: int) -> Map | None:
    """Return a map of the area that slightly tilted collimator blades leave open (1: open, 0: covered).

    Returns None if no blade reaches the frame.
    """
    left, top, right, bottom = (np.abs(rng.normal(site.border, site.border * 0.5, 4)) * size).tolist()
    skew = rng.uniform(0.6, 1.4, 4).tolist()
    if max(left, top, right, bottom) <= 0.8:
        return None
    corners = np.array(
        [
            (left, top),
            (width - right, top * skew[0]),
            (width - right * skew[1], height - bottom),
            (left * skew[2], height - bottom * skew[3]),
        ]
    )
    blades = np.zeros((height, width), np.uint8)
    cv2.fillPoly(blades, [np.rint(corners * 32).astype(np.int32)], (255,), cv2.LINE_AA, 5)
    return blades.astype(np.float32) * np.float32(1 / 255)
