"""Write the label tables of other labelers for phantom cohorts: CheXbert and VisualCheXbert (CheXpert), NegBio (MIMIC).

Each of these labelers disagrees with the CheXpert labeler on a fixed share of the stated labels: present becomes
absent, and absent or uncertain becomes present. The tables depend only on the cohort. Existing tables are not changed.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets.chexpert import LABELS, TRAIN
from harmonize.file_lock import file_lock
from harmonize.seeds import stream

# (folder, file of the CheXpert labeler, column of the study, new file) -> share of changed labels
TABLES: Mapping[tuple[str, str, str, str], float] = MappingProxyType(
    {
        ("chexpert", TRAIN["default"], "Path", TRAIN["chexbert"]): 0.05,
        ("chexpert", TRAIN["default"], "Path", TRAIN["visualchexbert"]): 0.15,
        ("mimic", "mimic-cxr-2.0.0-chexpert.csv.gz", "study_id", "mimic-cxr-2.0.0-negbio.csv.gz"): 0.1,
    }
)
_CHANGED = {"1": "0", "0": "1", "-1": "1"}


def write_label_tables(root: Path) -> None:
    """Write the missing label tables of the phantom cohorts below root."""
    with file_lock(root):
        for (folder, original, study, name), share in TABLES.items():
            path = root / folder / name
            if not path.exists() and (root / folder / original).is_file():
                table = pd.read_csv(root / folder / original, dtype=str, keep_default_na=False)
                partial = path.with_name(f".partial-{name}")
                _disagreeing(table, study, name, share).to_csv(partial, index=False, compression=_compression(path))
                partial.replace(path)


def _disagreeing(table: pd.DataFrame, study: str, name: str, share: float) -> pd.DataFrame:
    """Return a copy of a label table in which about the share `share` of the stated labels is changed.

    `study` is the column that gives the study of a row; all images of a study are changed in the same way. `name`
    selects the random numbers.
    """
    code, studies = pd.factorize(table[study].str.rpartition("/")[0] if study == "Path" else table[study])
    out = table.copy()
    for label in LABELS:
        text = table[label].str.removesuffix(".0")
        is_changed = stream(0, "label table", name, label).random(len(studies))[code] < share
        out[label] = np.where(is_changed & text.isin(list(_CHANGED)), text.map(_CHANGED), table[label])
    return out


def _compression(path: Path) -> Any:
    """Return the compression of a file. Without a time stamp in the header, equal tables give equal files."""
    return {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
