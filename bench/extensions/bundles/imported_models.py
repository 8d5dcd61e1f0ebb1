"""Check the entries of imported models in a bundle."""

import math
import re
from collections.abc import Mapping
from typing import Any

from bench.config.run_config import RunConfig, from_dict
from bench.planning.imported_run import FORMATS
from bench.planning.planned_grid import PlannedRun
from reports.schemas.exposure import ANSWERS

PASSPORT = {  # key of a passport (the declaration of a model's data exposure) -> type of its value
    "cohorts": list,
    "others": list,
    "seen": list,
    "pretraining": str,
    "licence": str,
    "source": str,
    "format": str,
}


def is_passport(value: Any) -> bool:
    """Return whether a value is a valid passport: it has the keys and types of PASSPORT, and a known file format.

    The keys `answers` (see `is_exposure`) and `golden` (see `GoldenOutputs.check`) are optional.
    """
    if not isinstance(value, dict) or not is_exposure(value.get("answers", {})):
        return False
    if "golden" in value and not _is_golden(value["golden"]):
        return False
    if {key: type(content) for key, content in value.items() if key not in ("answers", "golden")} != PASSPORT:
        return False
    names = [name for key in ("cohorts", "others", "seen") for name in value[key]]
    return value["format"] in FORMATS and all(isinstance(name, str) for name in names)


def _is_golden(value: Any) -> bool:
    """Return whether a value is a valid record of a comparison with golden outputs."""
    if not isinstance(value, dict) or set(value) != {"images", "outputs", "difference"}:
        return False
    if any(type(value[key]) is not int or value[key] < 1 for key in ("images", "outputs")):
        return False
    number = type(value["difference"]) in (int, float)
    return number and math.isfinite(value["difference"]) and value["difference"] >= 0


def is_exposure(value: Any) -> bool:
    """Return whether a value is a valid exposure: {cohort: {"answer"}}, with a list also "listed" and "list"."""
    return isinstance(value, dict) and all(isinstance(row, dict) and _is_answer(row) for row in value.values())


def _is_answer(row: Mapping[str, Any]) -> bool:
    if set(row) not in ({"answer"}, {"answer", "listed", "list"}) or row["answer"] not in ANSWERS:
        return False
    listed = "list" not in row or (type(row["listed"]) is int and re.fullmatch(r"[0-9a-f]{64}", str(row["list"])))
    return bool(listed)


def same_model(run: PlannedRun, document: Mapping[str, Any], internal: str) -> bool:
    """Return whether an imported model of a manifest matches its run.json (`document`).

    Kind and configuration must be equal, the internal cohort must be `internal`, and there must be no source runs.
    """
    config = from_dict(RunConfig, document["config"], f"run {run.id}")
    same = config == run.config and document["internal"] == internal and document["kind"] == run.kind
    return same and not (run.sources or run.of)
