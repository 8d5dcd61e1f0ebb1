"""Adapters: each module reads one dataset from its published layout on disk into a native table.

`harmonize/datasets/NAME.py` is the adapter of the layout NAME when labels.yaml has a block `datasets: NAME`. Nothing
else lists the layouts. `table` is the layout of any other table, with a mapping file in place of the block.

An adapter defines:

    SIGNATURE           file patterns, relative to the root, that only this dataset has
    read(root)          the native table; also takes a label source if labels.yaml lists label sources for the layout
    write(table, root)  the inverse: `read` gives the table back, up to the order of rows
    example()           a small native table that `write` accepts; the tests of all layouts use it
    LABELS or TOKENS    the native labels, unless labels.yaml lists them under `vocabulary`

An adapter may define:

    gold(table, root)          mask of the rows that physicians or radiologists labeled
    GOLD_LABEL_SOURCE          the label source of the gold subset, if it differs from that of the cohort
    boxes(root)                image_id, finding, x_min, y_min, x_max, y_max: boxes that radiologists drew
    BOX_FRAME_PX               side of the square image that box pixels refer to, if it is not the file on disk
    outlines(root, image_ids)  `Outlines`: masks that radiologists drew

A native table has one row per image: the columns of `BASE`, then extra columns of the dataset, then native labels:

    family columns   one Int8 column "native:<label>" per label, with a label state per row (chexpert, mimic, brax, vindr)
    family tokens    one text column "native:labels" with the labels of the image, joined with "|" (nih, padchest)

Text is never null: "" means not stated. The optional column `drop` gives the reason why an image is excluded from every
cohort. The optional column `fault` gives the reason why a row cannot be used. Both are "" for other rows.
"""

from importlib import import_module
from types import ModuleType

from harmonize.labels.findings import labels_yaml

TABLE = "table"  # the layout of any table with a mapping file
PUBLISHED: tuple[str, ...] = tuple(
    labels_yaml()["datasets"]
)  # layouts of published datasets, in the order of labels.yaml
LAYOUTS = (*PUBLISHED, TABLE)

BASE = (
    "image_id",
    "patient_id",
    "study_id",
    "split",  # train, val, test, expert_valid, expert_test, or "" where the dataset has no official split
    "view",  # one of VIEWS
    "sex",  # F, M or ""
    "age",  # years, float64, NaN where not stated
    "device",
    "path",  # relative to the root, with forward slashes; "" = no such file
)
VIEWS = ("PA", "AP", "FRONTAL", "LATERAL", "UNKNOWN")
FRONTAL_VIEWS = ("PA", "AP", "FRONTAL")  # FRONTAL: known to be frontal, PA or AP not stated
SPLITS = ("train", "val", "test", "expert_valid", "expert_test")

LABELS = "native:labels"  # the one native column of a token family
FAULT = "fault"  # e.g. a cell that is not a label, or an empty id; `harmonize.cohorts.bad_rows` handles these rows


def adapter(layout: str) -> ModuleType:
    """Return the adapter module of a layout, one of LAYOUTS."""
    return import_module(f"harmonize.datasets.{layout}")


def native(label: str) -> str:
    """Return the name of the column of a native label.

    >>> native("Edema")
    'native:Edema'
    """
    return f"native:{label}"
