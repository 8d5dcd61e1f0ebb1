"""Make ids and paths in the form of each dataset, with values that do not occur in the real releases.

The ids are outside the ranges of the real releases. The real CheXpert ends at patient65240, and the real NIH at patient
30805. In the real MIMIC, patient ids begin with 1 and study ids with 5. Ids made from a hash begin with zeros or nines.
The same patient and study always get the same names.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

# patient number // MILLION is the patient group; patient number % MILLION is the index in this group
MILLION = 1_000_000
CHEXPERT_FOLDERS = {"train": ("train", 70_001), "expert_valid": ("valid", 66_001), "expert_test": ("test", 67_001)}
PADCHEST_FOLDERS = 3  # number of image folders; the real release has 52


@dataclass(frozen=True, slots=True)
class Names:
    """The ids and path of one image; the path is relative to the root of the dataset."""

    image_id: str
    patient_id: str
    study_id: str
    path: str


def names(site: str, split: str, number: int, study: int, lateral: bool) -> Names:
    """Return the ids and path of an image: patient `number`, study `study`, frontal or lateral."""
    return _MAKERS[site](split, number, study, lateral)


def _hex(length: int, *names: object) -> str:
    """Return the first `length` hexadecimal digits of a hash of the names."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:length]


def _digits(length: int, *names: object) -> str:
    """Return `length` decimal digits of a hash of the names."""
    return str(int(_hex(64, *names), 16))[-length:].zfill(length)


def _chexpert(split: str, number: int, study: int, lateral: bool) -> Names:
    folder, first = CHEXPERT_FOLDERS[split]
    patient, exam = f"patient{first + number % MILLION:05d}", f"study{study + 1}"
    image = "view2_lateral" if lateral else "view1_frontal"
    return Names(f"{patient}_{exam}_{image}", patient, f"{patient}/{exam}", f"{folder}/{patient}/{exam}/{image}.jpg")


def _mimic(_split: str, number: int, study: int, lateral: bool) -> Names:
    patient, exam = str(30_000_001 + number), str(90_000_001 + 10 * number + study)
    digits = _hex(32, "mimic", number, study, lateral)
    image = "-".join(["00000000", *(digits[start : start + 8] for start in range(0, 32, 8))])
    return Names(image, patient, exam, f"files/p{patient[:2]}/p{patient}/s{exam}/{image}.jpg")


def _nih(_split: str, number: int, study: int, _lateral: bool) -> Names:
    patient = 90_001 + number
    image = f"{patient:08d}_{study:03d}.png"
    return Names(image, str(patient), f"{patient}/{study}", f"images_001/images/{image}")


def _padchest(_split: str, number: int, study: int, lateral: bool) -> Names:
    patient, exam = "99" + _digits(34, "padchest", number), "99" + _digits(36, "padchest", number, study)
    image = f"{exam}_{_hex(6, 'padchest', number, study, lateral)}.png"
    return Names(image, patient, exam, f"images/{number % PADCHEST_FOLDERS}/{image}")


def _vindr(split: str, number: int, _study: int, _lateral: bool) -> Names:
    image = "00000000" + _hex(24, "vindr", number)  # no patient id is released, so each image counts as a patient
    return Names(image, image, image, f"{split}/{image}.dicom")


def _brax(_split: str, number: int, study: int, lateral: bool) -> Names:
    digits = _hex(24, "brax", number)
    patient = f"00000000-{digits[:4]}-{digits[4:8]}-{digits[8:12]}-{digits[12:]}"
    exam = _digits(40, "brax", number, study)
    series = _digits(40, "brax", number, study, "series", lateral)
    uids = [".".join(text[start : start + 8] for start in range(0, 40, 8)) for text in (exam, series, series[::-1])]
    stem = f"id_{patient}/Study_{uids[0]}/Series_{uids[1]}/image-{uids[2]}"
    return Names(stem, patient, f"9{exam[:15]}", f"images/{stem}.png")


_MAKERS: dict[str, Callable[[str, int, int, bool], Names]] = {
    "chexpert": _chexpert,
    "mimic": _mimic,
    "nih": _nih,
    "padchest": _padchest,
    "vindr": _vindr,
    "brax": _brax,
}
