"""Group trained runs that predict in one pass over the images they share."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

from bench.planning.image_caches import DecodedImages
from bench.planning.jobs import PassJob
from bench.planning.plan import Plan
from bench.planning.run import TRAINED, Run

MOST_BYTES = 4 << 30  # of weights in memory, over all places
LEAST_BYTES = 1 << 30  # of weights that a place may hold in any case
MOST_RUNS = 64  # runs of one pass: their logits are in memory together


def passes(images: DecodedImages, runs: Sequence[Run], places: int) -> list[PassJob]:
    """Return jobs that predict what trained runs lack, one pass for all that share images, or one for each of `places`.

    Runs share images that have the same geometry; on a CPU, where sums depend on it, the same number of threads, too. Where
    there are places for all of them, nothing is shared and there is no job: each run predicts by itself.
    """
    plan = images.plan
    ready = [run for run in runs if run.is_trained(plan.store) and images.lacks_predictions(run)]
    jobs = []
    for _, group in groupby(sorted(ready, key=_shared), _shared):
        parts = _parts(plan, list(group), places)
        if any(len(part) > 1 for part in parts):
            jobs += [PassJob(tuple(part), plan.store, plan.refs) for part in parts]
    return jobs


def _shared(run: Run) -> tuple[str, int]:
    return run.geometry.key, run.config.threads


def _parts(plan: Plan, runs: Sequence[Run], places: int) -> list[list[Run]]:
    """Divide runs into one group per place, or more if memory requires it; group sizes differ by at most 1."""
    weights = [_size(plan.store.run_dir(run.id) / TRAINED[0]) for run in runs]
    most = max(MOST_BYTES // places, LEAST_BYTES)
    num = min(max(places, -(-len(runs) // MOST_RUNS), -(-sum(weights) // most)), len(runs))
    edges = [len(runs) * i // num for i in range(num + 1)]
    return [list(runs[a:b]) for a, b in pairwise(edges)]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
