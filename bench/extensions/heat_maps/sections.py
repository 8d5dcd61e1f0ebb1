"""Section on heat maps: how much of the heat maps lies on findings and on other regions, and a gallery of cases.

Enrichment is the share of a heat map inside a region, divided by the region's share of the image.
"""

from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.extensions.heat_maps import heatmap_summary as heatmaps
from bench.extensions.heat_maps.gallery_cases import KINDS, pictures_of
from bench.extensions.heat_maps.heatmap_summary import ALL, NETWORK, OWN, WORDS, Mean
from reports.formatting import percent
from reports.html.section import CAUSES, PlacedSection, Section, write
from reports.report_data.report_data import ReportData

COLUMNS = (OWN, "token", "markers", "border", "outside lungs")  # regions in the figure


def heat_maps(data: ReportData) -> Section:
    """Write the section on heat maps; empty without heat maps."""
    run_ids = [run.id for run in data.scored]
    table = heatmaps.rows_of_runs(data.tables["attention"], run_ids)
    gallery = data.tables["gallery"]
    if table.empty and gallery.empty:
        return Section("attention", "", Markup(""))
    rows_with_value = table.dropna(subset=["value"])
    enrichment = rows_with_value[rows_with_value["metric"] == "enrichment"]
    measured = heatmaps.regions_in(enrichment)
    regions = [region for region in COLUMNS if region in measured]
    tagged_finding, _ = heatmaps.tagged(table, data.hospitals.internal.key)
    pictures = pictures_of(data, gallery)
    context = {
        "data": data,
        "title": heatmaps.title(table),
        "tag": heatmaps.tag_sentence(table, data.hospitals.internal.key),
        "trust": heatmaps.trust(heatmaps.rows_of_runs(data.tables["randomization"], run_ids)),
        "columns": [WORDS[region] for region in regions],
        "axis": heatmaps.axis(),
        "rows": [_hospital(enrichment, data, hospital.key, regions, tagged_finding) for hospital in data.hospitals.all],
        "tagged": tagged_finding,
        "findings": _findings(data, table),
        "overlap": _overlap(table),
        "cases": len(gallery),
        "pictures": pictures,
        "choices": _choices(pictures),
        "why": str(data.meta.get("no_pictures") or ""),
        "num_runs": table["run_id"].nunique(),
        "without_maps": sum(r.has_given_vectors for r in data.ranked),
    }
    return Section("attention", "Heat maps", write("attention.html.j2", **context))


def _hospital(table: pd.DataFrame, data: ReportData, key: str, columns: list[str], finding: str) -> dict[str, Any]:
    """Return the figure's row of one hospital: for each region, the mean enrichment and a strip with a dot per run.

    The region "token" is the tag, a white mark on phantoms. The enrichment on the tag is over the maps of `finding`;
    the enrichment on any other region is over the maps of all findings.
    """
    hospital_rows = table[table["dataset"] == key]
    cells = []
    for region in columns:
        finding_of_region = finding if region == "token" else ALL
        value = heatmaps.mean(heatmaps.pick(hospital_rows, "enrichment", region, finding=finding_of_region))
        baselines = {}
        if region == OWN:
            baselines["centre"] = heatmaps.mean(heatmaps.pick(hospital_rows, "enrichment", by="centre"))
        label = f"{data.hospitals[key].title}, {WORDS[region]}: {value.text or 'no number'}"
        strip = Markup(heatmaps.strip(value, baselines, label)) if value.has_value else ""  # noqa: S704
        cells.append({"value": value, "strip": strip})
    return {
        "title": "Internal" if key == data.hospitals.internal.key else data.hospitals[key].title,
        "under": data.hospitals[key].title if key == data.hospitals.internal.key else "",
        "cells": cells,
    }


def _findings(data: ReportData, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per finding, with means over runs.

    A row has the enrichment at internal and external hospitals, the overlap with the finding, the share of maps whose
    maximum is on the finding, the enrichment on the tag of a phantom, and the share of the heat map outside the lungs. The
    keys with "centre" have the values of a baseline map that is always bright in the image center.
    """
    rows = []
    averaged = [hospital.key for hospital in data.hospitals.averaged]
    internal, external = table[table["dataset"] == data.hospitals.internal.key], table[table["dataset"].isin(averaged)]
    for finding in data.findings:

        def number(
            rows_of_side: pd.DataFrame, metric: str, region: str = OWN, map_source: str = NETWORK, name: str = finding
        ) -> Mean:
            return heatmaps.mean(heatmaps.pick(rows_of_side, metric, region, map_source, name))

        row = {
            "finding": finding,
            "internal": number(internal, "enrichment"),
            "external": number(external, "enrichment"),
            "centre": number(external, "enrichment", map_source="centre"),
            "hit": number(external, "hit"),
            "hit_centre": number(external, "hit", map_source="centre"),
            "iou": number(external, "iou_50"),
            "tag": number(internal, "enrichment", "token"),
            "outside": number(table, "energy", "outside lungs"),
        }
        if any(isinstance(m, Mean) and m.has_value for m in row.values()):
            rows.append(row)
    return rows


def _overlap(table: pd.DataFrame) -> str:
    """Return the share of empty heat maps (zero everywhere) as a text in percent, "" if no map is empty."""
    empty = heatmaps.mean(heatmaps.pick(table, "empty"))
    return percent(empty.value, 1) if empty.has_value and empty.value > 0 else ""


def _choices(pictures: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Return (key, title, values) of each filter of the gallery; filters with only one value are left out."""
    words = (("finding", "Finding"), ("hospital", "Hospital"), ("kind", "Case"), ("run", "Run"))
    values_of_key = [(key, word, list(dict.fromkeys(p[key] for p in pictures))) for key, word in words]
    ordered = [
        (k, w, [kind for kind in KINDS if kind in values]) if k == "kind" else (k, w, values)
        for k, w, values in values_of_key
    ]
    return [choice for choice in ordered if len(choice[2]) > 1]


SECTIONS = (PlacedSection(heat_maps, CAUSES, scripts=("gallery.js",), before="gap_components"),)
