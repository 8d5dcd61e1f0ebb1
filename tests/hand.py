"""A cohort made by hand, in which every number can be counted with a finger, and the mapping of an own table."""

from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.specs import CohortSpec
from harmonize.labels.findings import FINDINGS

P, A, U, N, NULL = 1, 0, -1, -2, None
ROWS = (  # patient, study, split, view, sex, age, device, states of No Finding, Edema, Pneumonia
    ("p1", "s1", "train", "PA", "F", 30.0, "X", (P, N, A)),
    ("p1", "s1", "train", "AP", "F", 30.0, "X", (P, N, A)),
    ("p1", "s2", "train", "AP", "F", 31.0, "Y", (N, P, U)),
    ("p2", "s3", "train", "PA", "M", 95.0, "X", (N, P, P)),
    ("p3", "s4", "test", "PA", "", np.nan, "", (N, U, P)),
    ("p4", "s5", "test", "PA", "M", 89.0, "X", (NULL, NULL, NULL)),
)

# mapping of an own table whose column `finding` names one finding of each image
MAPPING = """
image: "{file}"
patient: patient
view: {constant: PA}
findings:
  Pneumonia: {column: finding, present: [Pneumonia], absent: [No Finding]}
  No Finding: {column: finding, present: [No Finding], absent: "*"}
"""


def cohort(
    name: str = "hand",
    layout: str = "chexpert",
    rows=ROWS,
    root: Path = Path("nowhere"),
    phantom: bool = True,
    **flow: int,
) -> Cohort:
    """Return the cohort of `rows`; its flow found -> not_frontal -> absent -> kept."""
    names = ("patient_id", "study_id", "split", "view", "sex", "age", "device")
    table = pd.DataFrame({column: [row[i] for row in rows] for i, column in enumerate(names)})
    table.insert(0, "image_id", [f"i{k}" for k in range(len(rows))])
    table["path"] = [f"i{k}.png" for k in range(len(rows))]
    said = {f: [row[7][k] for row in rows] for k, f in enumerate(("No Finding", "Edema", "Pneumonia"))}
    for finding in FINDINGS:
        table[finding] = pd.array(said.get(finding, [None] * len(rows)), dtype="Int8")
    counted = {"found": len(rows) + 3, "not_frontal": 2, "absent": 1, "kept": len(rows), "contradictory": 0} | flow
    nothing = pd.DataFrame(columns=["image_id", "path", "reason"])
    return Cohort(name, layout, root, table, nothing, counted, phantom, CohortSpec(name, layout, root))
