"""Write the image files of one patient, and return their rows for the native table, truth table and boxes.

The tag (a white tag with text; `token` in names) is in the corner of some images.
"""

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
from harmonize.phantom.radiograph import Radiograph, views
from harmonize.phantom.scanner import Mask
from harmonize.phantom.settings import PhantomSettings
from harmonize.phantom.sites import DRAWN, SITES
from harmonize.phantom.writers import write_image

Row = dict[str, Any]

WITHOUT_SEX_AND_AGE = ("mimic", "vindr")  # releases without sex and age
DEVICES = {"padchest": ("PhilipsMedicalSystems", "ImagingDynamicsCompanyLtd"), "brax": ("1", "2", "3")}
CHILD_AGE = 7.0
STRIP = 12  # a strip is the left part of an image: the width of the image divided by this number
BOX_SHARE = 0.10  # a connected component with a smaller share of its finding's area gets no box


@dataclass(slots=True)
class Records:
    """Rows of the native table, of the truth table, and of the table of boxes."""

    native: list[Row] = field(default_factory=list)
    truth: list[Row] = field(default_factory=list)
    boxes: list[Row] = field(default_factory=list)

    def add(self, other: "Records") -> None:
        """Append the rows of other records."""
        self.native += other.native
        self.truth += other.truth
        self.boxes += other.boxes


def write_visit(root: Path, settings: PhantomSettings, visit: Visit) -> Records:
    """Write the images of one patient below root and return their rows."""
    site = visit.group.site
    patient = draw_patient(settings.seed, site, visit.number)
    records = Records()
    for index in range(visit.studies):
        study = draw_study(patient, index)
        labels = native_labels(patient, study, expert=visit.split.startswith("expert"))
        also_lateral = (
            not visit.group.excluded_for and rng_of("lateral", patient, index).random() < SITES[site].laterals
        )
        for lateral, radiograph in zip(
            (False, True), views(settings, patient, study, lateral=also_lateral), strict=False
        ):
            image_names = names(site, visit.split, visit.number, index, lateral)
            _write_image(root, site, image_names, radiograph, visit.group.excluded_for)
            records.native.append(_native_row(visit, patient, study, image_names, radiograph, labels, lateral))
            records.truth.append(_truth_row(visit, patient, study, image_names, radiograph, lateral))
            records.boxes += [] if lateral or visit.group.excluded_for else _box_rows(image_names, radiograph)
    return records


def _write_image(root: Path, site: str, image_names: Names, radiograph: Radiograph, excluded_for: str) -> None:
    image = radiograph.image
    if excluded_for == "strip":
        image = image[:, : max(2, image.shape[1] // STRIP)]
    storage = rng_of("storage", radiograph.patient, radiograph.study.index)
    write_image(root / site / image_names.path, image, SITES[site], image_names.image_id, storage)


def _native_row(
    visit: Visit, patient: Patient, study: Study, image_names: Names, radiograph: Radiograph, labels: Row, lateral: bool
) -> Row:
    site, excluded_for = visit.group.site, visit.group.excluded_for
    has_sex_and_age = site not in WITHOUT_SEX_AND_AGE and visit.split != "expert_test"
    height, width = radiograph.image.shape
    row: Row = {
        "image_id": image_names.image_id,
        "patient_id": image_names.patient_id,
        "study_id": image_names.study_id,
        "split": visit.split,
        "view": _stated_view(visit, study, lateral),
        "sex": patient.sex if has_sex_and_age else "",
        "age": _stated_age(site, patient, excluded_for) if has_sex_and_age else float("nan"),
        "device": _device(patient, study),
        "path": image_names.path,
        "rows": height,
        "columns": width,
    }
    if site == "padchest":
        row["label_source"] = "Physician" if rng_of("reader", patient, study.index).random() < 0.25 else "RNN_model"
        row["drop"] = excluded_for
    if site == "brax":
        row["drop"] = excluded_for if excluded_for == "strip" else ""
    if site == "mimic":  # the release has expert labels for the test split
        expert_states = native_labels(patient, study, expert=True) if visit.split == "test" else {}
        row |= {f"expert:{label}": expert_states.get(label) for label in labels}
    row |= {f"native:{label}": state for label, state in labels.items()}
    if excluded_for == "no labels":
        row["native:labels"] = ""
    return row


def _stated_view(visit: Visit, study: Study, lateral: bool) -> str:
    if lateral:
        return "LATERAL"
    if visit.group.excluded_for == "no view":
        return "UNKNOWN"
    # the label file of the split expert_test has no column for the view
    return "FRONTAL" if visit.split == "expert_test" else study.view


def _stated_age(site: str, patient: Patient, excluded_for: str) -> float:
    if excluded_for == "pediatric":
        return CHILD_AGE
    return float(min(85, patient.age // 5 * 5)) if site == "brax" else float(patient.age)  # BRAX has bins of five years


def _device(patient: Patient, study: Study) -> str:
    makers = DEVICES.get(patient.site, ("",))
    return makers[int(rng_of("maker", patient, study.index).integers(len(makers)))]


def _truth_row(
    visit: Visit, patient: Patient, study: Study, image_names: Names, radiograph: Radiograph, lateral: bool
) -> Row:
    return {
        "image_id": image_names.image_id,
        "patient_id": image_names.patient_id,
        "study_id": image_names.study_id,
        "path": image_names.path,
        "patient": visit.number,
        "study": study.index,
        "split": visit.split,
        "kind": visit.group.excluded_for,
        "view": "LATERAL" if lateral else study.view,
        "sex": patient.sex,
        "age": patient.age,
        "devices": study.devices,
        "token": radiograph.token,
        "heart_ratio": radiograph.heart_ratio,
        f"true:{NO_FINDING}": int(not study.present),
        **{f"true:{finding}": int(finding in study.present) for finding in DRAWN},
        **{f"severity:{finding}": study.severity[finding] if finding in study.present else 0.0 for finding in DRAWN},
    }


def _box_rows(image_names: Names, radiograph: Radiograph) -> list[Row]:
    """Return one row for each box of a finding or of the tag; a very small lesion may be too faint to get a box."""
    rows = []
    for name, mask in radiograph.masks.items():
        if name in DRAWN or name == "token":
            rows += [
                {
                    "image_id": image_names.image_id,
                    "finding": name,
                    "x_min": x,
                    "y_min": y,
                    "x_max": x + w,
                    "y_max": y + h,
                }
                for x, y, w, h in _component_boxes(mask)
            ]
    return rows


def _component_boxes(mask: Mask) -> list[list[float]]:
    """Return x, y, width, height [px] of each connected component that has at least BOX_SHARE of the mask's area."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    components = np.asarray(stats, np.int64)[1:]
    large = components[components[:, cv2.CC_STAT_AREA] >= BOX_SHARE * max(1, int(mask.sum()))]
    boxes: list[list[float]] = large[:, :4].astype(float).tolist()
    return boxes
