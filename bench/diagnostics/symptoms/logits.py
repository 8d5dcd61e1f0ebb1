"""Find symptoms in the logits of internal images, without using labels.

Shapes: N images, K findings.
"""

from collections.abc import Iterator

import numpy as np

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import NO_NUMBER, causes_of, symptom
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.store.checked_folders import CheckedFolder
from harmonize.checks.release import Check

_MIN_IMAGES = 10  # a few logits can all be between 0 and 1


def logit_symptoms(where: str, manifest: Manifest, run: PlannedRun, config: RunConfig) -> Iterator[Check]:
    """Yield a symptom if some internal logits are not finite, or if all internal logits are between 0 and 1.

    Logits between 0 and 1 are most likely probabilities. `where`: text such as "run 3fa94c1e02bd". `run`: its manifest entry.
    """
    internal = manifest.source
    folder = CheckedFolder(manifest.store.run_dir(run.id))
    logit_NK = folder.table(f"predictions/{internal}.parquet", config.findings).to_numpy(np.float64)
    num_invalid = int((~np.isfinite(logit_NK)).sum())
    if num_invalid:
        observation = f"{num_invalid:,} of {logit_NK.size:,} logits on {internal} are not finite numbers"
        yield symptom(where, "predictions are not numbers", "fault", observation, causes_of(NO_NUMBER))
    elif len(logit_NK) >= _MIN_IMAGES and logit_NK.min() >= 0 and logit_NK.max() <= 1 and np.ptp(logit_NK) > 0:
        bounds = f"{logit_NK.min():.3f} and {logit_NK.max():.3f}"
        observation = f"all {logit_NK.size:,} logits on {internal} are between {bounds}"
        causes = (
            "the network ends in a sigmoid, or probabilities were stored: store logits, without sigmoid",
            "your own loss applies the sigmoid twice: use `binary_cross_entropy_with_logits`, and no sigmoid in the network",
        )
        yield symptom(where, "probabilities in place of logits", "fault", observation, causes)
