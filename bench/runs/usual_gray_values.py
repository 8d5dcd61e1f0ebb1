"""The usual range of gray values of internal images. A new image outside this range differs from the training images.

This module does not import torch.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.run import Run
from bench.store.store import Store, table_facts
from harmonize.cache.cache import finished_cache

_SAMPLE = 400  # number of internal images that define the usual range of gray values


def gray_values(image_SS: NDArray[np.uint8]) -> dict[str, float]:
    """Return mean and standard deviation of the gray values, and the shares of black and of white pixels.

    The values are compared with those of internal images. S is the side in pixels.
    """
    return {
        "mean gray": float(image_SS.mean()),
        "contrast": float(image_SS.std()),
        "black pixels": float((image_SS < 6).mean()),
        "white pixels": float((image_SS > 249).mean()),
    }


def usual_gray_values(store: Store, run: Run) -> dict[str, tuple[float, float]]:
    """Return {name of a value of `gray_values`: (lowest, highest)} over a sample of the decoded internal images.

    The result is {} if the decoded images were deleted.
    """
    internal = run.config.train_on
    facts = table_facts(store.run_dir(run.id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, run.geometry, facts.get("fingerprint", ""))
    if cache is None:
        return {}
    rows = np.flatnonzero((cache.index["reason"] == "").to_numpy())
    chosen = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    values = pd.DataFrame([gray_values(cache.images[row]) for row in np.sort(chosen)])
    return {str(name): (float(values[name].min()), float(values[name].max())) for name in values}
