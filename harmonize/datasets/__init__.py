"""Adapters: each module reads one dataset, in its published layout, into a native table.

`harmonize/datasets/NAME.py` is the adapter of the layout NAME if labels.yaml has a block `datasets: NAME`. No other
list of layouts exists. If the block has the key `adapter`, the adapter is the object NAME of that module.
`table` is the layout of any other table; a mapping file replaces the block in labels.yaml.

An adapter defines:

    SIGNATURE           file patterns, relative to the root, that identify this dataset
    read(root)          return the native table; has the argument `source` if labels.yaml lists label sources
    LABELS or TOKENS    the native labels, unless labels.yaml lists them under `vocabulary`, or reports may have any

An adapter may define:

    gold(table, root)          return the mask of rows that physicians or radiologists labeled
    portable(table, root)      return the mask of rows of portable radiographs
    GOLD_LABEL_SOURCE          the label source of these rows (the gold subset), if the cohort has another label source
    boxes(root)                return boxes that radiologists drew: image_id, finding, x_min, y_min, x_max, y_max
    box_frames(root, images)   return {image id: (height, width)} of the image in whose pixels the boxes are, for boxes
                               that are not in pixels of the file; `images` has the columns image_id and path
    outlines(root, image_ids)  return masks that radiologists drew, as `Outlines`
    folder_levels              number of folder levels in which added files are noticed, if images lie deeper than in two
    remarks(table, root)       return remarks on doubtful files or rows that are used nevertheless, as a list of `Remark`
    write(table, root)         write the files of the dataset, from which `read` returns the same rows, maybe in another order;
                               only for the hospitals of phantoms

A native table has one row per image: the columns of `BASE`, then extra columns of the dataset, then native labels:

    family columns   one Int8 column "native:<label>" per label, with a label state per row (chexpert, mimic, brax, vindr)
    family tokens    one text column "native:labels" with the labels of the image, joined with "|" (nih, padchest)

Text is never null: "" means not stated. These columns are optional, and "" in most rows: `drop` states why every cohort
excludes an image; `row_fault` states why a row cannot be used; `unknown_view`, `unknown_sex` and `unknown_age` have
a word that the adapter does not know.
"""

from importlib import import_module
from typing import Any, NamedTuple

from harmonize.labels.findings import labels_yaml

TABLE = "table"  # the layout of any table with a mapping file
# layouts of published datasets, in the order of labels.yaml
PUBLISHED: tuple[str, ...] = tuple(labels_yaml()["datasets"])
LAYOUTS = (*PUBLISHED, TABLE)

BASE = (
    "image_id",
    "patient_id",
    "study_id",
    "split",  # one of SPLITS; "" if the image has no official split
    "view",  # one of VIEWS
    "sex",  # F, M or ""
    "age",  # years, float64, NaN if not stated
    "device",
    "path",  # relative to the root, with forward slashes; "" = no file
)
VIEWS = ("PA", "AP", "FRONTAL", "LATERAL", "UNKNOWN")
FRONTAL_VIEWS = ("PA", "AP", "FRONTAL")  # FRONTAL: a frontal view, but PA or AP is not stated
SPLITS = ("train", "val", "test", "expert_valid", "expert_test")

LABELS = "native:labels"  # the only native column of the family tokens
# column with the reason why a row cannot be used, e.g. an invalid label cell; see `harmonize.cohorts.bad_rows`
FAULT = "row_fault"
UNKNOWN = "unknown_"  # start of the columns with words that an adapter does not know


class Remark(NamedTuple):
    """A doubt about data that are used nevertheless: what it concerns, what was found, the fix, and the level (warning or note)."""

    what: str
    found: str
    fix: str
    level: str = "warning"


def adapter(layout: str) -> Any:
    """Return the adapter of a layout, one of LAYOUTS: a module, or an object of the module that labels.yaml names."""
    shared = labels_yaml()["datasets"].get(layout, {}).get("adapter")
    module = import_module(f"{__name__}.{shared or layout}")
    return getattr(module, layout) if shared else module


def native(label: str) -> str:
    """Return the name of the column of a native label.

    >>> native("Edema")
    'native:Edema'
    """
    return f"native:{label}"
