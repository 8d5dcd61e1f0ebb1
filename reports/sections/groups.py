"""Section on patient groups: AUROC, underdiagnosis and error rates by sex, age, view and device at each hospital.

The underdiagnosis rate is the share of images that the network predicts as "No Finding", among images with any finding. The spread of
an attribute, such as sex, is the largest minus the smallest value of its groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.report_data.page_rows import GROUP_METRICS, HEALTHY
from reports.report_data.report_data import MACRO, ReportData
from reports.sentences import groups as group_sentences
from reports.sentences.groups import GroupDifference
from reports.tables import rows_of

ATTRIBUTES = ("sex", "age", "view")
FOLDED = ("device", "sex age")  # attributes that are folded at first; "sex age" combines sex and age
WORDS = {"sex age": "sex and age combined", "child": "children and adults"}
TITLES = {
    "auroc": "AUROC",
    "underdiagnosis": "Underdiagnosis rate",
    "fnr": "False negative rate",
    "fpr": "False positive rate",
}
# (metric, finding, name on the page); the page shows the first metric, the other metrics are folded
METRICS = tuple((metric, finding, TITLES[metric]) for metric, finding in GROUP_METRICS.items())
SPREAD = "auroc_spread"  # metric of the table that lists the first SHOWN runs; all other tables are about the first run
COLUMNS = ("run_id", "dataset", "subgroup", "metric", "finding", "value", "low", "high", "n", "num_findings")
SHOWN = 40
DEVICES = 8  # number of devices shown per hospital; devices with the most images come first
WIDTH, LEFT, RIGHT, LANE = 330.0, 78.0, 40.0, 14.0  # px: width, margins and row height of a figure
LONGEST = 11  # maximum number of letters of a group name in a figure; longer names are cut

Key = tuple[str, str, str, str, str]  # run, hospital, subgroup, metric, finding
Cells = Mapping[Key, Estimate]


def groups(data: ReportData) -> Section:
    """Write the section: figures and tables of the first run, and AUROC spreads of the first SHOWN runs.

    The section is empty if there are no groups.
    """
    table = data.tables["subgroups"]
    rows = table.loc[table["finding"].isin([MACRO, HEALTHY]), list(COLUMNS)]
    run_ids = set(rows["run_id"].unique())
    runs = [r for r in data.ranked_runs if r.id in run_ids]
    pairs = rows[["dataset", "subgroup"]].drop_duplicates()
    datasets_with_groups = {dataset for dataset, group in rows_of(pairs, "dataset", "subgroup") if "=" in str(group)}
    hospitals = [h for h in data.hospitals.all if h.key in datasets_with_groups]
    group_names = [str(s) for s in table["subgroup"].unique()]
    attributes = (*ATTRIBUTES, *_further(group_names))
    is_first_run = rows["run_id"] == (runs[0].id if runs else "")
    is_spread_of_others = rows["run_id"].isin([r.id for r in runs[1:SHOWN]]) & (rows["metric"] == SPREAD)
    cells = _cells(rows[is_first_run | is_spread_of_others])
    if not runs or not hospitals:
        return Section("groups", "", Markup(""))
    first = runs[0]
    auroc_differences = _distances(cells, first, group_names, METRICS[0], hospitals)
    context: dict[str, Any] = {
        "title": group_sentences.title(auroc_differences),
        "details": [
            group_sentences.clear_differences(first.label, auroc_differences),
            group_sentences.underdiagnosis(first.label, _distances(cells, first, group_names, METRICS[1], hospitals)),
        ],
        "run": first,
        "run_shown": data.run_shown(first),
        "hospitals": hospitals,
        "figures": [_metric(cells, first, group_names, metric, hospitals, attributes) for metric in METRICS],
        "folded": [
            f for metric in METRICS[:2] if (f := _metric(cells, first, group_names, metric, hospitals, FOLDED))["rows"]
        ],
        "spreads": [
            {
                "run": run,
                "cells": [_spread(cells, run, h, attribute) for attribute in attributes for h in hospitals],
            }
            for run in runs[:SHOWN]
        ],
        "attributes": attributes,
        "min_count": data.min_count,
        "no_threshold": no_threshold(data, first),
    }
    return Section("groups", "Patient groups", write("groups.html.j2", data=data, **context))


def _cells(rows: pd.DataFrame) -> Cells:
    """Return {(run id, cohort, subgroup, metric, finding): estimate} from rows of the table `subgroups`."""
    return {
        (str(run), str(dataset), str(group), str(metric), str(finding)): Estimate(
            float(value), float(low), float(high), count(n), num_findings=count(num_findings)
        )
        for run, dataset, group, metric, finding, value, low, high, n, num_findings in rows_of(rows, *COLUMNS)
    }


def no_threshold(data: ReportData, run: Run) -> str:
    """Return the sentence that names the findings for which a run has no threshold; "" if there are none."""
    table = data.tables["operating_points"]
    rows = table[
        (table["run_id"] == run.id) & table["threshold"].isna() & (table["rule"] == data.meta["settings"]["threshold"])
    ]
    counts = ("finding", "num_positive_patients", "num_negative_patients")
    findings = [
        (str(f), int(with_it), int(without)) for f, with_it, without in rows[list(counts)].itertuples(index=False)
    ]
    return group_sentences.no_threshold(findings, data.min_count)


def _distances(
    cells: Cells,
    run: Run,
    group_names: Sequence[str],
    metric_entry: tuple[str, str, str],
    hospitals: Sequence[Hospital],
) -> list[GroupDifference]:
    """Return, for each hospital and attribute, the difference between the two most different groups.

    The intervals have Bonferroni bounds for the number of differences. `metric_entry`: an element of METRICS.
    """
    metric, finding, *_ = metric_entry
    differences: list[GroupDifference] = []
    for hospital in hospitals:
        for attribute in (*ATTRIBUTES, *_further(group_names), *FOLDED):
            spread = cells.get((run.id, hospital.key, attribute, f"{metric}_spread", finding), MISSING)
            estimates = {
                name: cells.get((run.id, hospital.key, name, metric, finding), MISSING)
                for name in _members(group_names, attribute)
            }
            values = {_short(name): e.value for name, e in estimates.items() if e.has_value}
            if spread.has_interval and values:
                highest = max(values, key=lambda n: values[n])
                lowest = min(values, key=lambda n: values[n])
                word = WORDS.get(attribute, attribute)
                differences.append(
                    GroupDifference(hospital.short, word, spread, highest, lowest, values[highest], values[lowest])
                )
    return [replace(d, spread=d.spread.corrected(len(differences))) for d in differences]


def _metric(
    cells: Cells,
    run: Run,
    group_names: Sequence[str],
    metric_entry: tuple[str, str, str],
    hospitals: Sequence[Hospital],
    attributes: Sequence[str],
) -> dict[str, Any]:
    """Return the figures and table rows of a metric: one figure per attribute, all on the same axis.

    `metric_entry`: an element of METRICS. `group_names`: subgroups in the order of the table.
    """
    metric, finding, word = metric_entry
    members = {attribute: _members(group_names, attribute) for attribute in attributes}
    rows = [
        _row(cells, run, name, metric_entry, hospitals)
        for attribute, names in members.items()
        for name in ([*names, attribute] if names else [])
    ]
    rows = [row for row in rows if row["known"]]
    bounds = [
        b for row in rows if not row["spread"] for e in row["values"] for b in (e.value, e.low, e.high) if is_number(b)
    ]
    if not bounds:
        return {"name": word, "rows": [], "forests": []}
    margin = 0.04 * (max(bounds) - min(bounds)) + 0.004
    scale = svg.Scale(max(0.0, min(bounds) - margin), min(1.0, max(bounds) + margin), LEFT, WIDTH - RIGHT)
    forests = []
    for attribute, names in members.items():
        groups_of_hospital = [
            (
                hospital,
                [
                    (name, cells.get((run.id, hospital.key, name, metric, finding), MISSING))
                    for name in names
                    if _images(cells, run, hospital, name)
                ],
            )
            for hospital in hospitals
        ]
        if any(e.has_value for _, lanes in groups_of_hospital for _, e in lanes):
            attribute_name = WORDS.get(attribute, attribute)
            forests.append(
                (
                    attribute_name,
                    _forest(groups_of_hospital, scale, f"{word} by {attribute_name}", hospitals[0].key, attribute),
                )
            )
    return {"name": word, "rows": rows, "forests": forests}


def _forest(
    groups_of_hospital: Sequence[tuple[Hospital, list[tuple[str, Estimate]]]],
    scale: svg.Scale,
    word: str,
    internal: str,
    attribute: str,
) -> Markup:
    """Draw the value of each group of an attribute at each hospital, or the words "too few patients" if the value is missing.

    `internal`: cohort name of the internal hospital.
    """
    grid = svg.ticks(scale.low, scale.high, 5)
    body, y, descriptions = "", 20.0, []
    for hospital, lanes in groups_of_hospital:
        present = sorted(lanes, key=lambda lane: -lane[1].n)[:DEVICES] if attribute == "device" else lanes
        if not any(e.has_value for _, e in present):
            continue
        body += svg.text(0, y + 11, hospital.short, "b")
        y += LANE + 3
        for name, e in present:
            y_middle = y + LANE / 2
            label = _short(name)
            cut = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
            body += svg.text(8, y_middle + 4, cut, "tk")
            if not e.has_value:
                body += svg.text(scale.start, y_middle + 4, "too few patients", "tk")
            else:
                if e.has_interval:
                    body += svg.line(
                        scale(e.low),
                        y_middle,
                        scale(e.high),
                        y_middle,
                        "i-int" if hospital.key == internal else "i-ext",
                    )
                body += svg.circle(scale(e.value), y_middle, 3.2, "m-int" if hospital.key == internal else "m-ext")
                body += svg.text(WIDTH, y_middle + 4, e.text, "", "end")
                descriptions.append(f"{hospital.short} {_short(name)} {e.text}")
            y += LANE
        y += 6
    ticks = "".join(
        svg.line(scale(t), 16, scale(t), y, "g") + svg.text(scale(t), 11, svg.tick_text(t, grid), "tk", "middle")
        for t in grid
    )
    return svg.svg(WIDTH, y + 2, ticks + body, f"{word}: {', '.join(descriptions)}")


def _images(cells: Cells, run: Run, hospital: Hospital, name: str) -> int:
    """Return the number of images of a group at a hospital (the largest number over METRICS); 0 if there is no value."""
    return max(cells.get((run.id, hospital.key, name, metric, finding), MISSING).n for metric, finding, *_ in METRICS)


def _members(group_names: Sequence[str], attribute: str) -> list[str]:
    """Return the names in `group_names` that are groups of an attribute, such as "sex=F" for "sex", in the same order."""
    if attribute == "sex age":
        return [name for name in group_names if name.startswith("sex=") and " age=" in name]
    return [name for name in group_names if name.startswith(f"{attribute}=") and " age=" not in name]


def _further(group_names: Sequence[str]) -> list[str]:
    """Return the attributes that extensions add, such as "race", in the order of the table."""
    named = dict.fromkeys(name.partition("=")[0] for name in group_names if "=" in name)
    return [name for name in named if name not in (*ATTRIBUTES, *FOLDED)]


def _short(name: str) -> str:
    """Return the name of a group without the attribute: "sex=F age=40-60" becomes "F 40-60"."""
    if name.startswith("device="):
        return name.removeprefix("device=")
    return " ".join(attribute_value.partition("=")[2] for attribute_value in name.split(" "))


def _row(
    cells: Cells, run: Run, name: str, metric_entry: tuple[str, str, str], hospitals: Sequence[Hospital]
) -> dict[str, Any]:
    """Return the table row of a group such as "sex=F" (its value at each hospital), or of an attribute such as "sex".

    The row of an attribute has the spread at each hospital: the largest minus the smallest value of its groups.
    metric_entry: an entry of METRICS.
    """
    metric, finding, word = metric_entry
    is_attribute = "=" not in name
    if is_attribute:
        metric = f"{metric}_spread"
        metric_word = word if word.isupper() else word.lower()  # AUROC stays in capitals
        title = f"{WORDS.get(name, name)}: highest minus lowest {metric_word} of the groups"
    else:
        title = name.replace("=", " ")
    values = [cells.get((run.id, h.key, name, metric, finding), MISSING) for h in hospitals]
    return {
        "name": title,
        "spread": is_attribute,
        "values": values,
        "known": any(e.has_value for e in values),
    }


def _spread(cells: Cells, run: Run, hospital: Hospital, attribute: str) -> Estimate:
    return cells.get((run.id, hospital.key, attribute, SPREAD, MACRO), MISSING)
