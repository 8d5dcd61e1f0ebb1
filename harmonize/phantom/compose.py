"""Compose the thickness map of a study in cm of water, and the masks of all drawn structures."""

from dataclasses import dataclass

import numpy as np

from harmonize.phantom import lesions, tissue
from harmonize.phantom.chest import Chest, build_chest
from harmonize.phantom.devices import devices
from harmonize.phantom.drawing import Map, cloud, gaussian, resize, soft
from harmonize.phantom.patient import LEFT, RIGHT, Patient, Study, rng_of
from harmonize.phantom.skeleton import ribs_and_shoulders, spine

AIR_SHARE = 0.80  # share of a lung's depth that is air


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """The anatomy of an image: thickness [R, R] in cm of water, masks [R, R] in [0, 1], true cardiothoracic ratio.

    R is the side of the canvas in pixels.
    """

    thickness: Map
    masks: dict[str, Map]  # one mask for each present finding, and "lungs", "heart" and "devices"
    heart_ratio: float


def compose(patient: Patient, study: Study, size: int) -> Anatomy:
    """Return the anatomy of one study on a canvas of size x size."""
    rngs = {finding: rng_of(finding, patient, study.index) for finding in sorted(study.present)}
    sides = {finding: LEFT if rng.random() < 0.5 else RIGHT for finding, rng in rngs.items()}
    severity = {finding: study.severity[finding] for finding in rngs}
    ratio = lesions.heart_ratio(severity["Cardiomegaly"]) if "Cardiomegaly" in severity else patient.heart_ratio
    vessel_factor = lesions.edema_width(severity["Edema"]) if "Edema" in severity else 1.0
    chest = build_chest(
        patient,
        study,
        size,
        heart_ratio=ratio,
        lift={sides["Atelectasis"]: lesions.volume_loss(severity["Atelectasis"])} if "Atelectasis" in severity else {},
        vessel_width=1.1 * vessel_factor * (1.08 if study.view == "AP" else 1.0) * study.vascularity,
    )
    if "Cardiomegaly" in severity:
        chest.masks["Cardiomegaly"] = chest.heart
    for finding, painter in lesions.PAINTERS.items():
        if finding in severity:
            painter(chest, severity[finding], rngs[finding], sides[finding])
    thickness, device_mask = _total_thickness(patient, study, chest)
    lungs = soft(np.maximum(chest.lungs[LEFT].layer, chest.lungs[RIGHT].layer), 0)
    masks: dict[str, Map] = {**chest.masks, "lungs": lungs, "heart": chest.heart, "devices": device_mask}
    return Anatomy(thickness, masks, ratio)


def _total_thickness(patient: Patient, study: Study, chest: Chest) -> tuple[Map, Map]:
    """Return the total thickness in cm of water, and the mask of devices."""
    rng = rng_of("soft tissue", patient, study.index)
    thickness, body = tissue.trunk(patient, chest, rng)
    below_domes = np.clip((chest.y - (chest.frame.dome + 0.02)) / 0.10, 0, 1)
    aerated = 1 - 0.94 * chest.organs
    lungs = np.maximum(chest.lungs[LEFT].mask, chest.lungs[RIGHT].mask)
    air = chest.air * aerated * (1 + 0.055 * chest.texture) * (1 - np.clip(chest.solid, 0, 0.98)) * AIR_SHARE
    thickness += chest.dense * lungs * (0.35 + 0.65 * aerated) - air
    thickness += chest.heart * 1.6 * (1 - np.clip((chest.y - (chest.frame.dome - 0.03)) / 0.06, 0, 1))
    bones = ribs_and_shoulders(patient, study, chest.size, chest.middle) * soft(body, 0.003)
    thickness += bones * (1 - 0.45 * below_domes) * (1 - 0.25 * chest.heart)
    thickness += spine(patient, chest.size, chest.middle) * (1 - 0.35 * chest.heart)
    thickness -= tissue.airway(patient, study, chest)
    if patient.calcified:
        thickness += tissue.aortic_calcium(study, chest)
    thickness -= tissue.stomach_gas(patient, chest)
    thickness += cloud(rng, chest.size, 140) * below_domes * 0.6
    mask = np.zeros_like(thickness)
    if study.devices:
        metal, mask = devices(study, rng_of("devices", patient, study.index), chest.size)
        thickness += metal
    return np.maximum(thickness, 0), mask


def turn_sideways(thickness: Map) -> Map:
    """Return a simple lateral view: the frontal map narrowed and blurred sideways, plus a spine.

    This view has no ground truth, and stands for the lateral images of a release, which cohorts leave out by default.
    """
    size = thickness.shape[0]
    smeared = gaussian(resize(thickness, (size, max(8, size // 12)), smooth=False), 1.2)
    narrow = resize(smeared, (size, int(size * 0.62)))
    pad = size - narrow.shape[1]
    turned = np.pad(narrow, ((0, 0), (pad // 2, pad - pad // 2)))
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)
    turned += 5 * np.exp(-(((x - 0.70) / 0.05) ** 2)) * (turned > 1)
    return turned.astype(np.float32)
