"""Draw the random variables of a patient and of a study.

Each random stream has a name: its purpose and its patient. So images depend neither on the order of calls nor on the
strength of the shortcut. Lengths without a unit are fractions of the canvas, which is 43 cm wide.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harmonize.phantom.drawing import Points
from harmonize.phantom.sites import DRAWN, SITES
from harmonize.seeds import stream

CANVAS_CM = 43.0
# range of the uniform distribution of severities; painters use powers of a severity, so mild cases are nearly invisible
SEVERITY = (0.12, 1.0)
LEFT, RIGHT = -1, 1  # sides of the image; the patient's right lung is on the left of the image


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """Properties of a patient that are the same in all studies."""

    seed: int
    site: str
    number: int
    sex: str  # F or M
    age: int
    sickness: float  # shifts the log odds of every finding
    num_studies: int
    half_width: float  # half of the width of both lungs
    length: float  # relative size of the lungs
    depth_cm: float
    fat: float
    heart_ratio: float  # cardiothoracic ratio without cardiomegaly
    rib_slope: float
    rib_width: float
    aortic_knob: float
    dome: float  # height of the diaphragm
    dome_difference: float
    breast: float
    scoliosis: float
    bone_density: float
    clavicle: float
    lung_shape: Points  # [2 lungs, 18 points of the outline, 2]: an offset (x, y) for each point
    heart_shape: Points  # [13 points of the outline, 2]: an offset (x, y) for each point
    rib_shape: Points  # [10 ribs]: a vertical offset of each rib
    gas: float  # amount of gas in the stomach
    calcified: bool  # whether the aortic knob is calcified


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Properties of one study."""

    index: int
    view: str  # PA or AP
    present: frozenset[str]
    severity: Mapping[str, float]  # finding -> severity 0..1; absent findings have a severity, too
    breath: float
    rotation: float
    tilt_deg: float
    shift: tuple[float, float]
    magnification: float
    devices: bool
    exposure: float  # logarithm of a factor of the noise
    vascularity: float  # relative width of vessels
    haze: float  # normal perihilar density; overlaps edema


def rng_of(purpose: str, patient: Patient, *more: object) -> np.random.Generator:
    """Return the random stream for a purpose and a patient; `more` makes one stream for each study index or side."""
    return stream(patient.seed, "phantom", purpose, patient.site, patient.number, *more)


def draw_patient(seed: int, site: str, number: int) -> Patient:
    """Return patient `number` of a site."""
    rng = stream(seed, "phantom", "patient", site, number)

    def normal(mean: float, deviation: float) -> float:
        return float(rng.normal(mean, deviation))

    male = bool(rng.random() < 0.52)
    age = int(np.clip(normal(60, 16), 18, 95))
    decades = (age - 50) / 10
    return Patient(
        seed=seed,
        site=site,
        number=number,
        sex="M" if male else "F",
        age=age,
        sickness=normal(0, 0.6),
        num_studies=1 + int(rng.random() < 0.3) + int(rng.random() < 0.1),
        half_width=0.316 + 0.014 * male + normal(0, 0.016),
        length=1 + 0.02 * male + normal(0, 0.038),
        depth_cm=20 + 1.5 * male + normal(0, 1.2),
        fat=max(0.0, normal(0.35, 0.3)),
        heart_ratio=float(np.clip(normal(0.435 + 0.007 * decades, 0.030), 0.36, 0.497)),
        rib_slope=0.115 + 0.02 * float(rng.random()) + 0.004 * decades,
        rib_width=0.0105 + 0.001 * male + normal(0, 0.0006),
        aortic_knob=0.010 + 0.0035 * max(0.0, decades + 1) + normal(0, 0.003),
        dome=0.085 + normal(0, 0.01),
        dome_difference=0.018 + abs(normal(0, 0.008)),
        breast=0.0 if male else float(np.clip(normal(1.6, 0.8), 0.2, 3.5)),
        scoliosis=normal(0, 0.006),
        bone_density=float(np.clip(1.1 - 0.06 * decades + 0.1 * male + normal(0, 0.08), 0.6, 1.4)),
        clavicle=normal(0, 0.008),
        lung_shape=rng.normal(0, 0.014, (2, 18, 2)) * [1, 0.5],
        heart_shape=rng.normal(0, 0.0045, (13, 2)),
        rib_shape=rng.normal(0, 0.003, 10),
        gas=float(rng.random()),
        calcified=age > 60 and bool(rng.random() < 0.5),
    )


def draw_study(patient: Patient, index: int) -> Study:
    """Return study `index` of a patient."""
    site = SITES[patient.site]
    rng = rng_of("study", patient, index)

    def normal(mean: float, deviation: float) -> float:
        return float(rng.normal(mean, deviation))

    ap = bool(rng.random() < min(0.97, site.ap * float(np.exp(0.35 * patient.sickness))))
    present = _draw_findings(rng, np.array(site.prevalence), patient)
    severity = rng.uniform(*SEVERITY, len(DRAWN))
    return Study(
        index=index,
        view="AP" if ap else "PA",
        present=present,
        severity={name: float(value) for name, value in zip(DRAWN, severity, strict=True)},
        breath=normal(-0.9 if ap else 0, 0.8),
        rotation=normal(0, 0.010 if ap else 0.006),
        tilt_deg=normal(0, 1.6 if ap else 0.9),
        shift=(normal(0, 0.012), normal(0, 0.014)),
        magnification=normal(1, 0.02),
        devices=bool(rng.random() < site.devices * (1.3 if ap else 0.5)),
        exposure=normal(0, 0.12),
        vascularity=float(np.exp(normal(0, 0.12))),
        haze=max(0.0, normal(0.04 if ap else 0.0, 0.06)),
    )


def _draw_findings(rng: np.random.Generator, prevalence: Points, patient: Patient) -> frozenset[str]:
    """Draw at random which findings are present; sickness and age change the odds of all findings."""
    log_odds = np.log(prevalence / (1 - prevalence)) + 0.8 * patient.sickness + 0.01 * (patient.age - 60)
    is_drawn = rng.random(len(DRAWN)) < 1 / (1 + np.exp(-log_odds))
    present = {name for name, is_present in zip(DRAWN, is_drawn, strict=True) if is_present}
    shows_as_consolidation = rng.random() < 0.4
    if "Pneumonia" in present and shows_as_consolidation:
        present.add("Consolidation")
    return frozenset(present)
