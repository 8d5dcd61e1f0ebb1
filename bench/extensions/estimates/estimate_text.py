"""The answer of `bench estimate` as text and as a document for JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cli.text_tables import interval, table_lines
from bench.extensions.estimates.estimate_summary import (
    SHOWN,
    Shown,
    basis_of,
    from_images,
    headline,
    left_out_of_means,
    macro_of,
    measured_rows,
    names_of,
    number_of,
    order_of,
    reasons_of,
    states_of,
    without_images,
)
from bench.extensions.estimates.estimators import ESTIMATORS
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.estimates.expected_scores import TOO_UNCERTAIN
from bench.extensions.estimates.prediction_powered import LEAST_FOR_PREDICTIONS
from bench.scoring.gaps.gap import MACRO
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.formatting import DASH, number, with_interval

STAR = "*"  # marks what is not estimated from images of the hospital
_WRONG_IF = "The estimates are wrong if this hospital differs from the internal hospital in another way than those do."


def json_document(result: ExpectedScores, notes: Sequence[str]) -> dict[str, Any]:
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
        "notes": list(notes),
        "rows": json.loads(result.table.to_json(orient="records", double_precision=6)),
        "measured": json.loads(result.measured.to_json(orient="records", double_precision=6)),
    }


def lines(result: ExpectedScores, notes: Sequence[str]) -> list[str]:
    """Return the result as lines of text: the runs, the findings of the first run, reasons, and what it rests on."""
    names, mean, order = names_of(result.manifest), result.means["auroc"], order_of(result)
    out = [SYNTHETIC_NOTICE] if result.manifest.phantom else []
    if from_images(result):
        title = ESTIMATORS[result.estimator]
        out += [f"{result.num_images:,} images, estimated without labels; 90 % intervals, {title}"]
    elif result.num_images:
        out += [f"{result.num_images:,} images, but no estimate from them (reasons below); 95 % prediction intervals"]
    else:
        out += ["What to expect at a hospital without any image of it; 95 % prediction intervals"]
    cells = [["run", "id", "expected macro AUROC", "interval", "rank"]]
    for r in order:
        ranks = f"{mean.rank_low[r]}-{mean.rank_high[r]}" if mean.findings and len(order) > 1 else DASH
        text, _, bounds = _text(macro_of(result, r), ".3f").partition(" ")
        cells.append([names[result.run_ids[r]], result.run_ids[r], text, bounds or DASH, ranks])
    out += ["", *(f"  {line}" for line in table_lines(cells)), "", f"{headline(result)}."]
    out += [*without_images(result, names, number), *_without_images(result, order[0], names)]
    if mean.findings and (left := left_out_of_means(result)):
        out.append(f"The means leave out findings without an estimate for every run: {', '.join(left)}.")
    best = order[0]
    rows, worth = [["finding", *SHOWN.values(), "at a new hospital"]], states_of(result, best)
    for k, finding in enumerate(result.findings):
        numbers = (_text(number_of(result, best, k, quantity), ".2f") for quantity in SHOWN)
        rows.append([finding, *numbers, worth.get(finding, DASH)])
    if any(cell != DASH for row in rows[1:] for cell in row[1:-1]):
        out += ["", f"Findings of {names[result.run_ids[best]]} ({result.run_ids[best]}):"]
        out += [f"  {line}" for line in table_lines(rows)]
    else:
        out += ["", f"No score of {names[result.run_ids[best]]} ({result.run_ids[best]}) is estimated:"]
    if any(STAR in cell for row in (*rows, *cells) for cell in row):
        num = len(result.learned_from)
        out.append(
            f"  {STAR}: not from its images; 95 % prediction interval for any hospital like the {num} labeled ones"
        )
    reasons = reasons_of(result, best)
    out += [f"  no estimate: {reason}" for reason in reasons]
    if any(reason.startswith(TOO_UNCERTAIN) for reason in reasons):
        out.append("  --widest prints wider intervals, too; --csv has the reason of each value")
    out += _measured_lines(result, best)
    out += ["", *basis_of(result, number), _WRONG_IF]
    return [*out, *(f"note: {note}" for note in notes)]


def _text(shown: Shown, digits: str) -> str:
    """Return a number with its interval; STAR marks a prediction without images."""
    text = with_interval(shown.number.value, shown.number.low, shown.number.high, digits)
    return text.replace(" ", f"{STAR} ", 1) if shown.is_predicted else text


def _without_images(result: ExpectedScores, r: int, names: Mapping[str, str]) -> list[str]:
    """Return sentences: what is known of a run without images, if there is an estimate from images, too."""
    mean, found = result.means["auroc"], result.predictions.get((result.run_ids[r], "auroc", MACRO))
    if not mean.findings or not found:
        return []
    out = [f"Without any image, {names[result.run_ids[r]]} has {with_interval(*found, '.3f')} (95 %, all findings)."]
    if mean.high[r] - mean.low[r] >= found[2] - found[1]:
        out.append("The images do not narrow this interval.")
    return out


def _measured_lines(result: ExpectedScores, r: int) -> list[str]:
    """Return a table: scores of a run from local labels and the predictions for all images; no lines without labels."""
    rows = measured_rows(result, r)
    if not rows:
        return []
    cells = [["finding", "score", "labels and predictions", "labels alone", "labeled patients"]]
    for row in rows:
        both = f"{row['value']:.2f} {interval(row['low'], row['high'], '.2f')}"
        alone = f"{row['labels_value']:.2f} {interval(row['labels_low'], row['labels_high'], '.2f')}"
        cells.append([row["finding"], SHOWN[row["quantity"]], both, alone, str(row["num_patients"])])
    used = (
        f"Predictions are used with {LEAST_FOR_PREDICTIONS} labeled patients with the finding and as many without it."
    )
    return ["", "From labels of this hospital [90 %]:", *(f"  {line}" for line in table_lines(cells)), f"  {used}"]
