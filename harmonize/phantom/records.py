"""One patient's visit -> the files of its images and their rows: native table, truth, boxes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harmonize.labels.findings import NO_FINDING
from harmonize.phantom.labels import native_labels
from harmonize.phantom.names import Names, names
from harmonize.phantom.patient import Patient, Study, draw_patient, draw_study, rng_of
from harmonize.phantom.plan import Visit
from harmonize.phantom.radiograph import Radiograph, render, render_lateral
from harmonize.phantom.scanner import Mask
from harmonize.phantom.settings import PhantomSettings
from harmonize.phantom.sites import DRAWN, SITES
from harmonize.phantom.writers import write_image, write_mask

Row = dict[str, Any]

NAMELESS = ("mimic", "vindr")  # releases without sex and age
DEVICES = {"padchest": ("PhilipsMedicalSystems", "ImagingDynamicsCompanyLtd"), "brax": ("1", "2", "3")}
CHILD_AGE = 7.0
STRIP = 12  # how many times narrower a strip is than its image
BOX_SHARE = 0.10  # of a finding's area: smaller islands get no box


@dataclass(slots=True)
class Records:
    """Rows of three tables."""

    native: list[Row] = field(default_factory=list)
    truth: list[Row] = field(default_factory=list)
    boxes: list[Row] = field(default_factory=list)

    def add(self, other: "Records") -> None:
        """Append the rows of another value."""
        self.native += other.native
        self.truth += other.truth
        self.boxes += other.boxes


def write_visit(root: Path, settings: PhantomSettings, visit: Visit, masks: bool) -> Records:
    """Write the images of one patient below root and return their rows."""
    site = visit.part.site
    patient = draw_patient(settings.seed, site, visit.number)
    records = Records()
    for index in range(visit.studies):
        study = draw_study(patient, index)
        labels = native_labels(patient, study, expert=visit.split.startswith("expert"))
        also_lateral = not visit.part.kind and rng_of("lateral", patient, index).random() < SITES[site].laterals
        for lateral in (False, True) if also_lateral else (False,):
            taken = render_lateral(settings, patient, study) if lateral else render(settings, patient, study)
            named = names(site, visit.split, visit.number, index, lateral)
            _write_files(root, site, named, taken, visit.part.kind, masks and not lateral)
            records.native.append(_native_row(visit, patient, study, named, taken, labels, lateral))
            records.truth.append(_truth_row(visit, patient, study, named, taken, lateral))
            records.boxes += [] if lateral or visit.part.kind else _box_rows(named, taken)
    return records


def _write_files(root: Path, site: str, named: Names, taken: Radiograph, kind: str, masks: bool) -> None:
    image = taken.image[:, : max(2, taken.image.shape[1] // STRIP)] if kind == "strip" else taken.image
    storage = rng_of("storage", taken.patient, taken.study.index)
    write_image(root / site / named.path, image, SITES[site], named.image_id, storage)
    if masks:
        folder = (root / "masks" / site / named.path).with_suffix("")
        for finding, mask in taken.masks.items():
            write_mask(folder / f"{finding}.png", mask)


def _native_row(
    visit: Visit, patient: Patient, study: Study, named: Names, taken: Radiograph, labels: Row, lateral: bool
) -> Row:
    site, kind = visit.part.site, visit.part.kind
    known = site not in NAMELESS and visit.split != "expert_test"
    height, width = taken.image.shape
    row: Row = {
        "image_id": named.image_id,
        "patient_id": named.patient_id,
        "study_id": named.study_id,
        "split": visit.split,
        "view": _stated_view(visit, study, lateral),
        "sex": patient.sex if known else "",
        "age": _stated_age(site, patient, kind) if known else float("nan"),
        "device": _device(patient, study),
        "path": named.path,
        "rows": height,
        "columns": width,
    }
    if site == "padchest":
        row["label_source"] = "Physician" if rng_of("reader", patient, study.index).random() < 0.25 else "RNN_model"
        row["drop"] = kind
    if site == "brax":
        row["drop"] = kind if kind == "strip" else ""
    if site == "mimic":  # the release has relabelled its test split
        relabelled = native_labels(patient, study, expert=True) if visit.split == "test" else {}
        row |= {f"expert:{label}": relabelled.get(label) for label in labels}
    row |= {f"native:{label}": state for label, state in labels.items()}
    if kind == "no labels":
        row["native:labels"] = ""
    return row


def _stated_view(visit: Visit, study: Study, lateral: bool) -> str:
    if lateral:
        return "LATERAL"
    if visit.part.kind == "no view":
        return "UNKNOWN"
    return "FRONTAL" if visit.split == "expert_test" else study.view  # its file has no column for the projection


def _stated_age(site: str, patient: Patient, kind: str) -> float:
    if kind == "pediatric":
        return CHILD_AGE
    return float(min(85, patient.age // 5 * 5)) if site == "brax" else float(patient.age)  # BRAX states five-year bins


def _device(patient: Patient, study: Study) -> str:
    makers = DEVICES.get(patient.site, ("",))
    return makers[int(rng_of("maker", patient, study.index).integers(len(makers)))]


def _truth_row(visit: Visit, patient: Patient, study: Study, named: Names, taken: Radiograph, lateral: bool) -> Row:
    return {
        "image_id": named.image_id,
        "patient_id": named.patient_id,
        "study_id": named.study_id,
        "path": named.path,
        "patient": visit.number,
        "study": study.index,
        "split": visit.split,
        "kind": visit.part.kind,
        "view": "LATERAL" if lateral else study.view,
        "sex": patient.sex,
        "age": patient.age,
        "devices": study.devices,
        "token": taken.token,
        "heart_ratio": taken.heart_ratio,
        f"true:{NO_FINDING}": int(not study.present),
        **{f"true:{finding}": int(finding in study.present) for finding in DRAWN},
        **{f"severity:{finding}": study.severity[finding] if finding in study.present else 0.0 for finding in DRAWN},
    }


def _box_rows(named: Names, taken: Radiograph) -> list[Row]:
    """Return the boxes of each finding and of the token; the smallest lesions may be too faint to have one."""
    rows = []
    for name, mask in taken.masks.items():
        if name in DRAWN or name == "token":
            rows += [
                {"image_id": named.image_id, "finding": name, "x_min": x, "y_min": y, "x_max": x + w, "y_max": y + h}
                for x, y, w, h in _islands(mask)
            ]
    return rows


def _islands(mask: Mask) -> list[list[float]]:
    """Return x, y, width, height [px] of each connected island of some size."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    islands = np.asarray(stats, np.int64)[1:]
    large = islands[islands[:, cv2.CC_STAT_AREA] >= BOX_SHARE * max(1, int(mask.sum()))]
    found: list[list[float]] = large[:, :4].astype(float).tolist()
    return found
