"""The table `label_efficiency` of a report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.config.run_names import RunName
from bench.extensions.labels.schemas import SCHEMAS
from bench.results.cross_run_tables import ScoredRuns
from bench.store.checked_folders import CheckedFolder


def efficiency_table(runs: ScoredRuns) -> pd.DataFrame:
    """Return the table `label_efficiency`: probes of the same encoder that learn from different numbers of labels."""
    manifest, recipes = runs.manifest, runs.recipes
    planned = {run.id: run for run in manifest.runs}
    lines: dict[str, list[str]] = {}  # settings without shots and seed -> recipes
    for recipe, (first, *_) in recipes.runs_of.items():
        config = planned[first].flat_config if first in planned else {}
        if config.get("head") == "probe":
            settings = {key: value for key, value in config.items() if key not in ("shots", "seed")}
            lines.setdefault(repr(sorted(settings.items())), []).append(recipe)
    curves = [line for line in lines.values() if len(line) > 1]
    firsts = [planned[recipes.runs_of[line[0]][0]] for line in curves]
    configs = [run.flat_config | {"shots": 0, "seed": 0} for run in firsts]
    names = RunName.among(configs, [run.titles for run in firsts])
    rows = []
    for name, line in zip(names, curves, strict=True):
        for recipe in line:
            run_ids = recipes.runs_of[recipe]
            folders = [CheckedFolder(manifest.store.run_dir(run_id)) for run_id in run_ids]
            used = [number for folder in folders for number in _labels_used(folder.facts()["trained"])]
            labels = float(np.mean(used)) if used else float("nan")
            rows.append((recipe, name.recipe, int(planned[run_ids[0]].flat_config["shots"]), labels))
    return pd.DataFrame(rows, columns=list(SCHEMAS["label_efficiency"]))


def _labels_used(trained: Mapping[str, Any]) -> list[int]:
    """Return how many labels a probe used, for each finding with labels; [] if its trained.json does not state it."""
    facts = trained.get("probe")
    stated = facts.get("labels") if isinstance(facts, Mapping) else None
    return [n for n in stated if type(n) is int and n > 0] if isinstance(stated, list) else []
