"""Read datasets with one or two label tables: RSNA Pneumonia, SIIM-ACR Pneumothorax, COVID-19 images, VinDr-PCXR.

A table may have several rows for an image (one per box or mask): the image gets the labels of all its rows. Rows with
opposite labels of one image are a fault of the image, which names the line.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, LABELS, Remark
from harmonize.datasets.columns import base_columns, with_bad_rows
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    header,
    numbers,
    person,
    read_text,
    recode,
    require,
    unknown_words,
)
from harmonize.datasets.ids import difference, examples, refuse_rounded
from harmonize.datasets.open_files import image_paths
from harmonize.errors import DatasetError

FRAME_PX = 1024  # side of the images of RSNA, in whose pixels its boxes are
_VIEWS = {"PA": "PA", "AP": "AP", "AP Supine": "AP", "AP Erect": "AP", "L": "LATERAL", "LL": "LATERAL", "RL": "LATERAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """A file with labels: `image` is the column of the image's id, and `column` has the words that `words` translates.

    words     word -> native label; None: each word, in lower case, is a label, and "/" or "," separates several words
    column    "" means that each column of `words` is a label, which a 1 in its cell states
    split     the split of the images in the file
    """

    files: tuple[str, ...]
    image: str
    column: str = ""
    words: Mapping[str, str] | None = None
    split: str = ""
    required: bool = True

    def read(self, path: Path) -> pd.DataFrame:
        """Return the columns image, labels and FAULT, and the other columns of the file that are known facts of a person."""
        present = {name.strip(): name for name in header(path)}
        labels = [self.column] if self.column else [name for name in self.words or () if name in present]
        covid = self.words is None
        optional = ["patientid", "sex", "age", "view", "modality", "folder"] if covid else []
        names = [self.image, *labels, *optional]
        raw = read_text(path, [present.get(name, name) for name in names])
        raw = raw.set_axis([*names, FAULT], axis=1)
        refuse_rounded(raw[self.image], self.image, path)
        if not self.column:
            texts = raw[labels].apply(lambda cells: cells.str.strip().str.removesuffix(".0"))
            bad = ~texts.isin(["0", "1", ""])
            raw[FAULT] = first_fault(
                raw[FAULT], *(faults(bad[name], raw[name], name, "0 or 1", path) for name in labels)
            )
            tokens = pd.Series("", index=raw.index)
            for name in labels:
                tokens = tokens + np.where(texts[name] == "1", f"|{(self.words or {})[name]}", "")
            return raw.assign(labels=tokens.str.strip("|")).rename(columns={self.image: "image"})
        text = raw[self.column].str.strip()
        if self.words is None:
            tokens = text.str.lower().str.replace(r"\s*[/,]\s*", "|", regex=True)
        else:
            tokens = recode(text, self.words, self.words.get("*", "")).where(text != "", "")
            kind = "a mask or -1" if "*" in self.words else f"one of {', '.join(self.words)}"
            if "*" in self.words:
                tokens = tokens.where(text.isin(list(self.words)) | text.str.fullmatch(r"\d+( \d+)+"), "")
            raw[FAULT] = first_fault(raw[FAULT], faults(tokens == "", text, self.column, kind, path))
        return raw.assign(labels=tokens).rename(columns={self.image: "image"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSet:
    """A dataset that its label tables describe. The fields state what differs between datasets.

    opposite   pairs of labels that an image cannot have together
    headers    file with the columns PatientID, ViewPosition, PatientSex and PatientAge of the images, "" if there is none
    patients   JSON file that states for each image (subset_img_id) the image of NIH (img_id), whose number is the patient
    boxes_in   columns of the first table: x, y, width and height of a box; () = no boxes
    known      labels that a finding can be read from; another word removes the image. () = all words
    others     the other words of the release, if `known` has not all words
    """

    layout: str
    tables: tuple[LabelTable, ...]
    folder: str  # folder of the images, and the ending of their names
    ending: str
    opposite: tuple[tuple[str, str], ...] = ()
    headers: str = ""
    patients: str = ""
    boxes_in: tuple[str, ...] = ()
    box_finding: str = ""
    known: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    view: str = "FRONTAL"

    @property
    def SIGNATURE(self) -> tuple[str, ...]:  # noqa: N802  (the name that adapters have)
        """Return the names of the first table."""
        return self.tables[0].files

    @property
    def TOKENS(self) -> tuple[str, ...]:  # noqa: N802
        """Return all native labels that the layout names."""
        words = [word for table in self.tables for word in (table.words or {}).values()]
        return tuple(dict.fromkeys([*self.known, *words]))

    def read(self, root: Path) -> pd.DataFrame:
        """Return one row per image: the base columns, drop and "native:labels"."""
        texts: list[tuple[Path, pd.DataFrame]] = []
        for table in self.tables:
            file = require(root, self.layout, *table.files) if table.required else find(root, *table.files)
            if file is not None:
                texts.append((file, table.read(file).assign(split=table.split)))
        # the first table lists images, and each table of a split lists further images
        first = pd.concat([text for k, (_, text) in enumerate(texts) if k == 0 or text["split"].iloc[0]])
        image = first["image"][~first["image"].duplicated()]
        labels, fault, strays = self._labels(texts, image)
        people = first.drop_duplicates("image").set_index("image")
        facts = self._facts(root, image)
        columns = base_columns(
            image_id=image.to_numpy(),
            patient_id=self._patients(root, image, people),
            study_id=image.to_numpy(),
            path=self._paths(root, image, people),
            split=people["split"].to_numpy(),
            drop=self._drop(labels, people),
        )
        word = (people["view"] if "view" in people else facts["ViewPosition"]).reset_index(drop=True).fillna("")
        columns["view"] = recode(word, _VIEWS, "UNKNOWN").where(
            word != "", self.view if "view" not in people else "UNKNOWN"
        )
        stated = people[["sex", "age"]] if "age" in people else facts[["PatientSex", "PatientAge"]]
        sex, age = (stated[name].reset_index(drop=True) for name in stated)
        columns |= {**person(sex, age), LABELS: labels.to_numpy()}
        columns |= unknown_words(word, list(_VIEWS), "view")
        result = pd.DataFrame(columns)
        if (fault != "").any():
            result[FAULT] = fault.to_numpy()
        return with_bad_rows(result, strays)

    def _labels(
        self, texts: Iterable[tuple[Path, pd.DataFrame]], image: "pd.Series[str]"
    ) -> tuple["pd.Series[str]", "pd.Series[str]", list[str]]:
        """Return labels and fault text of each image, and the faults of rows whose image no first table lists."""
        tokens: dict[str, dict[str, None]] = {name: {} for name in image}
        fault: dict[str, str] = {}
        strays: list[str] = []
        for path, rows in texts:
            if not rows["image"].isin(image).any() and difference(rows["image"], image):
                what = f"no row belongs to an image of the first table: {examples(rows['image'], image)}"
                raise DatasetError(what, str(path), "use the files of one release as published")
            for line, name, text, bad in zip(rows.index, rows["image"], rows["labels"], rows[FAULT], strict=True):
                if name not in tokens:
                    unknown = f"{name!r} in column 'image' is not an image of the first table at {path.name}:{line}"
                    strays.append(bad or unknown)
                    continue
                tokens[name] |= dict.fromkeys(word for word in text.split("|") if word)
                pair = next((pair for pair in self.opposite if set(pair) <= set(tokens[name])), None)
                if pair and not bad:
                    bad = f"the image has the opposite labels {' and '.join(map(repr, pair))} at {path.name}:{line}"
                if bad:
                    fault.setdefault(name, bad)
        joined = pd.Series({name: "|".join(sorted(words)) for name, words in tokens.items()}, dtype=object)
        return joined, pd.Series([fault.get(name, "") for name in tokens], dtype=object), strays

    def _drop(self, labels: "pd.Series[str]", people: pd.DataFrame) -> Any:
        unknown = [bool(self.known) and not set(text.split("|")) <= set(self.known) for text in labels]
        other = ~people["modality"].isin(["X-ray", ""]) if "modality" in people else np.zeros(len(people), bool)
        return np.select([np.asarray(other), np.array(unknown)], ["no radiograph", "no mapped finding"], "")

    def _paths(self, root: Path, image: "pd.Series[str]", people: pd.DataFrame) -> list[str]:
        """Return the path of each image: in the folder that the table states, or else the file of this name below root."""
        if "folder" in people:
            return [f"{folder}/{name}" for folder, name in zip(people["folder"], image, strict=True)]
        files: dict[str, str] = {}
        for key, name in image_paths(root).items():
            other = files.setdefault(key.rpartition("/")[2], name)
            if other != name:
                what = f"one image is there twice: {other} and {name}"
                raise DatasetError(what, str(root), "keep one of the folders below `root:`")
        stem = image.str.replace(r"\.(?:png|jpe?g|dcm|dicom)$", "", regex=True, case=False)
        return [files.get(name) or f"{self.folder}/{name}{self.ending}" for name in stem]

    def _facts(self, root: Path, image: "pd.Series[str]") -> pd.DataFrame:
        """Return what the headers state about each image."""
        names = ["ViewPosition", "PatientSex", "PatientAge"]
        path = find(root, self.headers) if self.headers else None
        if path is None:
            return pd.DataFrame("", index=image, columns=names)
        return (
            read_text(path, ["PatientID", *names])
            .drop_duplicates("PatientID")
            .set_index("PatientID")[names]
            .reindex(image)
            .fillna("")
        )

    def _patients(self, root: Path, image: "pd.Series[str]", people: pd.DataFrame) -> Any:
        if "patientid" in people:
            return people["patientid"].to_numpy()
        path = root / self.patients
        if not self.patients or not path.is_file():
            return image.to_numpy()
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            of_image = {str(e["subset_img_id"]): str(int(str(e["img_id"]).partition("_")[0])) for e in entries}
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"not a list of images: {error!r}", str(path), "use the file as published") from error
        return np.array([of_image.get(name, name) for name in image], object)

    def boxes(self, root: Path) -> pd.DataFrame:
        """Return the boxes: image_id, finding, x_min, y_min, x_max, y_max in pixels of the file."""
        empty = pd.DataFrame(columns=["image_id", "finding", "x_min", "y_min", "x_max", "y_max"])
        if not self.boxes_in:
            return empty
        path = require(root, self.layout, *self.tables[0].files)
        raw = read_text(path, [self.tables[0].image, *self.boxes_in])
        raw = raw[(raw[FAULT] == "") & (raw[self.boxes_in[0]] != "")]
        line, raw = raw.index, raw.reset_index(drop=True)
        x, y, width, height = (numbers(raw[name]) for name in self.boxes_in)
        inside = (x >= 0) & (y >= 0) & (x + width <= FRAME_PX) & (y + height <= FRAME_PX)
        bad = raw[~(inside & (width > 0) & (height > 0))]
        if len(bad):
            what = f"the box of {bad[self.tables[0].image].iloc[0]!r} is outside its image, or has no area"
            raise DatasetError(what, f"{path}:{line[bad.index[0]]}", "correct the row, or remove it")
        values = (raw[self.tables[0].image], self.box_finding, x, y, x + width, y + height)
        return pd.DataFrame(dict(zip(empty, values, strict=True)))

    def box_frames(self, _root: Path, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
        """Return {image id: (1024, 1024)}, the size of the published images, for any size of the file."""
        return dict.fromkeys(images["image_id"], (FRAME_PX, FRAME_PX)) if self.boxes_in else {}

    def remarks(self, table: pd.DataFrame, root: Path) -> list[Remark]:
        """Return remarks on words that remove images, and on images that count as one patient each."""
        texts = table.loc[table["drop"] == "no mapped finding", LABELS] if self.known else ()
        strange = Counter(word for text in texts for word in text.split("|") if word not in (*self.known, *self.others))
        if strange:
            shown = ", ".join(f"{word!r} ({number:,})" for word, number in strange.most_common(5))
            found = f"images are left out because of words that the release does not have: {shown}"
            return [Remark("labels", found, "use the words of the release")]
        if not self.patients or (root / self.patients).is_file():
            return []
        found = f"no {self.patients}: each of {len(table):,} images counts as one patient of its own"
        fix = "put RSNA's file beside the tables (docs/real-data.md); without it, intervals are too narrow"
        return [Remark("patients", found, fix)]


rsna = TableSet(
    layout="rsna",
    tables=(
        LabelTable(files=("stage_2_train_labels.csv",), image="patientId", column="Target",
                   words={"1": "lung opacity", "0": "no lung opacity"}),
        LabelTable(files=("stage_2_detailed_class_info.csv",), image="patientId", column="class", required=False,
                   words={"Lung Opacity": "lung opacity", "Normal": "normal", "No Lung Opacity / Not Normal": "not normal"}),
    ),
    opposite=(("lung opacity", "no lung opacity"), ("lung opacity", "normal"), ("lung opacity", "not normal")),
    headers="kaggle_stage_2_train_images_dicom_headers.csv",
    patients="pneumonia-challenge-dataset-mappings_2018.json",
    boxes_in=("x", "y", "width", "height"),
    box_finding="Lung Opacity",
    folder="stage_2_train_images",
    ending=".dcm",
)  # fmt: skip
siim = TableSet(
    layout="siim",
    tables=(
        LabelTable(files=("train-rle.csv", "stage_2_train.csv", "siim-pneumothorax-train-rle.csv"), image="ImageId",
                   column="EncodedPixels", words={"-1": "no pneumothorax", "*": "pneumothorax"}),
    ),
    opposite=(("no pneumothorax", "pneumothorax"),),
    folder="dicom-images-train",
    ending=".dcm",
)  # fmt: skip
_PNEUMONIAS = (
    "pneumonia", "covid-19", "sars", "mers-cov", "ards", "viral", "bacterial", "fungal", "pneumocystis", "streptococcus", "chlamydophila",
    "e.coli", "klebsiella", "legionella", "mycoplasma", "influenza", "h1n1", "varicella", "herpes", "aspiration", "lipoid", "nocardia",
    "aspergillosis", "staphylococcus", "mrsa", "mycoplasma bacterial pneumonia", "herpes pneumonia", "aspiration pneumonia",
    "lobar pneumonia", "multilobar pneumonia", "round pneumonia", "swine-origin influenza a (h1n1) viral pneumonia",
)  # fmt: skip
covid = TableSet(
    layout="covid",
    tables=(LabelTable(files=("metadata.csv",), image="filename", column="finding"),),
    known=("no finding", *_PNEUMONIAS),
    others=("todo", "unknown", "tuberculosis"),
    opposite=tuple(("no finding", word) for word in _PNEUMONIAS),
    folder="images",
    ending=".png",
)
_PCXR = (
    "No finding", "Bronchitis", "Brocho-pneumonia", "Other disease", "Bronchiolitis", "Situs inversus", "Pneumonia", "Pleuro-pneumonia",
    "Diagphramatic hernia", "Tuberculosis", "Congenital emphysema", "CPAM", "Hyaline membrane disease", "Mediastinal tumor", "Lung tumor",
)  # fmt: skip
pcxr = TableSet(
    layout="pcxr",
    tables=tuple(
        LabelTable(files=(f"image_labels_{split}.csv", f"annotations/image_labels_{split}.csv"), image="image_id", split=split,
                   words={name: name.lower() for name in _PCXR})
        for split in ("train", "test")
    ),
    opposite=tuple(("no finding", name.lower()) for name in _PCXR[1:]),
    folder="train",
    ending=".dicom",
)  # fmt: skip
