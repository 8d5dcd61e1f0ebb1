"""Read datasets without a table: the path of each image states its label and patient, and a text file may state sex and age.

Shenzhen and Montgomery (National Library of Medicine), Guangzhou (children; Kermany et al.) and TBX11K.
A reading of Shenzhen begins with "male 45yrs", "femal 16month" or "female, 64days"; a number without a unit is no age. A
reading of Montgomery begins with "Patient's Sex: F" and "Patient's Age: 027Y", and may refer to the reading of another image
of the same patient: "NO REPORT (same pt as MCUCXR_0162_1)". The rest of a reading is not interpreted.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, LABELS, Remark
from harmonize.datasets.columns import base_columns, joined_states, with_bad_rows
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    header,
    numbers,
    read_text,
    require_folder,
    states_array,
)
from harmonize.datasets.ids import require_match
from harmonize.errors import DatasetError
from harmonize.images.image_header import IMAGE_ENDINGS
from harmonize.labels.findings import ABSENT, PRESENT

REGIONS = (
    "Pleural_Effusion",
    "Severe_Infiltrate_(Consolidation)",
    "Single_Nodule_(non-calcified)",
    "Clustered_Nodule_(2mm-5mm_apart)",
)
# smaller infiltrates, which may be consolidation, too
_DOUBTFUL_REGIONS = ("Moderate_Infiltrate_(non-linear)", "Small_Infiltrate_(non-linear)")
BOX_FRAME_PX = (
    512  # side of the images of TBX11K, in whose pixels the boxes are; those of its XML files are in other pixels
)
BOX_CLASSES = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
_PERSON = re.compile(
    r"\s*(?:Patient's Sex:\s*)?(?P<sex>male|fem[a-z]*|[MFO]\b)\W*(?:Patient's Age:\s*)?(?:(?P<age>\d+)\s*(?P<unit>[ymd])?)?",
    re.IGNORECASE,
)
_SAME_PATIENT = re.compile(r"same pt as (\w+)", re.IGNORECASE)
_UNITS_PER_YEAR = {"y": 1.0, "m": 12.0, "d": 365.25}


def image_paths(root: Path) -> dict[str, str]:
    """Return {path without ending: path} of all images below root, both relative to root with forward slashes.

    Links to folders are followed, but not back to a folder on the way to them. Raises DatasetError for an unreadable folder,
    and if one image is there in two formats, such as a.png beside a.dcm.
    """
    paths: dict[str, str] = {}
    walk = os.walk(root, onerror=DatasetError.refuse_folder, followlinks=True)
    # folder -> real paths of the folders on the way to it, itself the last
    ways: dict[str, tuple[str, ...]] = {str(root): (os.path.realpath(root),)}
    for folder, folders, names in walk:
        way = ways.pop(folder)
        followed = []
        for name in sorted(folders):
            path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each folder is slow)
            real = os.path.realpath(path) if os.path.islink(path) else f"{way[-1]}/{name}"  # noqa: PTH114
            if not any(above == real or above.startswith(f"{real}/") for above in way):
                followed.append(name)
                ways[path] = (*way, real)
        folders[:] = followed
        for name in sorted(names):
            stem, ending = os.path.splitext(name)  # noqa: PTH122  (a Path for each image is slow)
            if ending.lower() in IMAGE_ENDINGS:
                inside = Path(folder).relative_to(root)
                key, path = ((inside / text).as_posix() for text in (stem, name))
                if key in paths:
                    what = f"one image is there in two formats: {paths[key]} and {path}"
                    raise DatasetError(what, str(root), "keep the images of one format, and remove the others")
                paths[key] = path
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """A dataset whose image paths match `pattern`, a regular expression with the groups patient, label and maybe split.

    Image id and patient id are the path without ending and the group patient. `prefix` states that each split numbers its
    patients anew, so the patient id begins with the split. `labels` and `splits` translate what the groups have. `reading` is the path of
    the text about an image, with the name of the image in braces. `regions` is an optional table: for each image, the number of regions
    that radiologists marked for each label of REGIONS. `boxes_in` are the names of an optional COCO file with boxes, in pixels of images
    with a side of BOX_FRAME_PX.
    """

    layout: str
    SIGNATURE: tuple[str, ...]
    pattern: str
    labels: Mapping[str, str]
    view: str
    splits: Mapping[str, str]
    like: str  # path of an image
    prefix: bool = False
    reading: str = ""
    regions: str = ""
    lists: Mapping[str, str] = field(
        default_factory=dict
    )  # optional file with one image per line -> split of these images
    boxes_in: tuple[str, ...] = ()
    folder_levels: int = 2  # levels of folders below the root; a kept cohort table notices files that are added in them

    @property
    def TOKENS(self) -> tuple[str, ...]:  # noqa: N802  (the name that adapters have)
        """Return all native labels."""
        return tuple(self.labels.values())

    def read(self, root: Path, source: str = "default") -> pd.DataFrame:
        """Return one row per image: the base columns, drop and "native:labels"; "regions:<label>" if the table is there.

        `source` is default or regions. Both give the same table, but regions needs the table of regions.
        """
        require_folder(root, self.layout)
        found = {
            key: (path, re.fullmatch(self.pattern, path, re.IGNORECASE)) for key, path in image_paths(root).items()
        }
        rows = [(key, path, match.groupdict()) for key, (path, match) in found.items() if match is not None]
        if not rows:
            fix = f"{self.layout}: put the published folders there; paths are like {self.like}"
            raise DatasetError("no image has a path as published", str(root), fix)
        image = [key for key, _, _ in rows]
        listed = {
            Path(line).stem: split
            for name, split in self.lists.items()
            if (root / name).is_file()
            for line in (root / name).read_text(encoding="utf-8").split()
        }
        split = [
            listed.get(key.rpartition("/")[2]) or self.splits.get((group.get("split") or "").lower(), "")
            for key, _, group in rows
        ]
        patient = [
            f"{name}/{group['patient']}" if self.prefix else group["patient"]
            for name, (_, _, group) in zip(split, rows, strict=True)
        ]
        people = [self._person(root, key) for key in image]
        other = {name: same for name, (_, _, same) in zip(patient, people, strict=True) if same}
        columns = base_columns(
            image_id=image,
            patient_id=[_first_image(name, other) for name in patient],
            study_id=image,
            path=[path for _, path, _ in rows],
            split=split,
            view=self.view,
            sex=[sex for sex, _, _ in people],
            age=[age for _, age, _ in people],
            drop="",
        )
        table = pd.DataFrame(columns | {LABELS: [self.labels[group["label"].lower()] for _, _, group in rows]})
        regions = find(root, self.regions) if self.regions else None
        if source == "regions" and regions is None:
            raise DatasetError(f"no {self.regions}", str(root), f"`bench data get {self.layout} .` downloads it")
        return _with_regions(table, regions) if regions is not None else table

    def _person(self, root: Path, image: str) -> tuple[str, float, str]:
        """Return sex, age in years, and the patient of another image to whom the reading refers."""
        path = root / self.reading.format(image.rpartition("/")[2])
        if not self.reading or not path.is_file():
            return "", float("nan"), ""
        text = path.read_text(encoding="utf-8", errors="replace")
        same = _SAME_PATIENT.search(text)
        patient = same[1].rpartition("_")[0] if same else ""
        person = _PERSON.match(text)
        if person is None:
            return "", float("nan"), patient
        sex = person["sex"][0].upper()
        age = int(person["age"] or 0) / _UNITS_PER_YEAR.get((person["unit"] or "").lower(), float("nan"))
        return sex if sex in "MF" else "", age, patient

    def remarks(self, table: pd.DataFrame, root: Path) -> list[Remark]:
        """Return remarks on images whose names are not as published, and on images without a reading that states sex and age."""
        out, folders = [], set(table["path"].str.rpartition("/")[0])
        others = {
            path for path in image_paths(root).values() if path.rpartition("/")[0] in folders and "/." not in path
        }
        if others := others - set(table["path"]):
            found = f"names that are not as published: {len(others):,}, e.g. {min(others)}; these images are left out"
            out.append(Remark("images", found, "give them their published names"))
        silent = table.loc[(table["sex"] == "") | table["age"].isna(), "image_id"]
        if self.reading and len(silent):
            first = self.reading.format(silent.iloc[0].rpartition("/")[2])
            found = f"{len(silent):,} of {len(table):,} images have no reading that states sex and age with a unit, first {first}"
            fix = f"use the readings as published; their form is that of {root / first}"
            out.append(Remark("readings", found, fix))
        return out

    def boxes(self, root: Path) -> pd.DataFrame:
        """Return the boxes: image_id, finding, x_min, y_min, x_max, y_max; a box of a known class has the label of its image."""
        columns = ["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
        if (path := find(root, *self.boxes_in)) is None:
            return pd.DataFrame(columns=columns)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names = {image["id"]: PurePosixPath(image["file_name"]).with_suffix("") for image in content["images"]}
            words = {kind["id"]: kind["name"] for kind in content["categories"]}
            rows = [(f"imgs/{str(names[box['image_id']]).removeprefix('imgs/')}", words[box["category_id"]], *map(float, box["bbox"]))
                    for box in content["annotations"]]  # fmt: skip
            drawn = pd.DataFrame(rows, columns=columns)
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"not a file of boxes: {error!r}", str(path), "use the file as published") from error
        finding = drawn["finding"].replace(dict.fromkeys(BOX_CLASSES, "tuberculosis"))
        return drawn.assign(
            finding=finding, x_max=drawn["x_min"] + drawn["x_max"], y_max=drawn["y_min"] + drawn["y_max"]
        )

    def box_frames(self, _root: Path, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
        """Return {image id: (512, 512)}, the size of the published images, for any size of the file."""
        return dict.fromkeys(images["image_id"], (BOX_FRAME_PX, BOX_FRAME_PX)) if self.boxes_in else {}


def _with_regions(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with the columns "regions:normal" and "regions:<label>".

    A normal image has no finding. In an image with regions, a label without a region is absent. In any other image, labels are null.
    """
    every = [name for name in dict.fromkeys([*REGIONS, *header(path)]) if name != "imagename"]
    raw = read_text(path, ["imagename", *every])
    has_region = pd.Series(False, raw.index)
    for label in every:
        number = numbers(raw[label])
        bad = ~((number >= 0) & (number % 1 == 0))
        raw[FAULT] = first_fault(raw[FAULT], faults(bad, raw[label], label, "a number of regions", path))
        raw[label] = pd.Series(states_array((number > 0).to_numpy().astype(np.int8)), raw.index)
        has_region |= number > 0
    labels = [*REGIONS, *(label for label in _DOUBTFUL_REGIONS if label in raw)]
    raw[labels] = raw[labels].where(has_region)
    raw["imagename"] = raw["imagename"].str.removesuffix(".png")
    image = table["image_id"].str.rpartition("/")[2]
    require_match(raw["imagename"], image, "regions", path, may_be_few=True)
    states, fault, strays = joined_states(path, raw, "imagename", labels, image, "regions")
    columns = pd.DataFrame(states, table.index)
    normal = table[LABELS] == "normal"
    columns[normal] = ABSENT
    columns["regions:normal"] = normal.map({True: PRESENT, False: ABSENT}).astype("Int8")
    if (fault != "").any():
        table = table.assign(**{FAULT: fault})
    return with_bad_rows(table.join(columns), strays)


def _first_image(patient: str, other: Mapping[str, str]) -> str:
    """Return the patient at the end of a chain of references to the same patient; a circle ends where it began."""
    seen = {patient}
    while (following := other.get(patient, patient)) not in seen:
        seen.add(patient := following)
    return patient


_TB = {"0": "normal", "1": "tuberculosis"}


def _library_set(layout: str, prefix: str, regions: str = "") -> FileSet:
    """Return the adapter of a set of the National Library of Medicine; its names of images begin with `prefix`."""
    return FileSet(
        layout=layout,
        SIGNATURE=(f"CXR_png/{prefix}_*",),
        pattern=rf"CXR_png/(?P<patient>{prefix}_\d+)_(?P<label>[01])\.\w+",
        labels=_TB,
        view="PA",
        splits={},
        reading="ClinicalReadings/{}.txt",
        regions=regions,
        like=f"CXR_png/{prefix}_9001_0.png",
    )


shenzhen = _library_set("shenzhen", "CHNCXR", "Statistics_ShenzhenDataset.csv")
montgomery = _library_set("montgomery", "MCUCXR")
# In the copy on Kaggle, images of the folder val have the patient numbers of the folder train: both are the split train.
guangzhou = FileSet(
    layout="guangzhou",
    SIGNATURE=("*/NORMAL", "chest_xray/*/NORMAL"),
    pattern=r"(?:chest_xray/)?(?P<split>train|test|val)/(?P<label>NORMAL|PNEUMONIA)/"
    r"(?P<patient>person\d+|(?:NORMAL2?-)?IM-\d+|(?:NORMAL|BACTERIA|VIRUS)-\d+)[_-][\w-]+\.\w+",
    labels={"normal": "normal", "pneumonia": "pneumonia"},
    view="AP",
    splits={"train": "train", "val": "train", "test": "test"},
    prefix=True,
    folder_levels=3,
    like="chest_xray/train/NORMAL/IM-9115-0001.jpeg",
)
# Only these folders: the labels of `test` are not published, and `extra` has images of Shenzhen, Montgomery and others.
tbx11k = FileSet(
    layout="tbx11k",
    SIGNATURE=("imgs/health",),
    pattern=r"imgs/(?P<label>health|sick|tb)/(?P<patient>\w+)\.\w+",
    labels={"health": "normal", "sick": "sick without tuberculosis", "tb": "tuberculosis"},
    view="FRONTAL",
    splits={},
    lists={"lists/TBX11K_train.txt": "train", "lists/TBX11K_val.txt": "val"},
    boxes_in=tuple(f"annotations/json/TBX11K_{name}.json" for name in ("trainval", "trainval_only_tb")),
    like="imgs/health/h9001.png",
)
