"""Summarize nuisances inside a hospital: association with findings, decodability from features, effect on AUROC.

A nuisance is a property that varies inside a hospital and may replace a finding, such as view; a level is one of its
values. Decodability is the AUROC with which a run's features predict the nuisance. The pooled AUROC of a finding is
computed over all images. The AUROC within levels is a mean of AUROCs, each over the images with the same level.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.formatting import listing, places, sentence_case, signed
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import MACRO, ReportData

ANY = "any"  # all nuisances together
# two metrics of the table `nuisances`
# ALONE: AUROC with which the nuisance alone predicts a finding; SAVED: pooled AUROC minus AUROC within levels
ALONE, SAVED = "auroc_nuisance", "pooled_less_stratified"
Cells = Mapping[tuple[str, str, str, str, str, str], Estimate]  # key: run, dataset, nuisance, level, finding, metric


def lookup(table: pd.DataFrame) -> Cells:
    """Return the estimates of the table `nuisances` by key; estimates that depend on no run have the run id ""."""
    columns = ("run_id", "dataset", "nuisance", "level", "finding", "metric", "value", "low", "high", "n", "chance")
    return {
        (str(run), str(dataset), str(nuisance), str(level), str(finding), str(metric)): Estimate(
            float(value), float(low), float(high), count(n), chance=float(chance)
        )
        for run, dataset, nuisance, level, finding, metric, value, low, high, n, chance in zip(
            *(table[c] for c in columns), strict=True
        )
    }


def rows(data: ReportData, cells: Cells, run: Run) -> list[dict[str, Any]]:
    """Return one row per nuisance of the internal hospital.

    `finding`: the finding that the nuisance alone predicts best; `alone`: the AUROC of this prediction. `external`: the
    same AUROC at each external hospital. `decoded`, `before`: decodability
    after and before training. `bought`: pooled AUROC minus AUROC within levels, for the finding with the largest
    difference (`bought_finding`).
    """
    internal = data.hospitals.internal.key
    names = list(dict.fromkeys(k[2] for k in cells if k[1] == internal))
    table_rows = []
    for name in names:
        finding, nuisance_auroc = _strongest(cells, internal, name)
        aurocs = {h.short: cells.get(("", h.key, name, "", finding, ALONE), MISSING) for h in data.hospitals.external}
        external = {hospital: auroc for hospital, auroc in aurocs.items() if auroc.has_value}
        external_aurocs = [e.value for e in external.values()]
        differences = [
            (f, e)
            for (r, d, n, _, f, m), e in cells.items()
            if (r, d, n, m) == (run.id, internal, name, SAVED) and f != MACRO
        ]
        largest = max(differences, key=lambda item: item[1].value, default=("", MISSING))
        table_rows.append(
            {
                "name": name,
                "finding": finding,
                "alone": nuisance_auroc,
                "cramers_v": cells.get(("", internal, name, "", finding, "cramers_v"), MISSING),
                "external": external,
                "external_range": "–".join(dict.fromkeys(places(f(external_aurocs)) for f in (min, max)))
                if external_aurocs
                else "",
                "decoded": cells.get((run.id, internal, name, "", "", "decodability"), MISSING),
                "before": cells.get((run.id, internal, name, "", "", "random_decodability"), MISSING),
                "bought": largest[1],
                "bought_finding": largest[0],
            }
        )
    return table_rows


def title(nuisance_rows: list[dict[str, Any]]) -> str:
    """Return the title: the nuisance that best predicts a finding, or that no nuisance predicts a finding well."""
    single = [row for row in nuisance_rows if row["name"] != ANY and row["alone"].has_value]
    if not single:
        return "No nuisance is recorded together with a scored finding"
    first = max(single, key=lambda row: row["alone"].value)
    if first["alone"].value < 0.6:
        return f"No recorded nuisance predicts a finding well: AUROC at most {first['alone'].text}"
    external_range = f", {first['external_range']} external" if first["external_range"] else ""
    return f"“{sentence_case(first['name'])}” alone predicts {first['finding']}: AUROC {first['alone'].text} internal{external_range}"


def meaning(nuisance_rows: list[dict[str, Any]], run: Run) -> list[str]:
    """Return sentences on two results of a run; nuisance_rows: the result of `rows`.

    First: whether the pooled AUROC is higher than the AUROC within levels. Second: the nuisances that the features predict
    better after training than before.
    """
    sentences = []
    clear = [row for row in nuisance_rows if row["bought"].clear and row["bought"].value > 0]
    if clear:
        phrases = [
            f"{signed(row['bought'].value)} {_bounds(row['bought'])} for {row['bought_finding']} and the nuisance “{row['name']}”"
            for row in sorted(clear, key=lambda row: -row["bought"].value)
        ]
        sentences.append(
            f"The internal AUROC of {run.label} may come partly from shortcuts: over all images, it is higher than among "
            f"images with the same level of a nuisance. The difference is {listing(phrases)}"
        )
    elif any(row["bought"].has_value for row in nuisance_rows):
        sentences.append(
            "The AUROC over all images is not clearly higher than among images with the same level of a nuisance: "
            "no sign of a shortcut in the internal AUROC"
        )
    easier = [
        f"{row['name']} (AUROC {row['before'].text} before training, {row['decoded'].text} after)"
        for row in nuisance_rows
        if row["decoded"].has_interval and row["before"].has_interval and row["decoded"].low > row["before"].high
    ]
    if easier:
        sentences.append(
            f"After the network is trained, a linear classifier predicts these nuisances from the network’s features better than before: {listing(easier)}"
        )
    return sentences


def everywhere(data: ReportData, cells: Cells, run: Run) -> list[dict[str, Any]]:
    """Return one row per hospital and nuisance.

    A row has the share of images with each level, the decodability, and the macro AUROC (pooled and within levels).
    """
    table_rows = []
    for hospital in data.hospitals.all:
        names = list(dict.fromkeys(k[2] for k in cells if k[1] == hospital.key and k[2] != ANY))
        for name in names:
            shares = [
                f"{level} {100 * e.value:.0f} %"
                for (r, d, n, level, _, m), e in cells.items()
                if (r, d, n, m) == ("", hospital.key, name, "share")
            ]
            numbers = {
                metric: cells.get((run.id, hospital.key, name, "", finding, metric), MISSING)
                for metric, finding in (
                    ("decodability", ""),
                    ("random_decodability", ""),
                    ("pooled_auroc", MACRO),
                    ("stratified_auroc", MACRO),
                    (SAVED, MACRO),
                )
            }
            table_rows.append({"hospital": hospital, "name": name, "shares": ", ".join(shares), **numbers})
    return table_rows


def associations(data: ReportData, cells: Cells) -> list[dict[str, Any]]:
    """Return one row per nuisance and finding: the AUROC with which the nuisance alone predicts the finding.

    A row has this AUROC at each hospital, and Cramér's V at the internal hospital.
    """
    internal = data.hospitals.internal.key
    keys = [(n, f) for (r, d, n, _, f, m) in cells if (r, d, m) == ("", internal, ALONE)]
    return [
        {
            "name": name,
            "finding": finding,
            "cramers_v": cells.get(("", internal, name, "", finding, "cramers_v"), MISSING),
            "internal": cells["", internal, name, "", finding, ALONE],
            "external": [cells.get(("", h.key, name, "", finding, ALONE), MISSING) for h in data.hospitals.external],
        }
        for name, finding in keys
    ]


def _strongest(cells: Cells, internal: str, name: str) -> tuple[str, Estimate]:
    """Return the finding that a nuisance alone predicts best at the internal hospital, with its AUROC; ("", MISSING) for none."""
    aurocs = [
        (f, e) for (r, d, n, _, f, m), e in cells.items() if (r, d, n, m) == ("", internal, name, ALONE) and e.has_value
    ]
    return max(aurocs, key=lambda item: item[1].value, default=("", MISSING))


def _bounds(estimate: Estimate) -> str:
    return f"[{signed(estimate.low)}, {signed(estimate.high)}]"
