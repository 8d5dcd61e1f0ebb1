"""The result of `bench reproduce` as a file that its maker can sign, so that others can rely on it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.results.same_scores import versions
from bench.store.store import canonical_json, write_bytes

NAMESPACE = "unseen-reproduction"  # word in the signature: a signature of a bundle is not accepted in its place
KEYS = ("dataset", "split", "metric", "finding", "calibrator", "operating_point")  # they identify a score
VERDICTS = ("same bits", "within the seed spread", "within the interval", "outside", "no number")
AGREES = VERDICTS[:3]


def write_record(path: Path, run_id: str, verdict: str, rows: pd.DataFrame, checked: Sequence[str]) -> Path:
    """Write the headline scores of a reproduction as JSON, and return the path. `rows`: the columns KEYS, stored, again, verdict."""
    scores = json.loads(rows[[*KEYS, "stored", "again", "verdict"]].to_json(orient="records", double_precision=15))
    content: Mapping[str, Any] = {
        "schema": 1,
        "run": run_id,
        "verdict": verdict,
        "checked": list(checked),
        "versions": versions(),
        "scores": scores,
    }
    write_bytes(path, canonical_json(content))
    return path
