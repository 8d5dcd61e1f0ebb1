"""Section on training algorithms: paired differences from ERM, at external hospitals and at the training hospitals."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number, listing, of_all, p_value, signed
from reports.html.section import Section, write
from reports.report_data.headline_rows import TEST_OF, Estimate
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sections.factors import LEAST_PAIRS
from reports.sentences.verdicts import HIGHER, LOWER, verdict

WIDTH, HEIGHT = 260.0, 22.0
TOO_FEW = "too few pairs"


def algorithms(data: ReportData) -> Section:
    """Write the section: a figure with the differences of each algorithm per hospital; empty if the grid has only ERM."""
    table = data.tables["algorithms"]
    means = table[table["setting"] == ""]  # over all settings
    if not len(means):
        return Section("algorithms", "", Markup(""))
    scale, grid = svg.difference_axis([Estimate.of(row) for row in means.to_dict("records")], WIDTH)
    rows = [_row(data, row) for row in means.to_dict("records")]
    for row in rows:
        row["figure"] = svg.difference_mark(row["difference"], scale, grid, HEIGHT)
    context: dict[str, Any] = {
        "data": data,
        "sentences": _sentences(data, means[means["num_run_pairs"] >= LEAST_PAIRS]),
        "axis": svg.tick_axis(scale, grid),
        "parts": [(name, [row for row in rows if row["algorithm"] == name]) for name in means["algorithm"].unique()],
        "rows": rows,
        "settings": [
            (setting, [_row(data, row) for row in of_setting.to_dict("records")])
            for setting, of_setting in table[table["setting"] != ""].groupby("setting", sort=False)
        ],
    }
    return Section("algorithms", "Algorithms", write("algorithms.html.j2", **context))


def _sentences(data: ReportData, rows: pd.DataFrame) -> list[str]:
    """Return what the rows with enough pairs of runs show: outside, inside, and how large unclear differences may be."""
    external = _changes(rows[rows["dataset"] == EXTERNAL])
    internal = _changes(rows[(rows["dataset"] == data.hospitals.internal.key) & (rows["split"] == "test")])
    if not external:
        return [f"Too few pairs of runs to compare algorithms with ERM: at least {LEAST_PAIRS} are needed"]
    bounds = [
        bound for effect in external.values() if effect.has_interval and not effect.clear for bound in effect.bounds
    ]
    reach = ""
    if bounds:
        reach = (
            f"The corrected intervals of unclear differences reach from {signed(min(bounds))} to {signed(max(bounds))}"
        )
    inside = _change(internal, f"at the {data.words.noun}") if internal else ""
    return [*filter(None, (_change(external, "at external hospitals"), reach, inside))]


def _change(changes: Mapping[str, Estimate], where: str) -> str:
    """Count the algorithms that clearly differ from ERM, and name these; without one, name the largest difference."""
    texts = {name: f"{name} {signed(effect.value)} {effect.span}" for name, effect in changes.items()}
    count = f"{of_all(sum(e.clear for e in changes.values()), len(changes), 'algorithm')} with a clear change of AUROC {where}"
    named = [text for name, text in texts.items() if changes[name].clear]
    if named:
        return f"{count}: {listing(named)}"
    largest = max(changes, key=lambda name: abs(changes[name].value))
    return f"{count}: the largest is {texts[largest]}"


def _changes(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Return {algorithm: difference from ERM} of the rows of one cohort."""
    return {str(row["algorithm"]): Estimate.of(row) for row in rows.to_dict("records") if is_number(row["low"])}


def _row(data: ReportData, row: Mapping[Any, Any]) -> dict[str, Any]:
    difference = Estimate.of(row)
    enough = int(row["num_run_pairs"]) >= LEAST_PAIRS
    return {
        "algorithm": str(row["algorithm"]),
        "hospital": _hospital(data, str(row["dataset"]), str(row["split"])),
        "is_mean": row["dataset"] == EXTERNAL,
        "difference": difference,
        "verdict": verdict(difference, HIGHER, LOWER) if enough else TOO_FEW,
        "p": p_value(float(row["p"])),
        "p_holm": p_value(float(row["p_holm"])),
        "num_pairs": int(row["num_pairs"]),
        "num_run_pairs": int(row["num_run_pairs"]),
    }


def _hospital(data: ReportData, dataset: str, split: str) -> str:
    """Return the name of a row: the mean over external hospitals, an external hospital, or a training hospital."""
    if dataset == EXTERNAL:
        return "External hospitals, mean"
    if dataset != data.hospitals.internal.key:
        return data.hospitals[dataset].short
    names = {f"{TEST_OF}{hospital.key}": f"{hospital.short} (training)" for hospital in data.hospitals.pool}
    return names.get(split, "Training hospitals, mean" if names else f"{data.hospitals.internal.short} (training)")
