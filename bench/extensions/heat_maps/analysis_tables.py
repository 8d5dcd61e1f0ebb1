"""Tables of a report that are computed from finished heat-map analyses: `map_stability`, and `gallery` with its pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.extensions.heat_maps.gallery import with_pictures
from bench.extensions.heat_maps.seed_stability import FILE, stability
from bench.planning.manifest import Manifest
from bench.scoring.across_runs.recipes import Recipes
from bench.store.checked_folders import CheckedFolder


def tables(
    manifest: Manifest,
    frames: Mapping[str, pd.DataFrame],
    states: Sequence[Mapping[str, Any]],
    recipes: Recipes | None,
    with_images: bool,
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return the tables by name, and for the meta of the report the reason why pictures are left out.

    The arguments are those of the hook `analysis_tables` (docs/dev/extensions.md).
    """
    found: dict[str, pd.DataFrame] = {}
    if recipes:
        folders = _map_folders(manifest, states)
        maps_of_recipes = (
            (recipe, [folders[run].table(FILE) for run in fold if run in folders])
            for recipe in recipes.runs_of
            for fold in recipes.folds(recipe)
            if len(fold) > 1
        )
        found["map_stability"] = stability(maps_of_recipes, manifest.source)
    no_pictures = ""
    if "gallery" in frames:
        found["gallery"], no_pictures = with_pictures(manifest, frames, with_images)
    return found, {"no_pictures": no_pictures}


def _map_folders(manifest: Manifest, states: Sequence[Mapping[str, Any]]) -> dict[str, CheckedFolder]:
    """Return {run id: folder} of the finished analyses whose folder has the maps."""
    return {
        analysis.run: folder
        for analysis, state in zip(manifest.analyses, states, strict=True)
        if analysis.name == "attention" and state["state"] == "done"
        if FILE in ((folder := CheckedFolder(manifest.store.root / analysis.folder)).checksums() or {})
    }
