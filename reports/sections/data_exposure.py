"""Section on data exposure: training data of each network, leakage checks, licenses of data and weights.

A leakage check tests whether test images were also used for training.
"""

from collections.abc import Mapping
from typing import Any

from harmonize.labels.findings import labels_yaml
from reports.formatting import DASH, integer, is_number, places, plural
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import ReportData
from reports.summaries.data_exposure import WORDS, grouped_exposures, leakage_checks, models_and_hospitals, title

SYNTHETIC = "synthetic images, no license needed"
MOST_MODELS = 40  # number of models in the table of models and hospitals; all are in the table `exposure`


def data_exposure(data: ReportData) -> Section:
    """Write the section; the licenses are from the cohort table."""
    exposures = grouped_exposures(data)
    cohorts = data.tables["cohorts"]
    order = {h.key: k for k, h in enumerate(data.hospitals.all)}
    rows = sorted(
        zip(*(cohorts[c] for c in ("dataset", "role", "licence", "used", "layout")), strict=True),
        key=lambda row: (order.get(str(row[0]), len(order)), str(row[0])),
    )
    models = models_and_hospitals(data)
    context = {
        "data": data,
        "seen": [
            (model.name, [(h.short, _cell(c)) for h, c in zip(data.hospitals.external, model.cells, strict=True)])
            for model in models[:MOST_MODELS]
        ],
        "exposed": bool(data.imported) or any(model.is_exposed for model in models),
        "more": len(models) - MOST_MODELS,
        "title": title(data.words.place, exposures),
        "exposures": exposures,
        "checks": leakage_checks(data),
        "licenses": [
            (data.hospitals[str(d)].title, str(role), _license(data, licence), used, _citation(data, str(layout)))
            for d, role, licence, used, layout in rows
        ],
    }
    return Section("exposure", "Data exposure", write("data_exposure.html.j2", **context))


def _cell(row: Mapping[str, Any] | None) -> list[str]:
    """Return the lines of a cell: the answer, the score with its rank, and the score without the listed images.

    `row`: a row of the table `exposure`, None if the hospital is not external to the model.
    """
    if row is None:
        return ["not external to this model"]
    value = float(row["value"])
    if not is_number(value):
        score = DASH
    elif row["rank"]:
        score = f"{places(value)}, rank {row['rank']} of {row['num_ranked']}"
    else:
        score = f"{places(value)}, not ranked"
    lines = [WORDS[str(row["answer"])], score]
    if row["listed"] and is_number(float(row["clean_value"])):
        images = plural(int(row["clean_n"]), "clean image")
        clean = Estimate(float(row["clean_value"]), float(row["clean_low"]), float(row["clean_high"]))
        lines.append(f"{clean.with_interval} on {images}, that is, without listed images")
    elif row["listed"]:
        lines.append(f"{integer(row['listed'])} images listed; no score without them")
    return lines


def _license(data: ReportData, licence: object) -> str:
    """Return the license of a cohort as text; on a page of phantoms, the sentence that no license is needed."""
    if data.tables.synthetic:
        return SYNTHETIC
    return licence if isinstance(licence, str) and licence else "not stated"


def _citation(data: ReportData, layout: str) -> str:
    """Return what the owner of a published dataset asks users to state, "" for phantoms and own tables."""
    return "" if data.tables.synthetic else str(labels_yaml()["datasets"].get(layout, {}).get("citation", ""))
