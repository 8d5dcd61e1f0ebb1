"""Imported models (trained elsewhere) in the manifest of a grid.

Like a derived run, an imported model has a `kind` in its run.json. The kind says that the model is scored like a run
but cannot be trained here. Imported models are listed below the ranking. Only a grid without trained runs ranks the
imported models, except those that were trained on an external hospital.
"""

from collections.abc import Sequence
from dataclasses import replace

from bench.config.run_config import RunConfig
from bench.planning.planned_grid import PlannedGrid, PlannedRun
from bench.store.store import Store

# settings that an imported model takes over from the grid's runs
SHARED = ("train_on", "space", "mapping", "label_source", "cohort", "split")
FORMATS = {
    "timm": "a timm checkpoint",
    "onnx": "an ONNX file",
    "function": "a function",
    "predictions": "predictions alone",
}


def kept_models(store: Store, before: PlannedGrid, after: PlannedGrid) -> list[PlannedRun]:
    """Return the imported models that a grid keeps when the grid is planned again.

    `before` and `after` are the contents of the old and of the new manifest. A model is kept if it is in the store and
    if the grid still has the cohorts, findings and splits with which the model was evaluated.
    """
    old, new = ([(c.name, c.id, c.role) for c in content.planned_cohorts] for content in (before, after))
    if old != new:
        return []
    # Models have the settings of the first run. Other runs may differ in `label_source`. A grid without runs compares none.
    first_run = after.runs[:1]
    stored = [model for model in before.derived if model.is_imported and store.state(model.id) == "done"]
    return [model for model in stored if all(comparable(model.config, run.config) for run in first_run)]


def dropped_models(store: Store, before: PlannedGrid, kept: Sequence[PlannedRun]) -> list[str]:
    """Return the names of the imported models of the old manifest `before` that are in the store but not in `kept`."""
    ids = {model.id for model in kept}
    left = [run for run in before.derived if run.is_imported and run.id not in ids]
    return [run.name for run in left if store.state(run.id) == "done"]


def comparable(one: RunConfig, two: RunConfig) -> bool:
    """Return whether two configurations have equal SHARED settings; `cohort.limit` (training patients) may differ."""
    first, second = (replace(config, cohort=replace(config.cohort, limit=0)) for config in (one, two))
    return all(getattr(first, key) == getattr(second, key) for key in SHARED)
