"""Rules that decide whether the page reports a changed prediction or a shortcut; the power benchmark uses them too."""

import pandas as pd

MARGIN = 0.05  # smallest relevant change in probability
MARKER, ERASED = "marker", "erased"  # kinds of change that reveal a planted shortcut
EXTERNAL, MACRO = "external", "macro"


def changes(table: pd.DataFrame, measure: str = "abs_dp", subset: str = "all") -> pd.DataFrame:
    """Return the rows of `transplants` with one measure and subset."""
    return table[(table["measure"] == measure) & (table["subset"] == subset)]


def changed(table: pd.DataFrame, internal: str) -> list[str]:
    """Return the findings for which an internal marker changes predictions in external images.

    `table` is the table `transplants` of one run. The control is a patch without a marker from the host's own cohort.
    The mean absolute change in probability, minus the change by the control, must have a 95 % interval above MARGIN.
    """
    rows = changes(table)
    rows = rows[(rows["kind"] == MARKER) & (rows["donor"] == internal) & (rows["host"] == EXTERNAL)]
    return [str(f) for f in rows.loc[(rows["low"] > MARGIN) & (rows["finding"] != MACRO), "finding"]]


def caught(table: pd.DataFrame, internal: str) -> list[str]:
    """Return the findings with a shortcut: a marker changes the prediction, and the internal AUROC depends on markers.

    The control for erasing a marker is erasing the mirrored region. AUROC depends on markers if erasing them changes
    AUROC, minus the control's change, with a 95 % interval below 0. If a marker has no information, erasing costs no
    AUROC.
    """
    rows = changes(table, "auroc")
    rows = rows[(rows["kind"] == ERASED) & (rows["host"] == internal) & (rows["high"] < 0)]
    useful_findings = set(rows["finding"])
    return [finding for finding in changed(table, internal) if finding in useful_findings]
