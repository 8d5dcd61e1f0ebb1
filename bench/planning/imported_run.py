"""Imported models (trained elsewhere) in the manifest of a grid.

Like a derived run, an imported model has a `kind` in its run.json. The kind says that the model is scored like a run
but cannot be trained here. Imported models are listed below the ranking. Only a grid without trained runs ranks the
imported models, except those that were trained on an external hospital.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.store.store import Store

KIND = "external"
# settings that an imported model takes over from the grid's runs
SHARED = ("train_on", "space", "mapping", "label_source", "cohort", "split")
# Two outputs of a finding are equal if they differ by less than this share of the standard deviation of its golden outputs
# over the images. Devices and libraries change the sixth digit, and another interpolation less than this; each of the usual mistakes changes more.
GOLDEN_TOLERANCE = 0.02
FORMATS = {
    "timm": "a timm checkpoint",
    "onnx": "an ONNX file",
    "export": "a torch.export file",
    "function": "a function",
    "predictions": "predictions alone",
    "run": "a run of a different store",
}


def kept_models(store: Store, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the manifest rows of the imported models that a grid keeps when the grid is planned again.

    `before` and `after` are the contents of the old and of the new manifest. A model is kept if it is in the store and
    if the grid still has the cohorts, findings and splits with which the model was evaluated.
    """
    old, new = ([[c["name"], c["id"], c["role"]] for c in content["cohorts"]] for content in (before, after))
    if old != new:
        return []
    return [
        model
        for model in before["derived"]
        if model["kind"] == KIND
        and store.state(model["id"]) == "done"
        and all(comparable(model["config"], run["config"]) for run in after["runs"][:1])
    ]


def dropped_models(store: Store, before: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the imported models of the old manifest `before` that are in the store but not in `kept`."""
    ids = {row["id"] for row in kept}
    left = [row for row in before["derived"] if row["kind"] == KIND and row["id"] not in ids]
    return [str(row["name"]) for row in left if store.state(row["id"]) == "done"]


def comparable(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Return whether two configurations have equal SHARED settings; `cohort.limit` (training patients) may differ."""
    first, second = ({**config, "cohort": {**config["cohort"], "limit": 0}} for config in (one, two))
    return all(first[key] == second[key] for key in SHARED)
