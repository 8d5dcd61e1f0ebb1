"""Section on adaptation: what labels of a few local patients buy, and when they harm."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bench.extensions.adaptation.figure import key, log_curves
from reports.formatting import places
from reports.html.section import HOSPITALS, PlacedSection, Section, write
from reports.report_data.headline_rows import MACRO, Estimate
from reports.report_data.report_data import ReportData
from reports.tables import records_of

KEY = "adaptation"
METHODS = {"recalibration": "recalibration", "head": "head", "lora": "LoRA"}
METRICS = {"auroc": "AUROC", "brier": "Brier score"}
Rows = Sequence[Mapping[Any, Any]]


def adaptation(data: ReportData) -> Section:
    """Write the section: two figures, a sentence and a table for each run and hospital; empty without curves."""
    curves: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for row in records_of(data.tables["adaptation"]):
        if row["finding"] == MACRO:
            curves.setdefault((row["run_id"], row["dataset"]), []).append(row)
    parts = [
        {
            "title": f"{data.labels.get(run_id, run_id)} at {data.hospitals[dataset].title}",
            "answer": answer(rows),
            "panels": [(name, _panel(rows, metric, name)) for metric, name in METRICS.items()],
            "legend": [(METHODS[method], key(k)) for k, method in enumerate(_methods(rows))],
            "points": list(_points(rows)),
            "pool": rows[0]["pool"],
            "largest": max(row["patients"] for row in rows),
        }
        for (run_id, dataset), rows in curves.items()
    ]
    return Section(KEY, "Adaptation", write("adaptation.html.j2", parts=parts) if parts else Markup(""))


def answer(rows: Rows) -> str:
    """State for each metric the smallest sample with a clear gain, and the samples with a clear harm.

    >>> row = {"metric": "auroc", "method": "head", "patients": 50, "difference": 0.04, "low": 0.02, "high": 0.06}
    >>> answer([row])
    'AUROC: 50 labeled patients suffice for a clear gain, .040 [.020, .060] (head); no tried sample harms clearly.'
    >>> answer([row | {"low": -0.02}])
    'AUROC: no tried sample gains clearly; no tried sample harms clearly.'
    """
    sentences = []
    for metric, name in METRICS.items():
        of_metric = sorted((row for row in rows if row["metric"] == metric), key=lambda row: row["patients"])
        if not of_metric:
            continue
        above, below = ([row for row in of_metric if row["low"] > 0], [row for row in of_metric if row["high"] < 0])
        gains, harms = (above, below) if metric == "auroc" else (below, above)
        gain = "no tried sample gains clearly"
        if gains:
            fewest = [row for row in gains if row["patients"] == gains[0]["patients"]]
            best = max(fewest, key=lambda row: abs(row["difference"]))
            gain = f"{best['patients']} labeled patients suffice for a clear gain, {_named(best)}"
        harm = ", ".join(f"with {row['patients']} patients {_named(row)}" for row in harms)
        sentences.append(f"{name}: {gain}; {f'harm {harm}' if harm else 'no tried sample harms clearly'}.")
    return " ".join(sentences)


def _named(row: Mapping[Any, Any]) -> str:
    change = Estimate(row["difference"], row["low"], row["high"]).with_interval
    return f"{change} ({METHODS[row['method']]})"


def _methods(rows: Rows) -> list[str]:
    return list(dict.fromkeys(str(row["method"]) for row in rows))


def _panel(rows: Rows, metric: str, name: str) -> Markup:
    """Draw the difference from zero-shot by the number of patients, one curve for each method."""
    curves = [
        [
            (float(row["patients"]), Estimate(row["difference"], row["low"], row["high"]))
            for row in rows
            if (row["method"], row["metric"]) == (method, metric)
        ]
        for method in _methods(rows)
    ]
    return log_curves(curves, "labeled patients", f"{name} minus zero-shot by labeled patients")


def _points(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each method and number of patients."""
    for method, n in dict.fromkeys((row["method"], row["patients"]) for row in rows):
        of_point = {row["metric"]: row for row in rows if (row["method"], row["patients"]) == (method, n)}
        yield {
            "method": METHODS[method],
            "patients": n,
            "cells": [
                (
                    places(row["zero_shot"], 3),
                    Estimate(row["difference"], row["low"], row["high"]),
                    f"{100 * row['harmed']:.0f} %",
                )
                for row in (of_point[metric] for metric in METRICS)
            ],
        }


SECTIONS = (PlacedSection(adaptation, HOSPITALS, before="next_hospital"),)
