"""Whether another reading of the labels gives another answer: strict and broad mappings beside the grid's own."""

from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.formatting import known, places, plural, signed
from reports.html.section import Section, write
from reports.report_data.report_data import MACRO, Board


def mappings(board: Board) -> Section:
    """Write what each other mapping changes; nothing where no hospital's words can be read in another way."""
    table = board.tables["reversals"]
    if not len(table):
        return Section("mappings", "", Markup(""))
    reversed_pairs, pairs = int(table["num_reversed"].sum()), int(table["num_pairs"].sum())
    context = {
        "title": _title(reversed_pairs, pairs, float(table["largest"].max())),
        "rows": [_row(board, row) for row in table.to_dict("records")],
        "findings": _findings(board),
    }
    return Section("mappings", "", write("mappings.html.j2", **context))


def _title(num_reversed: int, pairs: int, largest: float) -> str:
    moved = f"moves no run by more than {places(largest)}" if known(largest) else "moves no run"
    if not pairs:
        return f"Another reading of the labels {moved}"
    if not num_reversed:
        return f"Another reading of the labels {moved} and reverses no pair of runs"
    return f"Another reading of the labels {moved}, and reverses {num_reversed} of {plural(pairs, 'pair')} of runs"


def _row(board: Board, row: dict[Any, Any]) -> dict[str, str]:
    return {
        "hospital": board.title(str(row["dataset"])),
        "mapping": str(row["mapping"]),
        "change": signed(row["mean_change"]) if known(row["mean_change"]) else "",
        "largest": places(row["largest"]) if known(row["largest"]) else "",
        "reversed": f"{row['num_reversed']} of {row['num_pairs']}" if row["num_pairs"] else "",
        "tau": places(row["tau"], 2) if known(row["tau"]) else "",
    }


def _findings(board: Board) -> list[dict[str, str]]:
    """Return, per hospital, mapping and finding, the mean AUROC over runs and how many positives there are."""
    table = board.tables["mappings"]
    mean = table[table["finding"] != MACRO].groupby(["dataset", "finding", "mapping"], sort=True)
    found: pd.DataFrame = mean.agg(value=("value", "mean"), positive=("num_positive", "max")).reset_index()
    return [
        {
            "hospital": board.title(str(row["dataset"])),
            "finding": str(row["finding"]),
            "mapping": str(row["mapping"]),
            "value": places(row["value"]) if known(row["value"]) else "",
            "positive": f"{row['positive']:,}",
        }
        for row in found.to_dict("records")
    ]
