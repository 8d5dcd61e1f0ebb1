"""What counts as a change of the answer, and what as a shortcut: one rule for the page and for the benchmark of its power."""

import pandas as pd

MARGIN = 0.05  # of probability: what moves the answer by less is too little to matter, and is not called
MARKER, ERASED = "marker", "erased"  # the kinds in which a planted shortcut is looked for
EXTERNAL, MACRO = "external", "macro"


def changes(table: pd.DataFrame, measure: str = "abs_dp", subset: str = "all") -> pd.DataFrame:
    """Return the rows of `transplants` with one measure and subset."""
    return table[(table["measure"] == measure) & (table["subset"] == subset)]


def changed(table: pd.DataFrame, internal: str) -> list[str]:
    """Return the findings whose answer a marker of the internal hospital changes on external images, of one run's `transplants`.

    That is: the mean absolute change of the probability, less that of the same patch without a marker from the host's own
    cohort, has a 95 % interval wholly above MARGIN.
    """
    rows = changes(table)
    rows = rows[(rows["kind"] == MARKER) & (rows["donor"] == internal) & (rows["host"] == EXTERNAL)]
    return [str(f) for f in rows.loc[(rows["low"] > MARGIN) & (rows["finding"] != MACRO), "finding"]]


def caught(table: pd.DataFrame, internal: str) -> list[str]:
    """Return the findings read by a shortcut: a marker changes the answer, and it is of use at the internal hospital.

    Of use: erasing the markers of the internal test images lowers the AUROC, less what erasing the mirrored place does, with a
    95 % interval wholly below 0. A network may react to a marker that tells it nothing; then erasing costs nothing.
    """
    rows = changes(table, "auroc")
    rows = rows[(rows["kind"] == ERASED) & (rows["host"] == internal) & (rows["high"] < 0)]
    of_use = set(rows["finding"])
    return [finding for finding in changed(table, internal) if finding in of_use]
