"""Models from elsewhere in a bundle: what a row of theirs must be."""

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


def fits_passport(said: Any) -> bool:
    """Whether a passport has the keys and kinds that one has."""
    if not isinstance(said, dict) or {key: type(value) for key, value in said.items()} != PASSPORT:
        return False
    words = [word for key in ("cohorts", "others", "seen") for word in said[key]]
    return said["format"] in FORMATS and all(isinstance(word, str) for word in words)


def same_model(run: Mapping[str, Any], document: Mapping[str, Any], internal: str) -> bool:
    """Whether a row is of the model and of the internal cohort that its run.json names, and made of no other run."""
    config = asdict(from_dict(RunConfig, document["config"], f"run {run['id']}"))
    return bool(config == run["config"] and document["home"] == internal and run["sources"] == [] == run["of"])
