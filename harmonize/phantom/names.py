"""Ids and paths in the form of each dataset, with values that no real release holds.

CheXpert ends at patient65240, MIMIC's patients begin with 1 and its studies with 5, NIH ends at patient 30805; hashed
ids begin with zeros or nines. The same number always gets the same name.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

MILLION = 1_000_000  # patient numbers of a part are number % MILLION; the millions say which part
CHEXPERT_FOLDERS = {"train": ("train", 70_001), "expert_valid": ("valid", 66_001), "expert_test": ("test", 67_001)}
PADCHEST_FOLDERS = 3  # the release has 52


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one image; path is relative to the dataset's root."""

    image_id: str
    patient_id: str
    study_id: str
    path: str


def names(site: str, split: str, number: int, study: int, lateral: bool) -> Names:
    """Return the names of an image of patient `number`: the frontal or the lateral one of a study."""
    return _MAKERS[site](split, number, study, lateral)


def _hex(length: int, *what: object) -> str:
    return hashlib.sha256("/".join(map(str, what)).encode()).hexdigest()[:length]


def _digits(length: int, *what: object) -> str:
    return str(int(_hex(64, *what), 16))[-length:].zfill(length)


def _chexpert(split: str, number: int, study: int, lateral: bool) -> Names:
    folder, first = CHEXPERT_FOLDERS[split]
    patient, exam = f"patient{first + number % MILLION:05d}", f"study{study + 1}"
    image = "view2_lateral" if lateral else "view1_frontal"
    return Names(f"{patient}_{exam}_{image}", patient, f"{patient}/{exam}", f"{folder}/{patient}/{exam}/{image}.jpg")


def _mimic(_split: str, number: int, study: int, lateral: bool) -> Names:
    patient, exam = str(30_000_001 + number), str(90_000_001 + 10 * number + study)
    word = _hex(32, "mimic", number, study, lateral)
    image = "-".join(["00000000", *(word[at : at + 8] for at in range(0, 32, 8))])
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
    image = "00000000" + _hex(24, "vindr", number)  # the image is the patient: no patient id is released
    return Names(image, image, image, f"{split}/{image}.dicom")


def _brax(_split: str, number: int, study: int, lateral: bool) -> Names:
    word = _hex(24, "brax", number)
    patient = f"00000000-{word[:4]}-{word[4:8]}-{word[8:12]}-{word[12:]}"
    exam = _digits(40, "brax", number, study)
    series = _digits(40, "brax", number, study, "series", lateral)
    parts = [".".join(text[at : at + 8] for at in range(0, 40, 8)) for text in (exam, series, series[::-1])]
    stem = f"id_{patient}/Study_{parts[0]}/Series_{parts[1]}/image-{parts[2]}"
    return Names(stem, patient, f"9{exam[:15]}", f"images/{stem}.png")


_MAKERS: dict[str, Callable[[str, int, int, bool], Names]] = {
    "chexpert": _chexpert,
    "mimic": _mimic,
    "nih": _nih,
    "padchest": _padchest,
    "vindr": _vindr,
    "brax": _brax,
}
