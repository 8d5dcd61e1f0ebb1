"""Tests of damages that people and programs do to tables: each is named, or the dataset is read as before.

The damages are drawn by code: a way of writing, or an order of rows, in a column of a file. A plain run tries a sample; the rest is
`thorough`.
"""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from release_parts import FILES, on_disk

from harmonize import CohortSpec
from harmonize.checks.release import inspect
from harmonize.cohorts.cohort import Cohort
from harmonize.datasets import adapter
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import truth_of


class Damage(NamedTuple):
    """A change of the cells of a column (`column`), or of the bytes of a file; `rows`: the rows that are changed, "all" or "few"."""

    file: str  # a key of FILES
    column: str
    name: str
    change: Callable[[Any], Any]
    rows: str = "all"

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.file, self.column, self.name, self.rows)))


WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(33, 127)})
WRITINGS: dict[str, Callable[[str], str]] = {  # of an id
    "upper case": str.upper,
    "lower case": str.lower,
    "spaces": lambda text: f" {text} ",
    "quotes": lambda text: f"'{text}'",
    "double quotes": lambda text: f'"{text}"',
    "an apostrophe": lambda text: f"'{text}",
    "wide letters": lambda text: text.translate(WIDE),
    "leading zeros": lambda text: f"00{text}",
    "no leading zeros": lambda text: text.lstrip("0") or "0",
    "a float": lambda text: f"{text}.0" if text.isdigit() else text,
    "a decimal comma": lambda text: f"{text},0" if text.isdigit() else text,
    "thousands": lambda text: f"{int(text):,}" if re.fullmatch(r"\d{4,18}", text) else text,
    "another separator": lambda text: text.replace("_", "~").replace("-", "_").replace("~", "-"),
    "a no-break space": lambda text: f"{text}\u00a0",
    "a zero-width space": lambda text: f"\u200b{text}",
    "no ending": lambda text: re.sub(r"\.\w{3,4}$", "", text),
    "an ending": lambda text: f"{text}.png",
    "a folder": lambda text: f"images/{text}",
    "scientific": lambda text: f"{float(text):.5E}" if re.fullmatch(r"\d{12,}", text) else text,
    "Cyrillic": lambda text: text.replace("p", "р").replace("a", "а"),
}
ORDERS: dict[str, Callable[["pd.Series[str]"], "pd.Series[str]"]] = {
    "shifted": lambda cells: pd.Series([*cells.iloc[1:], cells.iloc[0]]),
    "ascending": lambda cells: cells.sort_values(),
    "descending": lambda cells: cells.sort_values(ascending=False),
    "reversed": lambda cells: cells[::-1],
}
IDS = {
    "nih": ("Image Index", "Patient ID"),
    "nih boxes": ("Image Index",),
    "chexpert": ("Path",),
    "brax": ("PngPath", "PatientID", "AccessionNumber"),
    "mimic": ("subject_id", "study_id"),
    "mimic metadata": ("dicom_id", "subject_id", "study_id"),
    "mimic people": ("subject_id",),
    "mimic split": ("dicom_id", "study_id", "subject_id"),
    "padchest": ("ImageID", "StudyID", "PatientID"),
    "vindr": ("image_id", "rad_id"),
    "vindr boxes": ("image_id",),
    "vindr people": ("image_id",),
    "openi": ("imageid",),
    "taixray": ("UID", "PatientID"),
    "taixray split": ("UID",),
    "rsna": ("patientId",),
    "rsna classes": ("patientId",),
    "rsna headers": ("PatientID",),
    "siim": ("ImageId",),
    "covid": ("patientid", "filename"),
    "pcxr": ("image_id",),
    "table": ("path", "patient_id"),
}
TWICE = (
    ("nih", "Patient ID"),
    ("nih", "Image Index"),
    ("chexpert", "Path"),
    ("brax", "PatientID"),
    ("brax", "PngPath"),
)
TWICE += (("mimic", "study_id"), ("mimic", "subject_id"), ("mimic split", "dicom_id"), ("mimic split", "subject_id"))
WORDS = {  # words in a column of labels that no release has
    ("nih", "Finding Labels"): "effusion;EFFUSION;Effusions;Effusion, Mass;NoFinding;none;Derrame;1;nan",
    (
        "padchest",
        "Labels",
    ): "normal;['norml'];['pleural efusion'];['derrame'];['Pleural-Effusion'];[normal];('normal',);['no pneumonia']",
    ("rsna", "Target"): "yes;True;2;-1;positive;01",
    ("rsna classes", "class"): "normal;NORMAL;Lung opacity;No Lung Opacity/Not Normal",
    ("siim", "EncodedPixels"): "0;nan;none;-1 -1;NaN;mask",
    ("covid", "finding"): "no_finding;normal;Pneumonia/Viral/COVID19;COVID;Pneumonia, viral?;Negative;none;No  Finding",
    ("taixray", "HeartSize"): "5;-1;mild;1.5;yes;nan",
    ("vindr boxes", "class_name"): "nodule/mass;Nodule / Mass;Nodule;Lung nodule;14;Mass",
    ("nih boxes", "Finding Label"): "effusion;Effusion ;PLEURAL;efusion",
    ("table", "native:Pneumonia"): "yes;2;-1;TRUE;x;pos",
}
STATES: dict[str, Callable[[str], str]] = {  # of all labels of the table
    "blanks are 0": lambda text: text or "0.0",
    "blanks are -1": lambda text: text or "-1.0",
    "uncertain is 1": lambda text: text.replace("-1.0", "1.0"),
    "uncertain is 0": lambda text: text.replace("-1.0", "0.0"),
    "uncertain is blank": lambda text: text.replace("-1.0", ""),
    "percentages": lambda text: {"1.0": "100", "1": "100"}.get(text, text),
    "words": lambda text: {"1.0": "yes", "1": "yes", "0.0": "no", "0": "no"}.get(text, text),
    "NULL": lambda text: text or "NULL",
    "halves": lambda text: {"-1.0": "0.5", "1": "0.5"}.get(text, text),
    "exchanged": lambda text: {"1.0": "0.0", "0.0": "1.0", "1": "0", "0": "1"}.get(text, text),
}
PEOPLE = {  # file: columns of sex, age and view
    "nih": ("Patient Sex", "Patient Age", "View Position"),
    "chexpert": ("Sex", "Age", "Frontal/Lateral"),
    "brax": ("PatientSex", "PatientAge", "ViewPosition"),
    "mimic people": ("gender", "anchor_age", ""),
    "mimic metadata": ("", "", "ViewPosition"),
    "padchest": ("PatientSex_DICOM", "PatientBirth", "Projection"),
    "vindr people": ("sex", "age", ""),
    "openi": ("", "", "View Position"),
    "rsna headers": ("PatientSex", "PatientAge", "ViewPosition"),
    "covid": ("sex", "age", "view"),
    "taixray": ("Sex", "Age", ""),
    "table": ("sex", "age", "view"),
}
FACTS: tuple[dict[str, Callable[[str], str]], ...] = (
    {
        "lower case": str.lower,
        "a space": lambda text: f"{text} ",
        "numbers": lambda text: {"M": "1", "F": "0", "Male": "1", "Female": "0"}.get(text, text),
        "German": lambda text: {"F": "W", "Female": "W"}.get(text, text),
    },
    {
        "999": lambda _: "99999999",
        "negative": lambda text: f"-{text}",
        "a unit": lambda text: f"{text} years",
        "a date": lambda _: "1960-05-03",
        "unknown": lambda _: "unknown",
        "a comma": lambda text: f"{text},5",
        "wide": lambda text: text.translate(WIDE),
    },
    {"lower case": str.lower, "a space": lambda text: f"{text} ", "dots": ".".join, "German": lambda _: "seitlich"},
)
BOXES: dict[str, Callable[[str], str]] = {
    "negative": lambda _: "-50",
    "text": lambda _: "a",
    "blank": lambda _: "",
    "a comma": lambda _: "1,5",
    "nan": lambda _: "nan",
    "zero": lambda _: "0",
    "a space": lambda text: f" {text} ",
}
CORNERS = {"nih boxes": ("w", "h]"), "vindr boxes": ("x_max", "y_max")}
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "semicolons": lambda content: content.replace(b",", b";"),
    "tabs": lambda content: content.replace(b",", b"\t"),
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "blank lines": lambda content: content.replace(b"\n", b"\n\n", 5),
    "a second header": lambda content: content + content.split(b"\n")[0] + b"\n",
    "truncated": lambda content: content[: len(content) // 2],
    "a repeated row": lambda content: content + content.split(b"\n")[3] + b"\n",
    "open quotes": lambda content: content.replace(b"\n", b'\n"', 4),
    "NUL": lambda content: content.replace(b"\n", b"\n\0", 4),
    "a comment": lambda content: b"# exported\n" + content,
    "a separator line": lambda content: b"sep=,\n" + content,
    "no header": lambda content: content.split(b"\n", 1)[1],
    "an index": lambda content: b"\n".join(
        b"%d,%b" % pair if pair[1] else b"" for pair in enumerate(content.split(b"\n"))
    ),
    "a merge conflict": lambda content: content + b"<<<<<<< HEAD\n",
    "a login page": lambda _: b"<!DOCTYPE html><html>login</html>",
    "empty": lambda _: b"",
    "another order": lambda c: b"\n".join([c.split(b"\n")[0], *reversed(c.strip().split(b"\n")[1:])]) + b"\n",
}


def _damages() -> Iterator[Damage]:
    for file, columns in IDS.items():
        for column in columns:
            of_patient = re.search("(?i)patient|subject", column) and file != "rsna"
            for k, (name, change) in enumerate(WRITINGS.items()):
                if of_patient and name in ("a folder", "an ending"):
                    continue
                yield Damage(file, column, name, change, ("all", "few")[(k + len(column)) % 2])
    yield from _damages_of_cells()
    for file in (name for name, path in FILES.items() if not path.endswith(".gz")):
        yield from (Damage(file, "", name, change, "bytes") for name, change in BYTES.items())


def _damages_of_cells() -> Iterator[Damage]:
    for file, column in TWICE:
        yield from (Damage(file, column, name, change, "order") for name, change in ORDERS.items())
    for (file, column), words in WORDS.items():
        yield from (Damage(file, column, word, lambda _, word=word: word, "few") for word in words.split(";"))
    for file in ("chexpert", "brax", "mimic", "vindr"):
        yield from (Damage(file, "labels", name, change) for name, change in STATES.items())
    for file, columns in PEOPLE.items():
        for column, changes in zip(columns, FACTS, strict=True):
            yield from (Damage(file, column, name, change, "few") for name, change in changes.items() if column)
    for file, columns in CORNERS.items():
        for column in columns:
            yield from (Damage(file, column, name, change, "few") for name, change in BOXES.items())


DAMAGES = random.Random(3).sample(list(_damages()), 400)


def spec(layout: str, root: Path) -> CohortSpec:
    return CohortSpec(layout, layout, root, *(("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()))


def facts(cohort: Cohort) -> tuple[object, ...]:
    """Return what the program uses of a cohort: facts and labels of each image, patients as groups of images, and boxes."""
    table = cohort.table.sort_values("path")
    ids = ("image_id", "patient_id", "study_id", "device")
    used = [name for name in table if name not in ids and not str(name).startswith("native:")]
    patients = frozenset(frozenset(paths) for _, paths in table.groupby("patient_id")["path"])
    truth = truth_of(cohort.layout, cohort.root, table)
    masks = {
        path: {name: np.argwhere(mask).tolist() for name, mask in truth.masks(image, (40, 40)).items()}
        for image, path in zip(table["image_id"], table["path"], strict=True)
        if truth.located
    }
    return table[sorted(used)].astype(str).to_dict("list"), patients, masks


@cache
def undamaged(layout: str, folder: Path) -> tuple[Path, tuple[object, ...]]:
    root = folder / layout
    cohort, checks = inspect(on_disk(layout, root))
    assert cohort is not None
    assert [check for check in checks if check.level in ("fault", "warning")] == []
    return root, facts(cohort)


def damaged(path: Path, damage: Damage) -> bool:
    """Damage a file; return whether it changed."""
    old = path.read_bytes()
    if damage.rows == "bytes":
        path.write_bytes(damage.change(old))
        return path.read_bytes() != old
    table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    before = table.copy()
    names = (
        [name for name in table if name in adapter(damage.file).LABELS]
        if damage.column == "labels"
        else [damage.column]
    )
    for name in names:
        cells = table[name]
        if damage.rows == "order":
            table[name] = damage.change(cells).to_numpy()
        else:
            few = range(5, 9) if damage.rows == "few" else range(len(cells))
            table[name] = [damage.change(cell) if k in few else cell for k, cell in enumerate(cells)]
    table.to_csv(path, index=False)
    if damage.file.startswith("nih"):  # the published headers have unquoted commas
        head, _, rows = path.read_text(encoding="utf-8").partition("\n")
        path.write_text(head.replace('"', "") + "\n" + rows, encoding="utf-8")
    return not table.equals(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undamaged")


@pytest.mark.parametrize(
    "damage",
    [pytest.param(d, id=d.id, marks=[pytest.mark.thorough] if k % 16 else []) for k, d in enumerate(DAMAGES)],
)
def test_a_damage_is_named_or_undone(damage: Damage, folder: Path, tmp_path: Path) -> None:
    layout = damage.file.partition(" ")[0]
    source, expected = undamaged(layout, folder)
    shutil.copytree(source, tmp_path / layout)
    if not damaged(tmp_path / layout / FILES[damage.file], damage):
        return
    cohort, checks = inspect(spec(layout, tmp_path / layout))
    if any(check.level in ("fault", "warning") for check in checks):
        return
    assert cohort is not None
    try:
        found = facts(cohort)
    except DatasetError:  # a file of boxes that cannot be read
        return
    assert found == expected
