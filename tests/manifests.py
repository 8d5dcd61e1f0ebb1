"""Manifests that no grid has planned, for tests of what reads only a part of them."""

from typing import Any

from bench.config.run_config import RunConfig
from bench.config.settings import Settings
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.store.store import Store

CONFIG = RunConfig("a", "adamw", "bce", "u_ignore", "imagenet_64")


def invented_manifest(store: Store, **changes: Any) -> Manifest:
    """Return the manifest of a grid without runs and with one cohort, except for the given fields."""
    cohort = PlannedCohort(
        name="internal",
        id="0" * 12,
        role="internal",
        layout="table",
        headline_split="all",
        flow={},
        absent=0,
        unreadable=0,
        facts={},
    )
    fields: dict[str, Any] = {
        "name": "g",
        "title": "G",
        "source": "internal",
        "command": "bench run",
        "phantom": False,
        "settings": Settings(min_count=5),
        "duplicates": 0,
        "phantom_settings": None,
        "links": {},
        **dict.fromkeys(("runs", "derived", "references", "analyses"), ()),
        "planned_cohorts": (cohort,),
        "label_sources": (),
    }
    return Manifest(store=store, **fields | changes)


def invented_run(run_id: str, **changes: Any) -> PlannedRun:
    """Return a trained run, or another kind of run with the given fields."""
    fields: dict[str, Any] = {"id": run_id, "config": CONFIG, "titles": {"architecture": "A"}}
    return PlannedRun(**fields | changes)
