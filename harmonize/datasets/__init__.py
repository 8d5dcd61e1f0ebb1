"""Six published datasets and any other table, each read from its own on-disk layout.

Every adapter has `read(root)` and `write(table, root)` with `read(write(x)) == x` up to the order of rows. A native
table has one row per image and the columns of `BASE`; then dataset extras; then what the dataset itself says:

    column families   chexpert, mimic, brax, vindr: one Int8 column "native:<label>" with a label state each
    token families    nih, padchest: one text column "native:labels", the labels that were seen, joined with "|"

Text is never null: "" means not stated. `drop`, where an adapter has it, names why an image is no member of the cohort;
`fault`, only there when some row has one, why a row cannot be used ("" where it can).
"""

from importlib import import_module
from types import ModuleType

LAYOUTS = ("chexpert", "mimic", "nih", "padchest", "vindr", "brax", "table")

BASE = (
    "image_id",
    "patient_id",
    "study_id",
    "split",  # train, val, test, expert_valid, expert_test, or "" where the dataset has no official split
    "view",  # one of VIEWS
    "sex",  # F, M or ""
    "age",  # years, float64, NaN where not stated
    "device",
    "path",  # relative to the root, with forward slashes; "" = no such file was found
)
VIEWS = ("PA", "AP", "FRONTAL", "LATERAL", "UNKNOWN")
FRONTAL_VIEWS = ("PA", "AP", "FRONTAL")  # FRONTAL: known to be frontal, PA or AP not stated
SPLITS = ("train", "val", "test", "expert_valid", "expert_test")

LABELS = "native:labels"  # the one native column of a token family
FAULT = "fault"  # of a row: a cell that is no label, ids that say nothing. `harmonize.cohorts.bad_rows` says what comes of it


def adapter(layout: str) -> ModuleType:
    """Return the module that reads and writes this layout, one of LAYOUTS."""
    return import_module(f"harmonize.datasets.{layout}")


def native(label: str) -> str:
    """Return the column that holds a native label.

    >>> native("Edema")
    'native:Edema'
    """
    return f"native:{label}"
