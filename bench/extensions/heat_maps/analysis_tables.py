"""The table `gallery` of a report, with its pictures, from finished heat-map analyses."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.extensions.heat_maps.gallery import with_pictures
from bench.planning.manifest import Manifest
from bench.scoring.across_runs.recipes import Recipes


def tables(
    manifest: Manifest,
    frames: Mapping[str, pd.DataFrame],
    _states: Sequence[Mapping[str, Any]],
    _recipes: Recipes | None,
    with_images: bool,
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return the table, and for the meta of the report the reason why pictures are left out.

    The arguments are those of the hook `analysis_tables` (docs/dev/extensions.md).
    """
    if "gallery" not in frames:
        return {}, {"no_pictures": ""}
    gallery, no_pictures = with_pictures(manifest, frames, with_images)
    return {"gallery": gallery}, {"no_pictures": no_pictures}
