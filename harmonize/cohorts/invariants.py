"""Check what must agree in every part of a dataset: facts that a row states twice, one value per study, states that occur.

The rules hold exactly in the published tables, or in all rows except a share of them. They need no counts of the release,
so they hold for a part of it, too. A row that breaks an exact rule cannot be used; every other finding is a remark.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from harmonize.cohorts import label_mapping
from harmonize.datasets import FAULT, LABELS, TABLE, Remark, adapter, native
from harmonize.datasets.csvfile import MAX_AGE_YEARS, extract_groups, find, first_fault, read_text
from harmonize.datasets.ids import difference, look, occurs_in, refuse_rounded
from harmonize.errors import DatasetError
from harmonize.labels.findings import (
    ABSENT,
    FINDINGS,
    NO_FINDING,
    NOT_MENTIONED,
    PRESENT,
    UNCERTAIN,
    labels_yaml,
)

_FIX = "use the files as published: a column may be shifted, sorted alone, or filled by a program"


class Twice(NamedTuple):
    """A fact that a row states twice: in the column `column`, and in the group `text` of `pattern` in the column `source`.

    what: the text for a row in which the two differ
    most: share of the rows that may differ without a remark; None: a row that differs cannot be used
    """

    what: str
    column: str
    source: str
    pattern: str
    most: float | None = None


class OnePerStudy(NamedTuple):
    """Columns with one value for all images of a study; `most`: share of the studies of the release that have several."""

    what: str
    columns: tuple[str, ...]  # "native:" stands for all native labels
    most: float = 0.0


class SideTable(NamedTuple):
    """A file whose column `key` has ids that must be written as in the column `column` of the native table.

    least: share of the images that have a row in the release, at least; 0: only some images have one
    """

    files: tuple[str, ...]
    key: str
    column: str = "image_id"
    least: float = 0.0


_VIEW = Twice(
    "the view is not that in the file name", "view", "path", r"(?i)(?:^|[^a-z])(?P<text>frontal|lateral)(?:[^a-z]|$)"
)
TWICE = {
    "nih": (Twice("Patient ID is not the patient in Image Index", "patient_id", "image_id", r"^0*(?P<text>\d+)_\d+"),),
    "chexpert": (_VIEW,),
    "brax": (
        _VIEW,
        Twice("PatientID is not the patient in PngPath", "patient_id", "path", r"^images/(?:id_)?(?P<text>[^/]+)/"),
    ),
    "openi": (
        Twice("the number of the report is not that in the image id", "patient_id", "image_id", r"^(?P<text>CXR\d+)_"),
    ),
    "padchest": (Twice("StudyID is not the study in ImageID", "study_id", "image_id", r"^(?P<text>\d{20,})_", 0.5),),
    "guangzhou": (
        Twice(
            "the folder is not that of the file name",
            LABELS,
            "path",
            r"(?i)/(?P<text>person|bacteria|virus|normal|im-)[^/]*$",
        ),
    ),
    "tbx11k": (Twice("the folder is not that of the file name", LABELS, "path", r"(?i)/(?P<text>h|s|tb)\d+[^/]*$"),),
    TABLE: (_VIEW._replace(most=0.0),),
}
_WORDS = {  # words of a second statement -> word of the native table
    "guangzhou": {"person": "pneumonia", "bacteria": "pneumonia", "virus": "pneumonia", "im-": "normal"},
    "tbx11k": {"h": "normal", "s": "sick without tuberculosis", "tb": "tuberculosis"},
}
_LABELS = OnePerStudy("labels", ("native:",))
ONE_PER_STUDY = {
    "chexpert": (_LABELS, OnePerStudy("ages", ("age",)), OnePerStudy("sexes", ("sex",))),
    "brax": (_LABELS, OnePerStudy("patients", ("patient_id",)), OnePerStudy("ages", ("age",), 0.01)),
    "mimic": (OnePerStudy("patients", ("patient_id",)),),
    "padchest": (_LABELS, OnePerStudy("patients", ("patient_id",), 1e-3), OnePerStudy("ages", ("age",), 0.01)),
}
LABELER = ("chexpert", "mimic", "brax")  # layouts of the CheXpert labeler: blank, 1, 0 and -1
# share of the studies that have a label in this state, at least; in train.csv of CheXpert: 100 %, 38 % and 44 %
OCCURS = {NOT_MENTIONED: ("blank", 0.9), UNCERTAIN: ("-1 (uncertain)", 0.2), ABSENT: ("0 (absent)", 0.2)}
_SEVERAL = 20  # so many people, or more, do not all have the same age
_BY_CHANCE = 1e-3  # a state counts as missing if the probability of its absence by chance is smaller
_LEAST_BLANK = 0.4  # share of blank cells of the label that CheXpert mentions most often (Pleural Effusion)
# layout -> labels that may be present together with "No Finding", states that no further label has, `most` of the rule
_LABELER_ALONE = (("Support Devices",), (PRESENT,), 0.0)
ALONE: dict[str, tuple[tuple[str, ...], tuple[int, ...], float | None]] = {
    "nih": ((), (PRESENT,), None),
    "openi": (("technical quality of image unsatisfactory",), (PRESENT,), 0.0),
    "padchest": (("unchanged", "exclude", "suboptimal study"), (PRESENT,), 0.05),
    "chexpert": (("Support Devices",), (PRESENT, UNCERTAIN), None),
    "vindr": ((), (PRESENT,), 0.05),
    "mimic": _LABELER_ALONE,
    "brax": _LABELER_ALONE,
}
SIDE_TABLES = {
    "vindr": (SideTable(("people.csv", "annotations/people.csv"), "image_id", least=0.99),),
    "mimic": (
        SideTable(("patients.csv", "hosp/patients.csv"), "subject_id", "patient_id", 0.5),
        SideTable(("mimic-cxr-*-split.csv",), "dicom_id", least=0.99),
    ),
    "taixray": (SideTable(("metadata/split.csv", "split.csv"), "UID", least=0.99),),
    "rsna": (SideTable(("kaggle_stage_2_train_images_dicom_headers.csv",), "PatientID", least=0.99),),
    "openi": (SideTable(("nlmcxr_dicom_metadata.csv",), "imageid", least=0.99),),
}
# share of the boxes whose image may not have the label: each box of VinDr is of one reader, and the label of the majority. In the
# published boxes, the largest share of a finding is .67 (Atelectasis)
BOXES_WITHOUT_LABEL = {"nih": 0.0, "rsna": 0.0, "tbx11k": 0.0, "vindr": 0.7}
_YOUNGEST = {"vindr": 1}  # only adults: 0 means unknown


# text of a rule, rows that break it, and the share that may break it (None: such a row cannot be used)
Broken = tuple[str, "pd.Series[bool]", float | None]


def checked(
    table: pd.DataFrame, layout: str, root: Path, source: str, phantom: bool
) -> tuple[pd.DataFrame, list[Remark]]:
    """Return the native table with faults of rows that break an exact rule, and remarks about all other rules.

    Ages outside 0 to 120 become unknown. `source`: the label source; rules about labels hold for the labels of the release only.
    """
    usable = pd.Series(True, table.index)
    for column in {FAULT, "drop"} & set(table):
        usable &= table[column] == ""
    if not usable.any():
        return table, []
    rows = table[usable]
    remarks = list[Remark]()
    fault = pd.Series("", table.index, dtype=object)
    for what, broken, most in _broken(rows, layout, source):
        images = rows.loc[broken, "image_id"]
        if most is None:
            fault.loc[images.index] = f"{what} at " + images
        elif _too_many(len(images), most, len(rows)):
            remark = Remark("rows", f"{what} in {len(images):,} of {len(rows):,} rows, e.g. {images.iloc[0]}", _FIX)
            remarks.append(remark)
    if (fault != "").any():
        old = table[FAULT] if FAULT in table else pd.Series("", table.index, dtype=object)
        table = table.assign(**{FAULT: first_fault(old, fault)})
    ages = table["age"].where(table["age"].between(_YOUNGEST.get(layout, 0), MAX_AGE_YEARS))
    remarks += _ages(table.loc[usable, "age"], ages, layout)
    table = table.assign(age=ages)
    remarks += _one_per_study(rows, layout)
    if layout in LABELER and source == "default" and not phantom:
        remarks += _missing_states(rows[~rows["split"].str.startswith("expert_")])
    if not phantom:
        remarks += [*_side_tables(table, layout, root), *_boxes(table, layout, root)]
    return table, remarks


def _ages(stated: "pd.Series[float]", kept: "pd.Series[float]", layout: str) -> Iterator[Remark]:
    """Yield remarks about stated ages that are not kept, and about equal ages of all images."""
    other = stated[kept[stated.index].isna()].dropna()
    if len(other):
        found = f"{len(other):,} of {len(kept):,} are outside {_YOUNGEST.get(layout, 0)} to {MAX_AGE_YEARS} years, e.g. {other.iloc[0]:g}"
        yield Remark("ages", found, "correct these ages; they count as unknown")
    if kept.count() >= _SEVERAL and kept.min() == kept.max():
        yield Remark(
            "ages", f"all {kept.count():,} ages are {kept.max():g} years", "correct the ages, or leave them blank"
        )


def _too_many(number: int, share: float, total: int) -> bool:
    """Return whether a part of a dataset has more such rows than `share` of it and chance (three standard deviations) explain."""
    return number > share * total + 3 * math.sqrt(share * (1 - share) * total)


def _broken(rows: pd.DataFrame, layout: str, source: str) -> Iterator[Broken]:
    """Yield the text of each rule about rows, the rows that break it, and the share that may break it."""
    for rule in TWICE.get(layout, ()):
        stated = rows[rule.column].astype(str).str.removeprefix("id_")
        again = extract_groups(rows[rule.source], rule.pattern)["text"].str.lower()
        if rule.column == "view":
            stated = stated.map({"UNKNOWN": "", "LATERAL": "lateral"}).fillna("frontal")
        again = again.replace(_WORDS.get(layout, {}))
        differs = again.notna() & (stated != "") & (again != stated)
        if differs.any():
            differs &= again.fillna("").map(look) != stated.map(look)
        yield rule.what, differs, rule.most
    if layout in ALONE and source == "default":
        yield from _not_alone(rows, *ALONE[layout])
    # the first table of NIH has ages such as 412 and 6 months
    if layout == "nih" and (rows["age"].isna() | ((rows["age"] <= MAX_AGE_YEARS) & (rows["age"] % 1 == 0))).all():
        order = pd.to_numeric(rows["study_id"].str.rpartition("/")[2], errors="coerce")
        sorted_rows = rows.assign(order=order).sort_values(["patient_id", "order"], kind="stable")
        younger = sorted_rows.groupby("patient_id")["age"].diff().reindex(rows.index) < 0
        yield "a patient is younger than at the study before", younger, 0.0


def _not_alone(
    rows: pd.DataFrame, besides: tuple[str, ...], states: tuple[int, ...], most: float | None
) -> Iterator[Broken]:
    """Yield the rules of "No Finding": no other label has one of `states`, and the labeler of LABELER never writes 0 or -1."""
    text = "the image has No Finding together with another label"
    if LABELS in rows:
        healthy = {"No Finding", "normal"}
        sets = {cell: set(cell.split("|")) - set(besides) for cell in rows[LABELS].unique()}
        yield (
            text,
            rows[LABELS].isin([cell for cell, words in sets.items() if words & healthy and len(words) > 1]),
            most,
        )
        return
    by_labeler = ~rows["split"].str.startswith("expert_")
    natives = {str(name).removeprefix("native:"): name for name in rows if str(name).startswith("native:")}
    states_of = {label: name for label, name in natives.items() if label not in besides}
    no_finding = rows[states_of.pop(NO_FINDING if NO_FINDING in states_of else "No finding")]
    healthy_rows = rows.index[by_labeler & no_finding.eq(PRESENT).fillna(False)]
    together = rows.loc[healthy_rows, list(states_of.values())].isin(list(states)).any(axis=1)
    yield text, together.reindex(rows.index, fill_value=False), most
    if no_finding.name == native(NO_FINDING):
        text = "No Finding is 0 or -1, which the labeler never writes,"
        yield text, by_labeler & no_finding.isin([ABSENT, UNCERTAIN]), 0.0


def _one_per_study(rows: pd.DataFrame, layout: str) -> Iterator[Remark]:
    """Yield a remark for each rule of ONE_PER_STUDY that the table breaks."""
    for rule in ONE_PER_STUDY.get(layout, ()):
        columns = [name for name in rows if str(name).startswith(rule.columns)]
        key = ["split", "study_id"]
        distinct = rows[[*key, *columns]].drop_duplicates()
        differing = distinct.loc[distinct.duplicated(key), "study_id"].unique()
        total = rows["study_id"].nunique()
        if _too_many(len(differing), rule.most, total):
            found = (
                f"{len(differing):,} of {total:,} studies have images with different {rule.what}, e.g. {differing[0]}"
            )
            yield Remark("studies", found, f"{_FIX}: the images of a study have one report")


def _missing_states(rows: pd.DataFrame) -> Iterator[Remark]:
    """Yield a remark for each state that many studies of the release have, and this table does not, in all labels or in one."""
    studies = rows["study_id"].nunique()
    states = rows[[name for name in rows if str(name).startswith("native:")]]
    for state, (text, share) in OCCURS.items():
        if (1 - share) ** studies < _BY_CHANCE and not states.eq(state).any(axis=None):
            found = f"none of {states.size:,} cells is {text}, but {share:.0%} or more of the studies of the release have such a cell"
            yield Remark("labels", found, f"{_FIX}; the policies for such cells compare nothing")
    blank = states.eq(NOT_MENTIONED)
    filled = [str(name)[7:] for name in states if not blank[name].any()]
    if filled and blank.any(axis=None) and (1 - _LEAST_BLANK) ** studies < _BY_CHANCE:
        found = f"no cell of {', '.join(filled)} is blank, but {_LEAST_BLANK:.0%} or more are in the release"
        yield Remark("labels", found, _FIX)


def _side_tables(table: pd.DataFrame, layout: str, root: Path) -> Iterator[Remark]:
    """Yield a remark for each file of SIDE_TABLES whose ids are written otherwise than in the table, or match no id of the table."""
    for side in SIDE_TABLES.get(layout, ()):
        if (path := find(root, *side.files)) is None:
            continue
        try:
            ids = read_text(path, [side.key], may_be_empty=True)[side.key]
        except DatasetError:  # the adapter reports the file
            continue
        refuse_rounded(ids, side.key, path)
        ids_of_images = table[side.column]
        without = ids_of_images[~occurs_in(ids_of_images, ids)]
        strange = [*_strange(path.name, ids, ids_of_images)]
        yield from strange
        if not strange and len(without) > (1 - side.least) * len(ids_of_images):
            found = f"{len(without):,} of {len(ids_of_images):,} images have no row, e.g. {without.iloc[0]}"
            yield Remark(
                path.name, found, "use the file of the same release; without a row, nothing is stated about an image"
            )


def _strange(what: str, ids: "pd.Series[str]", ids_of_images: "pd.Series[str]") -> Iterator[Remark]:
    """Yield a remark if ids match no image of the table because they are written otherwise."""
    strange = ids[~occurs_in(ids, ids_of_images)]
    if len(strange) and (text := difference(strange.unique(), ids_of_images)):
        found = (
            f"{len(strange):,} of {len(ids):,} rows ({len(strange) / len(ids):.0%}) match no image of the table: {text}"
        )
        yield Remark(what, found, "write the ids as in the table of images")


def _boxes(table: pd.DataFrame, layout: str, root: Path) -> Iterator[Remark]:
    """Yield remarks about boxes without an area, of a class that the release does not have, or of findings that the image does not have."""
    module = adapter(layout)
    if not hasattr(module, "boxes"):
        return
    try:
        drawn = module.boxes(root)
    except DatasetError:  # `check_positions` reports it
        return
    corners = drawn[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float)
    is_box = (corners[:, 2:] > corners[:, :2]).all(axis=1) & (corners.min(axis=1) >= 0) & (corners.max(axis=1) > 1)
    if len(other := drawn[~is_box & drawn["image_id"].isin(table["image_id"])]):
        found = f"{len(other):,} of {len(drawn):,} are no boxes in pixels, e.g. of {other['image_id'].iloc[0]}"
        yield Remark("boxes", found, "write x and y in pixels, the smaller before the larger")
    yield from _strange("boxes", drawn["image_id"].astype(str), table["image_id"])
    boxes = drawn[["image_id", "finding"]].astype(str).drop_duplicates()
    known = {
        *FINDINGS,
        getattr(module, "box_finding", ""),
        *getattr(module, "LABELS", ()),
        *getattr(module, "TOKENS", ()),
    }
    known |= {word.strip() for word in labels_yaml()["vocabulary"].get(layout, "").split(",")}
    unknown = boxes.loc[~boxes["finding"].isin(known), "finding"].value_counts()
    if len(unknown):
        shown = ", ".join(f"{word!r} ({number:,})" for word, number in unknown.head(5).items())
        yield Remark(
            "boxes",
            f"classes that the release does not have: {shown}",
            "correct the class; such boxes belong to no finding",
        )
    if layout not in BOXES_WITHOUT_LABEL:
        return
    rows = table[table["image_id"].isin(boxes["image_id"])].drop_duplicates("image_id").set_index("image_id")
    names = [name for name in FINDINGS if name in set(boxes["finding"])]
    states = label_mapping.apply(rows, layout, "default", names).set_axis(rows.index).eq(ABSENT).fillna(False)
    words = rows.get(LABELS, pd.Series(dtype=object)).str.split("|")  # also of labels that are no finding
    tokens = set(getattr(module, "TOKENS", ()))
    pairs = boxes[boxes["finding"].isin([*names, *tokens]) & boxes["image_id"].isin(rows.index)]
    absent = [states.loc[i, f] if f in names else f not in words[i] for i, f in pairs.itertuples(index=False)]
    wrong = pairs[np.array(absent, bool)]
    if _too_many(len(wrong), BOXES_WITHOUT_LABEL[layout], len(pairs)):
        image, finding = wrong.iloc[0]
        found = f"{len(wrong):,} of {len(pairs):,} boxes are of a finding that is absent by the labels, e.g. {finding} in {image}"
        yield Remark("boxes", found, _FIX)
