"""Symptoms of the numbers themselves that a run gave at the internal hospital, before any label is looked at.

Shapes: N images, K findings.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import NO_NUMBER, causes_of, symptom
from bench.diagnostics.symptoms.predictions_and_labels import FEWEST
from bench.planning.manifest import Manifest
from bench.store.store import read_table
from harmonize.checks.release import Check


def of_logits(where: str, manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> Iterator[Check]:
    """Yield what is wrong with the numbers themselves that a run gave at the internal hospital."""
    internal = str(manifest.content["source"])
    path = manifest.store.run_dir(run["id"]) / "predictions" / f"{internal}.parquet"
    logit_NK = read_table(path)[list(config.findings)].to_numpy(np.float64)
    bad = int((~np.isfinite(logit_NK)).sum())
    if bad:
        seen = f"{bad:,} of {logit_NK.size:,} logits on {internal} are not finite numbers"
        yield symptom(where, "predictions are not numbers", "fault", seen, causes_of(NO_NUMBER))
    elif len(logit_NK) >= FEWEST and logit_NK.min() >= 0 and logit_NK.max() <= 1 and np.ptp(logit_NK) > 0:
        seen = f"all {logit_NK.size:,} logits on {internal} lie from {logit_NK.min():.3f} to {logit_NK.max():.3f}"
        causes = (
            "the network ends in a sigmoid, or probabilities were stored: predictions are logits, the sigmoid comes later",
            "a loss of your own took the sigmoid twice: `binary_cross_entropy_with_logits`, and no sigmoid in the network",
        )
        yield symptom(where, "probabilities in place of logits", "fault", seen, causes)
