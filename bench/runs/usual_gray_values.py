"""The usual range of gray values of internal images. A new image outside this range differs from the training images.

This module does not import torch.
"""

import numpy as np

from bench.planning.run import RunSpec
from bench.store.store import Store, table_facts
from harmonize.cache.cache import finished_cache
from harmonize.checks.non_cxr_checks import gray_values, usual_range

_SAMPLE = 400  # number of internal images that define the usual range of gray values


def usual_gray_values(store: Store, run: RunSpec) -> dict[str, tuple[float, float]]:
    """Return the usual range of each of the `gray_values`, from a sample of the decoded internal images.

    The result is {} if the decoded images were deleted.
    """
    internal = run.config.train_on
    facts = table_facts(store.run_dir(run.id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, run.geometry, facts.get("fingerprint", ""))
    if cache is None:
        return {}
    rows = np.flatnonzero((cache.index["reason"] == "").to_numpy())
    chosen = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    if not len(chosen):
        return {}
    return usual_range(gray_values(np.stack([cache.images[row] for row in np.sort(chosen)])))
