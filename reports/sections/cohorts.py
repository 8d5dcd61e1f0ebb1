"""Section on cohorts: image filters, patients, prevalence and co-occurrence of findings."""

from typing import Any

from markupsafe import Markup

from harmonize.cohorts.cohort_choice import REMARKS
from reports.drawing import svg
from reports.formatting import DASH, is_number, percent, split_name
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData
from reports.sentences import data as data_sentences
from reports.summaries.data_exposure import overlaps

SPLITS = ("train", "val", "test", "all")
STATES = ("present", "absent", "uncertain", "not_mentioned", "unmapped")


def cohorts(data: ReportData) -> Section:
    """Write the section: flow of images for each cohort, prevalence and co-occurrence of findings."""
    table = data.tables["cohorts"]
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    order = {h.key: k for k, h in enumerate(data.hospitals.all)}
    rows.sort(key=lambda row: (order.get(row["dataset"], 99), str(row["dataset"])))
    splits = data.tables["splits"]
    for row in rows:
        row["labels"] = data_sentences.LABEL_SOURCES.get(str(row["label_source"]), row["label_source"])
        is_internal, known = row["role"] == "internal", is_number(row["used"])
        flow = data.meta.get("datasets", {}).get(row["dataset"], {}).get("flow", {})
        # a bundle has only the images of scored splits: neither training images nor other splits of external cohorts
        beside = max(0, flow["kept"] - row["used"] - row["unreadable"]) if known and "kept" in flow else 0
        row["in_training"] = int(beside) if is_internal else 0
        row["kept"] = _used_share_figure(row["used"] + row["in_training"], row["found"], is_internal)
        split_rows = splits[splits["dataset"] == row["dataset"]]
        split_rows = split_rows.sort_values("split", key=lambda names: names.map(_split_order))
        row["splits"] = [
            (split_name(str(s)), int(i), int(p))
            for s, i, p in zip(split_rows["split"], split_rows["images"], split_rows["patients"], strict=True)
        ]
        # an external cohort with a test split has further splits, which no score uses
        used = row["used"] + row["unreadable"] + beside
        row["not_scored"] = int(used - split_rows["images"].sum()) if known and not is_internal else 0
        row["left_out"], row["unlabelled"] = _left_out(flow), int(flow.get("unlabelled", 0))
        row["women"] = DASH
        if is_number(row["female"]) and is_number(row["male"]):
            row["women"] = percent(row["female"], row["female"] + row["male"])
        row["age"] = f"{row['age_median']:.0f}" if is_number(row["age_median"]) else DASH
    pooled = {hospital.key for hospital in data.hospitals.pool}  # their images are also those of the internal cohort
    counted = [row for row in rows if row["dataset"] not in pooled]
    num_listed, num_used, training = (
        int(sum(r[k] for r in counted if is_number(r[k]))) for k in ("found", "used", "in_training")
    )
    shares = _prevalence(data)
    context = {
        "data": data,
        "rows": rows,
        "title": data_sentences.image_flow(num_listed, num_used + training, int(data.meta.get("duplicates") or 0)),
        "overlaps": list(filter(None, (data_sentences.overlap(**row) for row in overlaps(data)))),
        "prevalence": shares,
        "prevalence_title": _most_different(shares),
        "no_lungs": _no_lungs(data),
    }
    return Section("cohorts", "Cohorts", write("cohorts.html.j2", **context))


def _no_lungs(data: ReportData) -> dict[str, Any]:
    """Return a table: the share of images in which no lungs were detected.

    It has a row for each cohort, and a column for each preprocessing that crops to the lungs. {} without such
    preprocessing.
    """
    datasets = data.meta.get("datasets", {})
    rates_of_hospital = {h: datasets.get(h.key, {}).get("no_lungs") or {} for h in data.hospitals.all}
    names = list(dict.fromkeys(name for rates in rates_of_hospital.values() for name in rates))
    shares = [rate for rates in rates_of_hospital.values() for rate in rates.values()]
    if not shares:
        return {}
    low, high = (percent(share, 1) for share in (min(shares), max(shares)))
    title = f"No lungs were detected in {low} to {high} of a cohort’s images"
    if low == high:
        title = f"No lungs were detected in {low} of the images"
    rows = [
        (h.title, [percent(rates[n], 1) if n in rates else DASH for n in names])
        for h, rates in rates_of_hospital.items()
        if rates
    ]
    return {"title": title, "names": names, "rows": rows}


def _left_out(flow: dict[str, int]) -> list[tuple[str, int]]:
    """Return (filter, number of excluded images) for each filter that has no column of its own in the table.

    flow: step -> number of images.
    """
    shown_elsewhere = {"found", "kept", "not_frontal", "absent", *REMARKS}
    return [(step.replace("_", " "), int(n)) for step, n in sorted(flow.items()) if n and step not in shown_elsewhere]


def _split_order(name: str) -> str:
    """Return the sort key of a split; the order is train, val, test, all, then expert splits."""
    return f"{SPLITS.index(name) if name in SPLITS else len(SPLITS)}{name}"


def _used_share_figure(used: float, listed: float, internal: bool) -> Markup:
    """Draw used / listed images as a bar; `internal` decides the color."""
    share = used / listed if is_number(used) and is_number(listed) and listed else 0.0
    return svg.svg(
        120,
        10,
        svg.rect(0, 0, 120, 10, "bar0") + svg.rect(0, 0, 120 * share, 10, "dot" if internal else "bar1"),
        "",
        "mi",
    )


def _prevalence(data: ReportData) -> list[dict[str, Any]]:
    """Return one row per finding, with a cell per hospital: prevalence and counts, or the reason for a missing prevalence.

    The prevalence is the number of present labels divided by the number of present, absent and not mentioned labels.
    """
    splits = dict(zip(data.tables["cohorts"]["dataset"], data.tables["cohorts"]["headline_split"], strict=True))
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for row in data.tables["prevalence"].to_dict("records"):
        if str(row["split"]) == splits.get(row["dataset"], row["split"]):
            counts[str(row["dataset"]), str(row["finding"])] = {state: int(row[state]) for state in STATES}
    rows = []
    for finding in data.findings:
        cells = []
        for hospital in data.hospitals.all:
            state_counts = counts.get((hospital.key, finding))
            negative = state_counts["absent"] + state_counts["not_mentioned"] if state_counts else 0
            total = state_counts["present"] + negative if state_counts else 0
            cell: dict[str, Any] = {
                "share": None,
                "reason": "not labeled",
                "hospital": hospital,
                "uncertain": state_counts["uncertain"] if state_counts else 0,
            }
            if state_counts and total:
                share = state_counts["present"] / total
                is_small = min(state_counts["present"], negative) < data.min_count
                color = "dot" if hospital.key == data.hospitals.internal.key else "bar1"
                bar = svg.rect(0, 0, max(1.0, 100 * share), 8, color)
                cell |= {
                    "share": share,
                    "text": percent(state_counts["present"], total),
                    "n": total,
                    "num_positive": state_counts["present"],
                    "few": is_small,
                    "bar": svg.svg(100, 8, bar, "", "mi l"),
                }
            cells.append(cell)
        rows.append({"finding": finding, "cells": cells})
    return rows


def _most_different(rows: list[dict[str, Any]]) -> str:
    """Return the sentence on the finding whose prevalence differs most between hospitals (ratio of two prevalences).

    `rows`: the result of `_prevalence`.
    """
    best: tuple[float, str, str, str] = (0.0, "", "", "")
    for row in rows:
        cells = [c for c in row["cells"] if c["share"] and not c["few"]]
        if len(cells) > 1:
            high, low = max(cells, key=lambda c: c["share"]), min(cells, key=lambda c: c["share"])
            best = max(
                best, (high["share"] / low["share"], row["finding"], high["hospital"].short, low["hospital"].short)
            )
    return data_sentences.prevalence(best[1], best[0], best[2], best[3])
