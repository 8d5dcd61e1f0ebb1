"""Check the entries of imported models in a bundle."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.config.run_config import RunConfig, from_dict
from bench.planning.imported_run import FORMATS

PASSPORT = {
    "cohorts": list,
    "others": list,
    "seen": list,
    "pretraining": str,
    "licence": str,
    "source": str,
    "format": str,
}


def is_passport(value: Any) -> bool:
    """Return whether a value is a valid passport (declaration of data exposure): its keys, their types, and the format."""
    if not isinstance(value, dict) or {key: type(content) for key, content in value.items()} != PASSPORT:
        return False
    names = [name for key in ("cohorts", "others", "seen") for name in value[key]]
    return value["format"] in FORMATS and all(isinstance(name, str) for name in names)


def same_model(run: Mapping[str, Any], document: Mapping[str, Any], internal: str) -> bool:
    """Return whether a model's entry matches its run.json: kind, configuration, internal cohort, and no source runs."""
    config = asdict(from_dict(RunConfig, document["config"], f"run {run['id']}"))
    same = config == run["config"] and document["home"] == internal and document["kind"] == run["kind"]
    return bool(same and run["sources"] == [] == run["of"])
