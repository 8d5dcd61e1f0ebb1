"""`bench score --predictions FILE --labels FILE`: score any model from two tables; show the scores as text or JSON."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.text_tables import interval, table_lines, wrapped
from harmonize.errors import ConfigError
from reports.formatting import number, plural
from reports.schemas.select import select
from reports.schemas.tables import INVERTED

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.prediction_files import LabeledPredictions

_METRICS = ("auroc", "auprc", "brier", "ece")
NO_INTERVAL = "No interval: no patient, or only one, has an influence on the number, or on that of a finding"
_NAME_LETTERS = 26  # letters of a finding's name in the table; longer names are cut, so that the table fits 80 columns


def score_files(
    predictions: Path,
    labels: Path,
    findings: Sequence[str],
    min_count: int | None,
    outputs: str,
    reading: str | None = None,
    *,
    as_json: bool,
) -> str:
    """Read predictions and labels, score them, and return the scores as text or, with `as_json`, as JSON text.

    `findings`: only these findings; all if it is empty. `outputs`: probability, logit or auto. `reading`: a name in READINGS;
    None for the default. Raises ConfigError for an unknown reading.
    """
    from bench.config.settings import CHOICES, STANDARD, Settings
    from bench.results.prediction_files import COHORT, read_labeled_predictions
    from bench.scoring.diagnostics import UNTRAINED, symptoms
    from bench.scoring.score_run import score_run

    reading = reading or STANDARD
    ConfigError.check_choices("labels-read", [reading], CHOICES["reading"].values)
    given = read_labeled_predictions(predictions, labels, findings, outputs, reading)
    settings = Settings() if min_count is None else Settings(min_count=min_count)
    result = score_run("", given.run.findings, given.run.internal, given.run.scored_splits, settings)
    found = symptoms(given.run.scored_splits, given.run.findings, COHORT, result.scores)
    found.loc[found["kind"] == INVERTED, "advice"] = "check in both files that the higher value means present"
    found.loc[found["kind"] == UNTRAINED, "advice"] = "check that ids and columns of both files belong together"
    found["kind"] = found["kind"].replace(UNTRAINED, "hardly better than chance")
    rows_of_symptoms = found.replace({"finding": {"all": "macro"}}).to_dict("records")
    of_symptoms = [f"{row['finding']}: {row['kind']}: {row['advice']}." for row in rows_of_symptoms]
    given = replace(given, notes=(*given.notes, *of_symptoms))
    rows = select(result.scores, _METRICS, finding=None, dataset=COHORT)  # without means over the one cohort
    if not as_json:
        return "\n".join(_lines(given, rows, settings.min_count))
    [split] = given.run.scored_splits
    facts = {
        "images": len(split.image_id),
        "patients": len(set(split.patient_id)) if given.clustered else None,
        "clustered": given.clustered,
        "outputs": given.outputs,
        "labels_read": reading,
        "min_count": settings.min_count,
        "notes": list(given.notes),
    }
    columns = ["finding", "metric", "value", "low", "high", "n", "num_positive", "num_findings", "reason"]
    reason = rows["low"].isna().map({True: NO_INTERVAL, False: None})
    rows = rows.assign(reason=reason.mask(rows["value"].isna(), _too_few(given, settings.min_count)))
    return json.dumps(
        {**facts, "rows": json.loads(rows[columns].to_json(orient="records", double_precision=15))}, indent=1
    )


def _lines(given: "LabeledPredictions", rows: "pd.DataFrame", min_count: int) -> list[str]:
    """Return the scores as lines of text: a table of AUROC and AUPRC, a table of calibration and counts, and notes."""
    values = {(row["finding"], row["metric"]): row for row in rows.to_dict("records")}
    names = [*given.run.findings, "macro"]
    first = [["finding", "AUROC", "95 % interval", "AUPRC", "95 % interval"]]
    second = [["finding", "Brier", "ECE", "present", "images"]]
    for name in names:
        row = {metric: values[name, metric] for metric in _METRICS}
        label = _label(name, row["auroc"])
        areas = [row[metric] for metric in ("auroc", "auprc")]
        first.append([label, *(c for a in areas for c in (number(a["value"]), interval(a["low"], a["high"])))])
        counts = ["", ""] if name == "macro" else [f"{row['auroc'][key]:,}" for key in ("num_positive", "n")]
        second.append([label, number(row["brier"]["value"]), number(row["ece"]["value"]), *counts])
    from bench.config.settings import STANDARD

    [split] = given.run.scored_splits
    over = f"{plural(len(set(split.patient_id)), 'patient')}, each with all images" if given.clustered else "images"
    notes = [
        f"{len(split.image_id):,} images. Intervals: 95 %, over {over}.",
        *([] if split.reading == STANDARD else [f"Labels are read as {split.reading}."]),
        *given.notes,
    ]
    scored = [name for name in names if values[name, "auroc"]["value"] == values[name, "auroc"]["value"]]
    if empty := [name for name in given.run.findings if name not in scored]:
        notes.append(f"No score: {', '.join(empty)}. {_too_few(given, min_count)} (--min-count).")
    return [*table_lines(first), "", *table_lines(second), "", *wrapped(notes, 0)]


def _too_few(given: "LabeledPredictions", min_count: int) -> str:
    """Return the reason for a missing score."""
    return f"Fewer than {min_count} {'patients' if given.clustered else 'images'} with or without the finding"


def _label(name: str, row: dict[Any, Any]) -> str:
    """Return the first cell of a row: the finding, or "macro" with its number of findings. A long name is cut.

    >>> _label("macro", {"num_findings": 9}), _label("Enlarged Cardiomediastinal Silhouette", {})
    ('macro of 9', 'Enlarged Cardiomediastina…')
    """
    if name == "macro":
        return f"macro of {row['num_findings']}"
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
