"""The answer of `bench estimate` as text and as a document for JSON."""

import json
from typing import Any

from bench.cli.text_tables import table_lines
from bench.extensions.estimates.estimate_summary import SHOWN, Shown, answer
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.estimates.prediction_powered import LEAST_FOR_PREDICTIONS
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.formatting import DASH, with_interval
from reports.report_data.headline_rows import Estimate

WRONG_IF = "The estimates are wrong if this hospital differs from the internal hospital in another way than those do."
STAR = "*"  # marks what is not estimated from images of the hospital


def json_document(result: ExpectedScores) -> dict[str, Any]:
    """Return the result as a document for JSON: facts, and one row per run, finding and quantity. NaN becomes None."""
    mean = result.means["auroc"]
    return {
        "grid": result.manifest.name,
        "synthetic": result.manifest.phantom,
        "estimator": result.estimator,
        "level": 0.9,
        "predicted_level": 0.95,
        "recipes": [list(recipe) for recipe in result.recipes],
        "images": result.num_images,
        "learned_from": list(result.learned_from),
        "may_be_best": [i for i, best in zip(result.run_ids, mean.best.tolist(), strict=True) if best],
        "ranks": {
            i: [int(low), int(high)] for i, low, high in zip(result.run_ids, mean.rank_low, mean.rank_high, strict=True)
        },
        "notes": list(result.notes),
        "rows": json.loads(result.table.to_json(orient="records", double_precision=6)),
        "measured": json.loads(result.measured.to_json(orient="records", double_precision=6)),
    }


def lines(result: ExpectedScores) -> list[str]:
    """Return the result as lines of text: the runs, the findings of the first run, reasons, and what it rests on."""
    shown = answer(result)
    best = "{name} ({id})".format_map(shown["runs"][0])
    runs = [["run", "id", "expected macro AUROC", "rank"]]
    runs += [[run["name"], run["id"], _text(run["auroc"], ".3f"), run["rank"]] for run in shown["runs"]]
    out = [SYNTHETIC_NOTICE] if result.manifest.phantom else []
    out += [shown["subtitle"], "", *_indented(runs), "", f"{shown['headline']}.", *shown["remarks"], ""]
    findings = [["finding", *SHOWN.values(), "at a new hospital"]]
    findings += [
        [one["name"], *(_text(number, ".2f") for number in one["numbers"].values()), one["verdict"]]
        for one in shown["findings"]
    ]
    if any(cell != DASH for row in findings[1:] for cell in row[1:-1]):
        out += [f"Findings of {best}:", *_indented(findings)]
    else:
        out.append(f"No score of {best} is estimated:")
    if any(STAR in cell for row in (*runs, *findings) for cell in row):
        hospitals = f"any hospital like the {len(result.learned_from)} labeled ones"
        out.append(f"  {STAR}: not from its images; 95 % prediction interval for {hospitals}")
    out += [f"  no estimate: {reason}" for reason in shown["reasons"]]
    if shown["measured"]:
        cells = [["finding", "score", "labels and predictions", "labels alone", "labeled patients"]]
        for row in shown["measured"]:
            estimates = (_written(row[name], ".2f") for name in ("combined", "labels_alone"))
            cells.append([row["finding"], row["title"], *estimates, str(row["num_patients"])])
        out += ["", "From labels of this hospital [90 %]:", *_indented(cells)]
        least = f"{LEAST_FOR_PREDICTIONS} labeled patients with the finding and as many without it"
        out.append(f"  Predictions are used with {least}.")
    return [*out, "", *shown["basis"], WRONG_IF, *(f"note: {note}" for note in shown["notes"])]


def _indented(cells: list[list[str]]) -> list[str]:
    return [f"  {line}" for line in table_lines(cells)]


def _text(shown: Shown, digits: str) -> str:
    """Return a number with its interval; STAR marks a prediction without images."""
    text = _written(shown.number, digits)
    return text.replace(" ", f"{STAR} ", 1) if shown.is_predicted else text


def _written(estimate: Estimate, digits: str) -> str:
    return with_interval(estimate.value, estimate.low, estimate.high, digits)
