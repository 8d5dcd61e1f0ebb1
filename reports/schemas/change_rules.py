"""Rules of the region transplant test: whether the page reports a changed prediction or a shortcut.

The test puts pixels of a donor image into a host image, and compares the change of the prediction with a control.
`benchmarks/shortcut_power.py` uses the same rules.
"""

import pandas as pd

MARGIN = 0.05  # smallest relevant change in probability
MARKER, ERASED = "marker", "erased"  # kinds of change: a marker is pasted into images, all markers are erased
JPEG, JPEG_LOW, CLAHE = "jpeg", "jpeg_low", "clahe"  # changes of the entire image
EXTERNAL, MACRO = "external", "macro"


def changes(table: pd.DataFrame, measure: str = "abs_dp", subset: str = "all") -> pd.DataFrame:
    """Return the rows of the table `transplants` with one measure and one subset of images.

    "abs_dp" is the mean absolute change of the probability.
    """
    return table[(table["measure"] == measure) & (table["subset"] == subset)]


def changed(table: pd.DataFrame, internal: str, kind: str = MARKER) -> list[str]:
    """Return the findings whose predictions for external images change by more than MARGIN under a kind of change.

    The mean absolute change in probability, minus the change by the control, must have a 95 % interval above MARGIN.
    `table`: rows of one run in the table `transplants`. If the kind has a donor, the donor is the internal cohort. For the
    kind marker, the control pastes a patch without a marker, from the cohort of the host image.
    """
    rows = changes(table)
    rows = rows[(rows["kind"] == kind) & rows["donor"].isin(["", internal]) & (rows["host"] == EXTERNAL)]
    return [str(f) for f in rows.loc[(rows["low"] > MARGIN) & (rows["finding"] != MACRO), "finding"]]


def caught(table: pd.DataFrame, internal: str) -> list[str]:
    """Return the findings with a shortcut: a marker changes the prediction, and the internal AUROC depends on markers.

    `changed` decides whether a marker changes the prediction. The AUROC depends on markers if erasing all markers changes
    the AUROC, and this change minus the change by the control has a 95 % interval below 0. The control erases the mirrored
    region on the other side of the image. Erasing a marker without information does not lower the AUROC.
    """
    rows = changes(table, "auroc")
    rows = rows[(rows["kind"] == ERASED) & (rows["host"] == internal) & (rows["high"] < 0)]
    useful_findings = set(rows["finding"])
    return [finding for finding in changed(table, internal) if finding in useful_findings]
