"""Check the entries of imported models in a bundle."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.config.run_config import RunConfig, from_dict
from bench.planning.imported_run import FORMATS

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
    """Return whether a value is a valid passport: it has the keys and types of PASSPORT, and a known file format."""
    if not isinstance(value, dict) or {key: type(content) for key, content in value.items()} != PASSPORT:
        return False
    names = [name for key in ("cohorts", "others", "seen") for name in value[key]]
    return value["format"] in FORMATS and all(isinstance(name, str) for name in names)


def same_model(run: Mapping[str, Any], document: Mapping[str, Any], internal: str) -> bool:
    """Return whether the manifest entry `run` of an imported model matches its run.json (`document`).

    Kind and configuration must be equal, the internal cohort must be `internal`, and there must be no source runs.
    """
    config = asdict(from_dict(RunConfig, document["config"], f"run {run['id']}"))
    same = config == run["config"] and document["home"] == internal and document["kind"] == run["kind"]
    return bool(same and run["sources"] == [] == run["of"])
