"""Read what single readers answered: one row for each image or study and reader.

`panels(layout, root)` returns the readers of a published dataset, `own_panel(path)` those of a table of your own. Forms:

    CheXpert  radiologists/{groundtruth,benchmark_radiologists}/bc*.csv: a file for each of eight readers, with the columns of
              groundtruth.csv; github.com/rajpurkarlab/cheXpert-test-set-labels
    VinDr     annotations/image_labels_train.csv with the column rad_id
    NIH       four_findings_expert_labels/individual_readers.csv (22 readers, two or three for each image) and
              all_findings_expert_labels/test_individual_readers.csv (five readers); HEDGE means uncertain
    own       image_id, reader, and a column for each finding with the cells 1, 0, -1 (uncertain) or blank
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from harmonize.cohorts import label_mapping
from harmonize.datasets import FAULT, chexpert, native, nih, vindr
from harmonize.datasets.csvfile import (
    STATES,
    extract_groups,
    faults,
    find,
    first_fault,
    header,
    read_text,
    require_whole,
    states_array,
)
from harmonize.datasets.ids import difference, examples, occurs_in
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, ALL_FINDINGS, PRESENT, UNCERTAIN, UNMAPPED_CODE

IMAGE, STUDY, READER = "image_id", "study_id", "reader"
ONE, FOUR, ALL = "radiologists", "four findings", "all findings"  # names of panels
_ANSWERS = {"YES": PRESENT, "NO": ABSENT, "HEDGE": UNCERTAIN}
_FOUR = {"Nodule/mass": "Nodule or mass"}  # the other file of labels has another name
_CHEXPERT = ("", "CheXpert", "cheXpert-test-set-labels", "CheXpert/cheXpert-test-set-labels")


class Panel(NamedTuple):
    """The answers of a group of readers to the same questions.

    table: the column `key` (image_id or study_id), `reader`, and an Int8 column of states for each label. layout, source:
    how labels become findings; layout "" if the columns are findings. path: the file, or the folder of the files.
    """

    name: str
    key: str
    layout: str
    source: str
    path: Path
    table: pd.DataFrame

    def states(self, findings: Sequence[str]) -> pd.DataFrame:
        """Return key, reader, and the state of each finding in the answers; null if the readers were not asked."""
        if not self.layout:
            labels = self.table.reindex(columns=list(findings)).astype("Int8")
        else:
            own = label_mapping.has_own_labels(self.layout, self.source)
            named = self.table.drop(columns=[self.key, READER]).rename(
                columns=lambda name: f"{self.source}:{name}" if own else native(str(name))
            )
            labels = label_mapping.apply(named, self.layout, "default", findings, self.source)
        return pd.concat([self.table[[self.key, READER]], labels], axis=1)


def panels(layout: str, root: Path) -> list[Panel]:
    """Return the panels of readers whose files are in the folder of a published dataset, [] without any."""
    if layout == "chexpert":
        files = [file for name in _CHEXPERT for file in sorted((root / name).glob("radiologists/*/*.csv"))]
        return [_of_files(files)] if files else []
    if layout == "vindr":
        votes = find(root, "annotations/image_labels_train.csv")
        if votes is not None and "rad_id" in header(votes):
            rows = read_text(votes, [IMAGE, "rad_id"], vindr.LABELS).rename(columns={"rad_id": READER})
            return [_panel(ONE, IMAGE, layout, "default", votes, rows)]
        return []
    if layout == "nih":
        found = []
        for name, source, file in (
            (FOUR, "expert", "individual_readers"),
            (ALL, "all_findings", "test_individual_readers"),
        ):
            folder = nih.FOLDERS[source]
            path = find(root, f"{folder}/{file}.csv", f"{folder}/{folder}_{file}.csv", f"{folder}_{file}.csv")
            found += [_of_google(name, source, path)] if path is not None else []
        return found
    return []


def own_panel(path: Path) -> Panel:
    """Return the readers of a table of your own. Raises DatasetError for an unknown column or a cell of another form."""
    columns = [name for name in header(path) if name not in (IMAGE, STUDY, READER)]
    for name in columns:
        if name not in ALL_FINDINGS:
            fix = f"{DatasetError.hint(name, ALL_FINDINGS)}use names of findings, or remove the column"
            raise DatasetError(f"the column {name!r} is no finding", str(path), fix)
    key = STUDY if IMAGE not in header(path) and STUDY in header(path) else IMAGE
    return _panel(ONE, key, "", "", path, read_text(path, [key, READER], columns))


def matched(panel: Panel, cohort: pd.DataFrame, name: str) -> tuple[pd.DataFrame, int]:
    """Return the rows of a panel whose image or study is in a cohort table, and the number of the other rows.

    A cohort may be a part of a dataset. Raises DatasetError if it has no row, if an id of the panel has another form than in
    the cohort, such as another case, or if studies of several patients have the same id.
    """
    ids, known = panel.table[panel.key], cohort[panel.key].astype(str)
    is_known = occurs_in(ids, known)
    strange = ids[~is_known]
    # a folder is a part of an id: studies of different patients have the name study1
    whole = [of.str.replace("/", "|") for of in (strange, known)]
    if len(strange) and (changed := difference(*whole).replace("|", "/")):
        what = f"an id of a reader's answer is written in another way than in {name}: {changed}"
    elif not is_known.any():
        what = f"no answer of a reader is of an image of {name}: {examples(ids, known)}"
    elif (
        panel.key == STUDY and cohort[known.isin(ids)].drop_duplicates([STUDY, "patient_id"])[STUDY].duplicated().any()
    ):
        fix = f"name images instead, in the column {IMAGE}"
        raise DatasetError(f"patients of {name} have studies with the same {STUDY}", str(panel.path), fix)
    else:
        return panel.table[is_known], len(strange)
    where = f"{panel.path}, row {strange.index[0]}" if panel.path.is_file() else str(panel.path)
    raise DatasetError(what, where, f"write {panel.key} as in the cohort, or remove the file")


def _panel(name: str, key: str, layout: str, source: str, path: Path, rows: pd.DataFrame) -> Panel:
    """Return a panel without repeated rows. Raises DatasetError for rows that cannot be used or contradict each other."""
    require_whole(rows, path)
    rows = rows.drop(columns=FAULT)
    rows[READER] = rows[READER].str.strip()
    blank = (rows[READER] == "") | (rows[key] == "")
    if blank.any():
        raise DatasetError(
            f"no {key} or no reader", f"{path}, row {rows.index[blank.to_numpy()][0]}", "complete the row, or remove it"
        )
    rows = rows[~rows.duplicated()]
    twice = rows.duplicated([key, READER], keep=False)
    if twice.any():
        first = rows[twice].iloc[0]
        same = (rows[[key, READER]] == first[[key, READER]]).all(axis=1)
        lines = " and ".join(map(str, rows.index[same][:2]))
        what = f"reader {first[READER]} gave two different answers about {first[key]}"
        raise DatasetError(what, f"{path}, rows {lines}", "keep one of the rows")
    return Panel(name, key, layout, source, path, rows)


def _of_files(files: Sequence[Path]) -> Panel:
    """Return the panel of CheXpert's test set from a file for each reader; the file's name is the reader."""
    tables = []
    for file in files:
        rows = read_text(file, ["Study"], chexpert.LABELS).rename(columns={"Study": STUDY})
        named = extract_groups(rows[STUDY], r"(?P<study>patient\d+/study\d+)")["study"]
        fault = faults(named.isna(), rows[STUDY], "Study", "of the form CheXpert-v1.0/test/patient64741/study1", file)
        rows = rows.assign(**{STUDY: named.fillna(""), FAULT: first_fault(rows[FAULT], fault)})
        rows[READER] = file.stem
        tables.append(_panel(ONE, STUDY, "chexpert", "default", file, rows).table)
    table = pd.concat(tables)[[STUDY, READER, *chexpert.LABELS]]
    return Panel(ONE, STUDY, "chexpert", "default", files[0].parent.parent, table)


def _of_google(name: str, source: str, path: Path) -> Panel:
    """Return a panel of Google's readers; the file of all findings has 1 and 0 in the column Abnormal."""
    labels = nih.EXPERT_LABELS if name == FOUR else nih.ALL_FINDINGS_LABELS
    old = {new: old for old, new in _FOUR.items()} if name == FOUR else {}
    raw = read_text(path, ["Image ID", "Reader ID", *(old.get(label, label) for label in labels)])
    answers = _ANSWERS | {text: state for text, state in STATES.items() if state in (PRESENT, ABSENT)}
    for label in labels:
        text = raw.pop(old.get(label, label)).str.strip()
        fault = faults(~text.isin([*answers, ""]), text, label, "YES, NO or HEDGE", path)
        raw[FAULT] = first_fault(raw[FAULT], fault)
        codes = text.map(answers).fillna(UNMAPPED_CODE).to_numpy().astype(np.int8)
        raw[label] = states_array(codes, codes == UNMAPPED_CODE)
    raw = raw.rename(columns={"Image ID": IMAGE, "Reader ID": READER})
    # the published file has four pairs of rows in which a reader answered a question twice in different ways: no answer
    answered = raw.groupby([IMAGE, READER])[list(labels)].transform("nunique")
    raw[list(labels)] = raw[list(labels)].where(answered <= 1)
    return _panel(name, IMAGE, "nih", source, path, raw)
