"""Define the six phantom hospitals: image acquisition, patients, and uncertain labels.

Prevalences follow the published label counts, but are at least 0.05, so that a few hundred images have ten cases of each
finding. The values of image acquisition are invented to make the hospitals look different, and do not describe real
hospitals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DRAWN = (  # the findings that phantoms have, in the order of the tuples below
    "Cardiomegaly",
    "Atelectasis",
    "Consolidation",
    "Pleural Effusion",
    "Pneumothorax",
    "Pneumonia",
    "Edema",
    "Lung Lesion",
)


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital. Lengths are shares of the long side of the image; gray values are 0 to 1."""

    gamma: float  # exponent of the gray values, after the gray-level curve
    slope: float  # slope of the gray-level curve, a sigmoid
    unsharp: float  # strength of the unsharp mask; above 0.55, dense findings get a dark halo
    equalize: float  # weight 0 to 1 of the image after histogram equalization, in the mean with the image before
    blur: float  # sigma of the detector blur
    noise: float  # relative amplitude of the noise at mid exposure
    border: float  # mean width of the collimation border
    zoom: float  # relative magnification of the anatomy
    aspect: float  # width / height of the image
    aspect_spread: float  # relative standard deviation of `aspect`
    ap: float  # share of AP views
    devices: float  # share of studies with support devices
    marker: str  # the side marker, "<side>_<style>": side L or R; style plain, text, ring or box
    lift: float  # gray value of the darkest lung before the gray-level curve
    bits: int  # bits of a stored gray value
    jpeg_quality: int  # 0 = not a JPEG
    monochrome1: float  # share of images that are stored inverted
    laterals: float  # lateral images per frontal image
    prevalence: tuple[float, ...]  # in the order of DRAWN
    uncertain: tuple[float, ...] = ()  # share of uncertain labels for each finding; () = no uncertain labels


_CHEXPERT = Site(
    gamma=0.95,
    slope=3.4,
    unsharp=0.35,
    equalize=0.15,
    blur=0.0014,
    noise=0.030,
    border=0.010,
    zoom=1.04,
    aspect=1.18,
    aspect_spread=0.02,
    ap=0.60,
    devices=0.40,
    marker="L_plain",
    lift=0.03,
    bits=8,
    jpeg_quality=88,
    monochrome1=0.0,
    laterals=0.05,
    prevalence=(0.12, 0.16, 0.07, 0.40, 0.09, 0.05, 0.26, 0.05),
    uncertain=(0.035, 0.157, 0.128, 0.050, 0.014, 0.083, 0.062, 0.006),
)
_MIMIC = Site(
    gamma=1.00,
    slope=3.0,
    unsharp=0.28,
    equalize=0.75,
    blur=0.0012,
    noise=0.016,
    border=0.030,
    zoom=1.02,
    aspect=0.83,
    aspect_spread=0.02,
    ap=0.55,
    devices=0.45,
    marker="R_text",
    lift=0.06,
    bits=8,
    jpeg_quality=95,
    monochrome1=0.0,
    laterals=0.05,
    prevalence=(0.20, 0.20, 0.05, 0.24, 0.05, 0.07, 0.12, 0.05),
    uncertain=(0.026, 0.045, 0.019, 0.025, 0.005, 0.080, 0.058, 0.005),
)
_NIH = Site(
    gamma=0.92,
    slope=3.4,
    unsharp=0.20,
    equalize=0.00,
    blur=0.0024,
    noise=0.024,
    border=0.000,
    zoom=0.98,
    aspect=1.00,
    aspect_spread=0.0,
    ap=0.40,
    devices=0.25,
    marker="R_plain",
    lift=0.20,
    bits=8,
    jpeg_quality=0,
    monochrome1=0.0,
    laterals=0.0,
    prevalence=(0.05, 0.10, 0.05, 0.12, 0.05, 0.05, 0.05, 0.10),
)
_PADCHEST = Site(
    gamma=1.12,
    slope=4.4,
    unsharp=0.55,
    equalize=0.00,
    blur=0.0008,
    noise=0.020,
    border=0.000,
    zoom=1.03,
    aspect=0.96,
    aspect_spread=0.02,
    ap=0.20,
    devices=0.12,
    marker="L_ring",
    lift=0.00,
    bits=12,
    jpeg_quality=0,
    monochrome1=0.0,
    laterals=0.05,
    prevalence=(0.09, 0.05, 0.05, 0.06, 0.05, 0.05, 0.05, 0.05),
)
_VINDR = Site(
    gamma=0.82,
    slope=3.8,
    unsharp=0.55,
    equalize=0.00,
    blur=0.0012,
    noise=0.026,
    border=0.015,
    zoom=0.99,
    aspect=0.86,
    aspect_spread=0.02,
    ap=0.00,
    devices=0.06,
    marker="R_box",
    lift=0.10,
    bits=12,
    jpeg_quality=0,
    monochrome1=0.18,
    laterals=0.0,
    prevalence=(0.15, 0.05, 0.05, 0.07, 0.05, 0.05, 0.05, 0.055),
)
_BRAX = Site(
    gamma=1.05,
    slope=2.4,
    unsharp=0.25,
    equalize=0.00,
    blur=0.0018,
    noise=0.048,
    border=0.055,
    zoom=0.97,
    aspect=1.08,
    aspect_spread=0.02,
    ap=0.35,
    devices=0.20,
    marker="L_text",
    lift=0.13,
    bits=12,
    jpeg_quality=0,
    monochrome1=0.0,
    laterals=0.05,
    prevalence=(0.10, 0.05, 0.05, 0.06, 0.05, 0.05, 0.05, 0.05),
    uncertain=(0.010, 0.020, 0.020, 0.010, 0.004, 0.030, 0.010, 0.004),
)

SITES: Mapping[str, Site] = MappingProxyType(
    {"chexpert": _CHEXPERT, "mimic": _MIMIC, "nih": _NIH, "padchest": _PADCHEST, "vindr": _VINDR, "brax": _BRAX}
)
