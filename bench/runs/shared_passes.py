"""Group trained runs that predict in one pass over the images they share."""

from collections.abc import Sequence
from itertools import groupby, pairwise

from bench.planning.image_caches import DecodedImages
from bench.planning.jobs import PassJob
from bench.planning.plan import Plan
from bench.planning.run import TRAINED, RunSpec

MOST_BYTES = 4 << 30  # maximum bytes of weights in memory, over all parallel jobs
LEAST_BYTES = 1 << 30  # bytes of weights that each job may always use
MOST_RUNS = 64  # maximum number of runs in one pass, because their logits are in memory together


def passes(images: DecodedImages, runs: Sequence[RunSpec], places: int) -> list[PassJob]:
    """Return jobs that predict with several trained runs in one pass over the images.

    Runs can share a pass if their image geometry (size and crop of the images) and their number of threads are
    equal, because on a CPU the number of threads changes the rounding of sums. `places` is the number of jobs that can run
    in parallel. If all runs can run in parallel, no job is returned, and each run predicts by itself.
    """
    plan = images.plan
    ready = [run for run in runs if run.is_trained(plan.store) and images.needs_predictions(run)]
    jobs = []
    for _, group in groupby(sorted(ready, key=_shared), _shared):
        groups = _divided(plan, list(group), places)
        if any(len(runs) > 1 for runs in groups):
            jobs += [PassJob(tuple(runs), plan.store, plan.refs) for runs in groups]
    return jobs


def _shared(run: RunSpec) -> tuple[str, int]:
    return run.geometry.key, run.config.threads


def _divided(plan: Plan, runs: Sequence[RunSpec], places: int) -> list[list[RunSpec]]:
    """Divide runs into `places` groups. Make more groups if a group would have more than MOST_RUNS runs or need too much memory.

    Group sizes differ by at most 1.
    """
    files = [plan.store.run_dir(run.id) / TRAINED[0] for run in runs]
    weights = [path.stat().st_size if path.is_file() else 0 for path in files]
    most = max(MOST_BYTES // places, LEAST_BYTES)
    num = min(max(places, -(-len(runs) // MOST_RUNS), -(-sum(weights) // most)), len(runs))
    edges = [len(runs) * i // num for i in range(num + 1)]
    return [list(runs[a:b]) for a, b in pairwise(edges)]
